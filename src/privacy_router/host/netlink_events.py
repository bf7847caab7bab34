"""Hear of changes to a network namespace as the kernel announces them."""

from __future__ import annotations

import asyncio
import errno
from contextlib import ExitStack
from enum import IntFlag
from socket import NETLINK_ROUTE
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import decode_attributes, open_socket, parts
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path


class Group(IntFlag):
    """What can be listened to; linux/rtnetlink.h."""

    LINK = 0x1
    NEIGHBOUR = 0x4
    TRAFFIC_CONTROL = 0x8
    IPV4_ADDRESS = 0x10
    IPV4_ROUTE = 0x40
    IPV4_RULE = 0x80
    IPV6_ADDRESS = 0x100
    IPV6_ROUTE = 0x400
    IPV6_RULE = 0x40000
    IPV4_SETTING = 0x800000
    IPV6_SETTING = 0x1000000


CONFIGURATION: Final = (
    Group.LINK | Group.IPV4_ADDRESS | Group.IPV4_ROUTE | Group.IPV6_ADDRESS | Group.IPV6_ROUTE
)
"""What is set up once, and is quiet then."""
WAYS: Final = CONFIGURATION & ~Group.LINK | Group.IPV4_RULE | Group.IPV6_RULE
"""What could lead somewhere, but not the devices themselves."""
EVERYTHING: Final = Group(sum(Group))
"""Settings (of forwarding, for instance) too, and neighbours, which come and go with traffic
unless all of them are permanent."""

_WORDS: Final = {
    **dict.fromkeys((16, 17), "a network device"),
    **dict.fromkeys((20, 21), "an address"),
    **dict.fromkeys((24, 25), "a route"),
    **dict.fromkeys((28, 29), "a neighbour"),
    **dict.fromkeys((32, 33), "a rule"),
    **dict.fromkeys((36, 37, 40, 41, 44, 45), "traffic control"),
    **dict.fromkeys((80, 81), "a setting"),
}
"""By the type of a message, for what is new and what is gone."""
# linux/netfilter/nfnetlink.h: NETLINK_NETFILTER, NFNLGRP_NFTABLES, nfgenmsg
_NETFILTER: Final = 12
_NFTABLES_GROUP: Final = 1 << 6
_NFTABLES_HEADER_BYTES: Final = 4
# linux/netfilter/nf_tables.h: what a message is about begins with its table's name
_TABLE_NAME: Final = 1
_RECEIVE_BYTES: Final = 1 << 16
_LOST: Final = "more than could be listened to"


def changes(namespace: Path | None, groups: Group = CONFIGURATION) -> AsyncGenerator[str, None]:
    """What changed, in a few words, as often as something does; what comes at once is told at once.

    The first one says that it listens: a caller that looked before that looks again. Raises OSError
    when it cannot listen.
    """
    return _told(namespace, NETLINK_ROUTE, groups, _words)


def table_changes(namespace: Path | None, prefix: str) -> AsyncGenerator[str, None]:
    """The same of the nftables tables whose names begin so."""

    def words(datagram: bytes) -> set[str]:
        named = {_table_in(content) for *_, content in parts(datagram)}
        return {f"the nftables table {name}" for name in named if name.startswith(prefix)}

    return _told(namespace, _NETFILTER, _NFTABLES_GROUP, words)


def _table_in(content: bytes) -> str:
    """The table that a message is about; of other messages anything."""
    found = dict(decode_attributes(content[_NFTABLES_HEADER_BYTES:])).get(_TABLE_NAME, b"")
    return found.rstrip(b"\0").decode(errors="replace")


async def _told(
    namespace: Path | None, protocol: int, groups: int, words: Callable[[bytes], set[str]]
) -> AsyncGenerator[str, None]:
    with ExitStack() as open_ones:
        # entered in the thread: a caller that is cancelled meanwhile gets no socket to close
        listening = await in_thread(
            lambda: open_ones.enter_context(open_socket(namespace, groups, protocol))
        )
        listening.setblocking(False)
        yield "listening from now on"
        while True:
            found = await _heard(listening, words)
            while _waiting(listening, words, found):
                pass
            if found:
                yield ", ".join(sorted(found))


async def _heard(listening: socket.socket, words: Callable[[bytes], set[str]]) -> set[str]:
    try:
        datagram = await asyncio.get_running_loop().sock_recv(listening, _RECEIVE_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return {_LOST}
    return words(datagram)


def _waiting(listening: socket.socket, words: Callable[[bytes], set[str]], found: set[str]) -> bool:
    """Take what has come in by now; whether there was any."""
    try:
        found |= words(listening.recv(_RECEIVE_BYTES))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        found.add(_LOST)
    return True


def _words(datagram: bytes) -> set[str]:
    return {_WORDS[kind] for kind, *_ in parts(datagram) if kind in _WORDS}
