"""Keeping the kernel's own stack from what an uplink receives, with the userspace datapath.

That only listens to a device, so that the kernel sees every packet twice: on the device, and on the
bridge. The kernel's datapath takes them before every other reader.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from privacy_router.errors import MissingPrerequisiteError, PrivacyRouterError
from privacy_router.host import nftables

if TYPE_CHECKING:
    from pathlib import Path

SHIELDS: Final = "op-dbus-"
"""How the names of their tables begin."""
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")


def shield(namespace: Path | None, interface: str) -> None:
    """Keep the kernel's own stack from what the device receives."""
    table = _table(interface)
    chain = {
        "family": "inet",
        "table": table,
        "name": "ingress",
        "type": "filter",
        "hook": "ingress",
        "dev": interface,
        "prio": 0,
        "policy": "drop",
    }
    try:
        nftables.apply(namespace, table, [{"chain": chain}])
    except nftables.NftablesError as error:
        raise PrivacyRouterError(f"nftables does not shield {interface}: {error}") from error


def is_shielded(namespace: Path | None, interface: str) -> bool:
    """Whether that is so."""
    try:
        return bool(nftables.read(namespace, _table(interface)))
    except MissingPrerequisiteError:
        return False  # without nftables nothing can be


def unshield(namespace: Path | None, interface: str) -> None:
    """Let the kernel's own stack have what the device receives."""
    try:
        if is_shielded(namespace, interface):
            nftables.delete(namespace, _table(interface))
    except nftables.NftablesError as error:
        raise PrivacyRouterError(f"nftables still shields {interface}: {error}") from error


def _table(interface: str) -> str:
    return f"{SHIELDS}{_ODD.sub('_', interface)}"
