"""Neighbours as the kernel knows them, and the orders to know others."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Message, Verb
from privacy_router.values.network import FAMILY, Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FIXED: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_DST, _LLADDR = 1, 2  # NDA_…
_REACHABLE, _STALE, _DELAY, _PROBE = 0x02, 0x04, 0x08, 0x10  # NUD_…
_PERMANENT: Final = 0x80
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


def permanent(messages: Iterable[Message], names: Mapping[int, str]) -> Iterator[Neighbour]:
    """The neighbours that are known for good, on the devices of those names."""
    for message in messages:
        _, index, state, _, _ = _FIXED.unpack(message.fixed)
        address, mac = message.get(_DST), message.get(_LLADDR)
        if state & _PERMANENT and address and mac and index in names:
            yield Neighbour(ip_address(address), mac.hex(":"), names[index])


def new_neighbour(neighbour: Neighbour, index: int) -> Message:
    """The order to know a neighbour for good, on the device of that index."""
    fixed = _FIXED.pack(FAMILY[neighbour.address.version], index, _PERMANENT, 0, 0)
    mac = bytes.fromhex(neighbour.mac.replace(":", ""))
    return Message(Verb.NEWNEIGH, fixed, ((_DST, neighbour.address.packed), (_LLADDR, mac)))


def neighbour_removal(neighbour: Neighbour, index: int) -> Message:
    """The order to forget it."""
    fixed = _FIXED.pack(FAMILY[neighbour.address.version], index, 0, 0, 0)
    return Message(Verb.DELNEIGH, fixed, ((_DST, neighbour.address.packed),))
