"""The TCP connections of a network namespace, of any program; sock_diag(7), linux/inet_diag.h."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Flag, ask, open_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_SOCK_DIAG: Final = 4  # the netlink protocol
_LIST, _DESTROY = 20, 21  # SOCK_DIAG_BY_FAMILY, SOCK_DESTROY
_REQUEST: Final = struct.Struct(
    "=BBBxI"
)  # family, protocol, extensions, states; the socket follows
_SOCKET: Final = slice(4, 52)  # of struct inet_diag_msg: ports, addresses, device, cookie
_ENDING, _LISTENING = 6, 10  # TCP_TIME_WAIT, TCP_LISTEN
_CONNECTED: Final = 0xFFF & ~(1 << _ENDING | 1 << _LISTENING)
_GONE: Final = errno.ENOENT


def reset_connections(namespace: Path | None) -> int:
    """End every TCP connection there with a reset to its peer, and say how many there were.

    A program that ends closes its connections, which takes an answer of each peer; a peer that
    cannot answer in time keeps its half for minutes. Raises OSError, with EOPNOTSUPP from a kernel
    without CONFIG_INET_DIAG_DESTROY.
    """
    with open_socket(namespace, protocol=_SOCK_DIAG) as line:
        found = [(family, one) for family in _FAMILIES for one in _connections(line, family)]
        return sum(_reset(line, family, one) for family, one in found)


def _connections(line: socket.socket, family: int) -> Iterator[bytes]:
    question = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _CONNECTED) + bytes(48)
    for content in ask(line, _LIST, question):
        yield content[_SOCKET]


def _reset(line: socket.socket, family: int, one: bytes) -> bool:
    """Whether it was still there."""
    order = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _CONNECTED) + one
    try:
        ask(line, _DESTROY, order, Flag.REQUEST)
    except OSError as error:
        if error.errno != _GONE:
            raise
        return False
    return True
