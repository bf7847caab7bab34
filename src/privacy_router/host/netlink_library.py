"""The parts of pyroute2 that a node uses, without all the others.

`import pyroute2` loads everything that it has (a database of the network, 9P, WiFi and more), for
twice the memory and the time. So its package is put in place without running what it runs when it
is imported, and the modules with what is needed are imported from it.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from privacy_router.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    if _spec is None:
        raise ImportError("pyroute2 is not installed", name="pyroute2")
    sys.modules["pyroute2"] = importlib.util.module_from_spec(_spec)

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError as _Refusal
from pyroute2.netlink.generic.wireguard import WireGuard
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

__all__ = ["IPRoute", "NFCTSocket", "NetlinkError", "translated", "wireguard_session"]


class NetlinkError(MachineError):
    """The kernel refused a request over netlink; `code` is its errno."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def translated() -> Iterator[None]:
    """What the library raises for the kernel's refusals, as a NetlinkError."""
    try:
        yield
    except _Refusal as error:
        raise NetlinkError(int(error.code), str(error)) from error


@contextmanager
def wireguard_session() -> Iterator[WireGuard]:
    """A session with the kernel's WireGuard. Raises NetlinkError, also where it has none."""
    with translated(), WireGuard() as session:
        yield session
