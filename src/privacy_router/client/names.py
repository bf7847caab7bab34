"""Names on the bus: where it is, what its objects are called (pure)."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

BUS_NAME: Final = "org.opdbus"
ROOT: Final = "/org/opdbus"
OPENFLOW: Final = f"{ROOT}/openflow"
NO_BUS: Final = "none"
NO_DOCUMENT: Final = '{"version": 1, "plugins": {}}'
"""The document that declares nothing."""
_SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
_PLAIN: Final = string.ascii_letters + string.digits


def bus_address(environment: Mapping[str, str]) -> str | None:
    """Which bus to be on, or None for none at all.

    PRIVACY_ROUTER_BUS is an address or "none"; else it is the system's bus, which
    DBUS_SYSTEM_BUS_ADDRESS may say is elsewhere.
    """
    chosen = environment.get("PRIVACY_ROUTER_BUS") or environment.get("DBUS_SYSTEM_BUS_ADDRESS")
    return None if chosen == NO_BUS else chosen or _SYSTEM_BUS


def may_be_there(address: str) -> bool:
    """Whether it makes sense to call: of a socket that has a path, whether that is one."""
    for one in address.split(";"):
        kind, _, rest = one.partition(":")
        options = dict(part.partition("=")[::2] for part in rest.split(","))
        if kind != "unix" or "path" not in options or Path(options["path"]).is_socket():
            return True
    return False


def hop_path(name: str) -> str:
    """The object of a hop."""
    return f"{ROOT}/hop/{escaped(name)}"


def client_path(name: str) -> str:
    """The object of a client."""
    return f"{ROOT}/client/{escaped(name)}"


def plugin_path(name: str) -> str:
    """The object of a plugin."""
    return f"{ROOT}/plugin/{escaped(name)}"


def escaped(label: str) -> str:
    """Any text as one element of an object path, in the way of systemd's sd_bus_path_encode(3).

    Everything but ASCII letters and digits, and a digit in front, becomes `_` and two hexadecimal
    digits for each byte; so that no two texts are the same.
    """
    parts = [
        chr(byte)
        if chr(byte) in _PLAIN and not (at == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for at, byte in enumerate(label.encode())
    ]
    return "".join(parts) or "_"


def name_in(path: str) -> str:
    """What the last element of an object path stands for: the opposite of `escaped`."""
    first, *others = path.rpartition("/")[2].split("_")
    data = first.encode() + b"".join(
        bytes.fromhex(part[:2]) + part[2:].encode() for part in others if part
    )
    return data.decode()
