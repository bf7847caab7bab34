"""The state of a node as single items, each with a key that says what it is about.

A desired and an observed state are both mappings from `Key` to a value; where the values differ,
there is a `Change`. Everything that `plan` shows, `up` applies and the controller repairs is such
a change, so nothing can be applied that is not also read back.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from privacy_router.values.changes import KeyedChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.values.wireguard import Endpoint


class Kind(IntEnum):
    """What an item is, in the order in which items come into being; they go the other way round.

    What takes its time to start comes early. A namespace forbids before it lets through: firewall
    and rules are in force before the first device in it is up.
    """

    NAMESPACE = 0
    SETTING = 1
    PROCESS = 2
    BRIDGE = 3
    PORT = 4
    FIREWALL = 5
    RULE = 6
    DEVICE = 7
    DEVICE_SETTING = 8
    ADDRESS = 9
    NEIGHBOUR = 10
    ROUTE = 11
    TUNNEL = 12
    FOREIGN = 13
    METER = 14
    FLOW = 15


_TAG_KEY: Final = secrets.token_bytes(16)


_TAG_BYTES: Final = 16


HOST = "host"
"""Where items are that live in the host's own namespace; only a chain without WARP has any."""


@dataclass(frozen=True, order=True)
class Key:
    """What an item is about: its kind, the namespace (or bridge) it is in, and its name there."""

    kind: Kind
    where: str
    name: str


class Change(KeyedChange[Key]):
    """One difference of an item."""


@dataclass(frozen=True)
class Device:
    """A device as it should be in its namespace; `mac` None where it has none (WireGuard).

    `offloads_checksums`: whether the kernel leaves the checksums of what is sent to the device's
    driver; None where either is right.
    """

    mac: str | None
    mtu_bytes: int
    up: bool = True
    carrier: bool = True
    offloads_checksums: bool | None = None

    def __str__(self) -> str:
        state = "up" if self.up and self.carrier else "down"
        mac = f", {self.mac}" if self.mac else ""
        return f"{state}, mtu {self.mtu_bytes}{mac}{self._checksums}"

    @property
    def _checksums(self) -> str:
        if self.offloads_checksums is None:
            return ""
        return f", checksums by the {'driver' if self.offloads_checksums else 'kernel'}"


@dataclass(frozen=True)
class SecretTag:
    """Tells two secrets apart and reveals neither; means nothing in another process."""

    tag: str

    @classmethod
    def of(cls, secret: str | None) -> SecretTag:
        """The tag of a secret; None is one too, that of none at all."""
        if secret is None:
            return cls("none")
        return cls(
            hashlib.blake2s(secret.encode(), key=_TAG_KEY, digest_size=_TAG_BYTES).hexdigest()
        )


@dataclass(frozen=True)
class PeerState:
    """What of a WireGuard peer is compared: not the counters.

    `endpoint` None: the peer may be anywhere, and move (WireGuard's "roaming").
    """

    allowed_ips: frozenset[Any]
    keepalive_s: int
    preshared_key: SecretTag
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class TunnelState:
    """What of a WireGuard device is compared; the private key by its public half.

    `listen_port` None: the kernel chooses. `firewall_mark` is on what the device's sockets send.
    """

    public_key: str
    listen_port: int | None
    peers: Mapping[str, PeerState]
    firewall_mark: int = 0

    def __str__(self) -> str:
        port = f"port {self.listen_port}, " if self.listen_port else ""
        return f"{port}{len(self.peers)} peer(s)"


_NAMED_MOST = 3


def summary(changes: Sequence[Change]) -> str:
    """The changes in one line: of each kind how many, and the names of the first few."""
    names: dict[Kind, list[str]] = {}
    for change in changes:
        names.setdefault(change.key.kind, []).append(f"{change.key.name} ({change.key.where})")
    parts = []
    for kind, found in names.items():
        more = f" and {len(found) - _NAMED_MOST} more" if len(found) > _NAMED_MOST else ""
        parts.append(f"{kind.name.lower()} {', '.join(found[:_NAMED_MOST])}{more}")
    return "; ".join(parts)


def diff(desired: Mapping[Key, Any], observed: Mapping[Key, Any]) -> list[Change]:
    """The changes that turn `observed` into `desired`, in the order in which to make them."""
    removals = [
        Change(key, observed[key], None)
        for key in sorted(observed.keys() - desired.keys(), reverse=True)
    ]
    additions = [
        Change(key, observed.get(key), value)
        for key, value in sorted(desired.items(), key=lambda item: item[0])
        if observed.get(key) != value
    ]
    return removals + additions
