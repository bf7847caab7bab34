"""Hear of changes to devices, addresses and routes as the kernel announces them."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Verb, open_socket, parts
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_RECEIVE_BYTES: Final = 1 << 16
_WORDS: Final = {
    Verb.NEWLINK: "a network device",
    Verb.DELLINK: "a network device",
    Verb.NEWADDR: "an address",
    Verb.DELADDR: "an address",
    Verb.NEWROUTE: "a route",
    Verb.DELROUTE: "a route",
}


async def changes(namespace: Path | None) -> AsyncIterator[str]:
    """What changed, in a few words, as often as something does; what comes at once is told at once.

    Listens from the first `anext` on. Raises OSError when that is not possible.
    """
    listening = await in_thread(open_socket, namespace, _GROUPS)
    listening.setblocking(False)
    with listening:
        while True:
            found = await _heard(listening)
            while _waiting(listening, found):
                pass
            if found:
                yield ", ".join(sorted(found))


async def _heard(listening: socket.socket) -> set[str]:
    try:
        datagram = await asyncio.get_running_loop().sock_recv(listening, _RECEIVE_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return {"more than could be listened to"}
    return _words(datagram)


def _waiting(listening: socket.socket, found: set[str]) -> bool:
    """Take what has come in by now; whether there was any."""
    try:
        found |= _words(listening.recv(_RECEIVE_BYTES))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        found.add("more than could be listened to")
    return True


def _words(datagram: bytes) -> set[str]:
    return {_WORDS[Verb(kind)] for kind, *_ in parts(datagram) if kind in set(_WORDS)}
