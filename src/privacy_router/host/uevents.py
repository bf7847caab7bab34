"""Hear of devices that come, go and change drivers, as the kernel announces it."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PROTOCOL: Final = 15  # NETLINK_KOBJECT_UEVENT of linux/netlink.h
_KERNEL_GROUP: Final = 1  # udev repeats events in group 2, for those who wait for its rules
_FROM_KERNEL: Final = 0
_RECEIVE_BYTES: Final = 1 << 16

Uevent = dict[str, str]
"""ACTION, DEVPATH, SUBSYSTEM and what else a subsystem adds (kobject_uevent(9))."""

LOST: Final[Uevent] = {"ACTION": "lost"}
"""Stands for events that the kernel had to drop."""


def parse(datagram: bytes) -> Uevent:
    """The assignments of an event; what is none of them is passed over."""
    fields = datagram.decode(errors="replace").split("\0")
    return dict(field.split("=", 1) for field in fields if "=" in field)


async def uevents(subsystem: str) -> AsyncIterator[Uevent]:
    """Events of a subsystem, from the first `anext` on. Raises OSError when there are none here."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _PROTOCOL) as listening:
        listening.bind((0, _KERNEL_GROUP))
        listening.setblocking(False)
        while True:
            try:
                datagram, (sender, _) = await loop.sock_recvfrom(listening, _RECEIVE_BYTES)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield LOST
                continue
            event = parse(datagram)
            if sender == _FROM_KERNEL and event.get("SUBSYSTEM") == subsystem:
                yield event
