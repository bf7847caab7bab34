"""What a process may do on the machine, in words that a service manager can enforce (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

TUN_DEVICE: Final = "/dev/net/tun"


class Capability(IntEnum):
    """Those of capabilities(7) that some process of a hop has; the numbers are the kernel's."""

    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    NET_RAW = 13


@dataclass(frozen=True)
class Confinement:
    """What one process needs, and so has; nothing else.

    It may read the machine's files except people's own, and write only in `writable`, directories
    that are made when they are not there. `readable` are places that it reads wherever they are:
    the checkout in a user's home that its program comes from. `devices` it may open for reading
    and writing. The system calls are those of ordinary services, without those for administrators.
    """

    capabilities: tuple[Capability, ...] = ()
    address_families: tuple[str, ...] = ("AF_UNIX",)
    devices: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
