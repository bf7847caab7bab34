"""os-ken as the other side: what it reads in our bytes, what it writes, and how long it may think.

It is a controller's library: it has no decoder for what only controllers say, and no encoder for
what only switches say. Where it cannot decode, `decode` raises what it raised.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

constants: Any = ofproto_v1_3
parser: Any = ofproto_v1_3_parser

CPU_LIMIT_S = 0.5
# All that os-ken's messages ask of a connection.
DATAPATH = SimpleNamespace(ofproto=constants, ofproto_parser=parser)


class EndlessError(Exception):
    """os-ken did not come to an end."""


@contextmanager
def limited(cpu_s: float = CPU_LIMIT_S) -> Iterator[None]:
    """Raise EndlessError in what takes more processor time; a busy machine does not count."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise EndlessError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def decode(data: bytes) -> Any:
    """The message that os-ken finds."""
    length, xid = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:8], "big")
    with limited():
        return parser.msg_parser(DATAPATH, data[0], data[1], length, xid, data)


def encode(message: Any, xid: int) -> bytes:
    """The bytes that os-ken writes for a message, which it has made or decoded."""
    message.xid = xid
    with limited():
        message.serialize()
    return bytes(message.buf)
