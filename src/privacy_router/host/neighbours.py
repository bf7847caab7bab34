"""Neighbours as the kernel knows them, and the orders to know them on another device."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Message, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FIXED: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_DST, _LLADDR = 1, 2  # NDA_…
_REACHABLE, _STALE, _DELAY, _PROBE = 0x02, 0x04, 0x08, 0x10  # NUD_…
_KNOWN: Final = _REACHABLE | _STALE | _DELAY | _PROBE


def learned(messages: Iterable[Message], source: int, target: int) -> Iterator[Message]:
    """The orders to know on one device the neighbours of another: not for sure, but well enough to
    send them something before they are asked."""
    for message in messages:
        family, index, state, _, kind = _FIXED.unpack(message.fixed)
        known = {name: message.get(name) for name in (_DST, _LLADDR)}
        if index == source and state & _KNOWN and all(known.values()):
            attributes = tuple((name, value) for name, value in known.items() if value)
            fixed = _FIXED.pack(family, target, _STALE, 0, kind)
            yield Message(Verb.NEWNEIGH, fixed, attributes)
