"""The parts of pyroute2 that a node uses, without all the others.

`import pyroute2` loads everything that it has (a database of the network, 9P, WiFi and more), for
twice the memory and the time. So its package is put in place without running what it runs when it
is imported, and the modules with what is needed are imported from it.
"""

from __future__ import annotations

import importlib.util
import sys

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    if _spec is None:
        raise ImportError("pyroute2 is not installed", name="pyroute2")
    sys.modules["pyroute2"] = importlib.util.module_from_spec(_spec)

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import WireGuard
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

__all__ = ["IPRoute", "NFCTSocket", "NetlinkError", "WireGuard"]
