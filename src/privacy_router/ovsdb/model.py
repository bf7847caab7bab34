"""What the database says of a bridge, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class PortSpec:
    """An internal port as it should be. MAC and number are pinned: a port that Open vSwitch makes
    anew would otherwise come back with another MAC, and its peers would not find it."""

    name: str
    mac: str
    ofport: int


@dataclass(frozen=True)
class BridgeSpec:
    """A bridge as it should be; a secure one drops what no flow lets through."""

    name: str
    datapath_type: str
    ports: tuple[PortSpec, ...]
    fail_mode: str = "secure"


@dataclass(frozen=True)
class PortRow:
    """A port as the database has it. `ofport` is None until vswitchd has made it, -1 on failure.

    `mac` is the one that was asked for, `mac_in_use` the device's, and `attached_mac` (external id
    attached-mac) the one of whoever is behind the port, where that is somebody else. `ours` when
    this program made it.
    """

    name: str
    kind: str
    mac: str | None
    ofport: int | None
    error: str | None
    mac_in_use: str | None = None
    attached_mac: str | None = None
    ours: bool = False


@dataclass(frozen=True)
class BridgeRow:
    """A bridge as the database has it; `ours` when this program made it."""

    name: str
    datapath_type: str
    fail_mode: str | None
    protocols: tuple[str, ...]
    controllers: int
    ours: bool
    ports: Mapping[str, PortRow] = field(default_factory=dict)
