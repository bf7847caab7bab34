"""The Nicira action `learn`: a flow that adds flows (ovs-actions(7), `learn`)."""

from __future__ import annotations

import struct
from typing import Final

from privacy_router.openflow.action import Action
from privacy_router.openflow.constants import NiciraActionType
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.fields import field_named, nxm_header
from privacy_router.openflow.match import decode_oxm_header_untrusted
from privacy_router.openflow.nicira import NiciraAction, frame_nicira
from privacy_router.openflow.wire import Reader, value_class

_LEARN: Final = struct.Struct("!HHHQHBxHH")
_BITS_MASK = 0x3FF
_IMMEDIATE = 1 << 13
_MATCH, _LOAD, _OUTPUT = 0, 1 << 11, 2 << 11
_DESTINATION_MASK = 3 << 11
_UNUSED = 0xC400
_PART_BYTES = 8  # the shortest
_BODY_AT = 10  # of an action, after the subtype


@value_class
class Learned:
    """A part of the flow to be added: `bits` bits go from a source to a place in the flow.

    `source` is a field's name, or a number. With a `destination` field, the flow matches there on
    those bits, or loads them with `loads`; without one, it outputs to the port that they number.
    """

    bits: int
    source: str | int
    destination: str | None = None
    source_offset: int = 0
    destination_offset: int = 0
    loads: bool = False

    def encode(self) -> bytes:
        if self.destination is None:
            kind, where = _OUTPUT, b""
        else:
            kind = _LOAD if self.loads else _MATCH
            where = _place(self.destination, self.destination_offset)
        if isinstance(self.source, int):
            kind |= _IMMEDIATE
            source = self.source.to_bytes(_immediate_bytes(self.bits), "big")
        else:
            source = _place(self.source, self.source_offset)
        return (kind | self.bits).to_bytes(2, "big") + source + where


@value_class
class Learn(Action):
    """Add a flow to `table_id`, or change it if it is there. `flags` are of `FlowModFlag`."""

    table_id: int
    parts: tuple[Learned, ...]
    priority: int = 0x8000
    cookie: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    flags: int = 0
    fin_idle_timeout_s: int = 0
    fin_hard_timeout_s: int = 0

    def encode(self) -> bytes:
        head = _LEARN.pack(
            *(self.idle_timeout_s, self.hard_timeout_s, self.priority, self.cookie, self.flags),
            *(self.table_id, self.fin_idle_timeout_s, self.fin_hard_timeout_s),
        )
        parts = b"".join(part.encode() for part in self.parts)
        return frame_nicira(NiciraActionType.LEARN, head + parts)


def _place(field: str, offset: int) -> bytes:
    return nxm_header(field_named(field)) + offset.to_bytes(2, "big")


def _immediate_bytes(bits: int) -> int:
    return (bits + 15) // 16 * 2


# --- decoding -----------------------------------------------------------------------------------


def decode_learn_untrusted(reader: Reader) -> Action:
    """After the subtype; what we would not write ourselves is kept as it is. Raises DecodeError."""
    body = reader.rest()
    learn = _decode_body_untrusted(Reader(body))
    if learn.encode()[_BODY_AT:] == body:
        return learn
    return NiciraAction(NiciraActionType.LEARN, body)


def _decode_body_untrusted(reader: Reader) -> Learn:
    idle, hard, priority, cookie, flags, table_id, *fin = reader.unpack("HHHQHBxHH")
    parts: list[Learned] = []
    while reader.left() >= _PART_BYTES and reader.peek("H")[0]:
        part = _decode_part_untrusted(reader)
        if part is None:
            break
        parts.append(part)
    return Learn(table_id, tuple(parts), priority, cookie, idle, hard, flags, *fin)


def _decode_part_untrusted(reader: Reader) -> Learned | None:
    (head,) = reader.peek("H")
    kind, bits = head & _DESTINATION_MASK, head & _BITS_MASK
    if head & _UNUSED or not bits or kind == _DESTINATION_MASK:
        return None
    if kind == _OUTPUT and head & _IMMEDIATE:
        return None
    reader.unpack("H")
    source: str | int
    if head & _IMMEDIATE:
        source, source_offset = int.from_bytes(reader.take(_immediate_bytes(bits)), "big"), 0
    else:
        source, source_offset = _decode_place_untrusted(reader)
    if kind == _OUTPUT:
        return Learned(bits, source, None, source_offset)
    destination, offset = _decode_place_untrusted(reader)
    return Learned(bits, source, destination, source_offset, offset, kind == _LOAD)


def _decode_place_untrusted(reader: Reader) -> tuple[str, int]:
    header = reader.take(4)
    field, has_mask, end = decode_oxm_header_untrusted(header, 0, len(header))
    if has_mask or end != len(header):
        raise DecodeError(f"learn cannot take its bits from {field.name} with a mask")
    return field.name, reader.unpack("H")[0]
