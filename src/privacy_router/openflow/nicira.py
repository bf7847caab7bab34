"""Nicira extension actions, as Open vSwitch documents them in ovs-actions(7)."""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.action import Action, encode_actions, frame_action
from privacy_router.openflow.constants import NICIRA_EXPERIMENTER, ActionType, NiciraActionType
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.fields import field_named
from privacy_router.openflow.match import decode_oxm_header_untrusted
from privacy_router.openflow.notation import parse_value
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.notation import FieldValue, IpAddress
    from privacy_router.openflow.wire import Reader

    ActionsDecoder = Callable[[Reader], tuple[Action, ...]]

RESUBMIT_IN_PORT = 0xFFF8  # the 16-bit number of IN_PORT
NO_TABLE = 0xFF
_NOTE_HEAD_BYTES = 10  # what an action has before the data

_LOAD_BITS = 64
_SUBTYPE: Final = struct.Struct("!IH")
_LOAD: Final = struct.Struct("!H4sQ")
_CONJUNCTION: Final = struct.Struct("!BBI")
_CT: Final = struct.Struct("!H4sHB3xH")


def frame_nicira(subtype: int, body: bytes) -> bytes:
    """A Nicira action of that subtype around `body`."""
    return frame_action(ActionType.EXPERIMENTER, _SUBTYPE.pack(NICIRA_EXPERIMENTER, subtype) + body)


@value_class
class NiciraAction(Action):
    """A Nicira action that is kept as it is. `body` follows the subtype."""

    subtype: int
    body: bytes

    def encode(self) -> bytes:
        return frame_nicira(self.subtype, self.body)


@value_class
class Move(Action):
    """Copy `bits` bits from one field to another (reg_move)."""

    source: str
    destination: str
    bits: int
    source_offset: int = 0
    destination_offset: int = 0

    def encode(self) -> bytes:
        numbers = struct.pack("!3H", self.bits, self.source_offset, self.destination_offset)
        headers = field_named(self.source).header + field_named(self.destination).header
        return frame_nicira(NiciraActionType.REG_MOVE, numbers + headers)


@value_class
class Load(Action):
    """Write `value` into bits of a field (reg_load); use `SetField` for a whole field."""

    field: str
    value: int
    bits: int
    offset: int = 0

    def encode(self) -> bytes:
        where = self.offset << 6 | self.bits - 1
        header = field_named(self.field).header
        return frame_nicira(NiciraActionType.REG_LOAD, _LOAD.pack(where, header, self.value))


@value_class
class SetFieldMasked(Action):
    """Write the bits of `mask` into a field (reg_load2; `set_field` with a mask)."""

    field: str
    value: int
    mask: int

    def encode(self) -> bytes:
        field = field_named(self.field)
        size = field.byte_count
        payload = self.value.to_bytes(size, "big") + self.mask.to_bytes(size, "big")
        return frame_nicira(NiciraActionType.REG_LOAD2, field.masked_header + payload)


def load(field: str, value: FieldValue) -> Load:
    """`Load` for all bits of a field, its value as people write it. Raises ValueError."""
    known = field_named(field)
    if known.bits > _LOAD_BITS:
        raise ValueError(f"load takes at most {_LOAD_BITS} bits, {field} has {known.bits}")
    return Load(known.name, parse_value(known, value)[0], known.bits)


@value_class
class Resubmit(Action):
    """Look the packet up again, in `table`."""

    table_id: int
    in_port: int = RESUBMIT_IN_PORT

    def encode(self) -> bytes:
        return frame_nicira(
            NiciraActionType.RESUBMIT_TABLE, struct.pack("!HB3x", self.in_port, self.table_id)
        )


@value_class
class Note(Action):
    """Does nothing; carries `data`, padded with zeros to 6 bytes plus a multiple of 8."""

    data: bytes

    def __post_init__(self) -> None:
        padding = bytes(-(len(self.data) + _NOTE_HEAD_BYTES) % 8)
        object.__setattr__(self, "data", self.data + padding)

    def encode(self) -> bytes:
        return frame_nicira(NiciraActionType.NOTE, self.data)


@value_class
class Ct(Action):
    """Send the packet through connection tracking.

    `flags` are of `CtFlag`. With `zone_field`, the zone is read from that field and `zone` says
    which bits of it (offset << 6 | bits - 1). `table_id` is where the tracked copy goes on, or
    `NO_TABLE`. `alg` is the port number of the helper (21 for FTP), or 0.
    """

    flags: int = 0
    zone: int = 0
    table_id: int = NO_TABLE
    actions: tuple[Action, ...] = ()
    alg: int = 0
    zone_field: str | None = None

    def encode(self) -> bytes:
        source = field_named(self.zone_field).header if self.zone_field else bytes(4)
        fixed = _CT.pack(self.flags, source, self.zone, self.table_id, self.alg)
        return frame_nicira(NiciraActionType.CT, fixed + encode_actions(self.actions))


@value_class
class Conjunction(Action):
    """One of `count` dimensions of the conjunctive match that `conj_id` stands for, from 0 on."""

    conjunction_id: int
    dimension: int
    count: int

    def encode(self) -> bytes:
        numbers = (self.dimension, self.count, self.conjunction_id)
        return frame_nicira(NiciraActionType.CONJUNCTION, _CONJUNCTION.pack(*numbers))


@value_class
class Clone(Action):
    """Carry `actions` out on a copy of the packet."""

    actions: tuple[Action, ...]

    def encode(self) -> bytes:
        return frame_nicira(NiciraActionType.CLONE, bytes(6) + encode_actions(self.actions))


@value_class
class Nat(Action):
    """Address translation, inside `Ct`. `flags` are of `NatFlag`; ranges are inclusive."""

    flags: int = 0
    address_min: IpAddress | None = None
    address_max: IpAddress | None = None
    port_min: int | None = None
    port_max: int | None = None

    def encode(self) -> bytes:
        present = 0
        parts = b""
        either = self.address_min or self.address_max
        shift = 2 if isinstance(either, ipaddress.IPv6Address) else 0
        for bit, address in ((0, self.address_min), (1, self.address_max)):
            if address is not None:
                present |= 1 << bit + shift
                parts += address.packed
        for bit, port in ((4, self.port_min), (5, self.port_max)):
            if port is not None:
                present |= 1 << bit
                parts += port.to_bytes(2, "big")
        return frame_nicira(NiciraActionType.NAT, struct.pack("!2xHH", self.flags, present) + parts)


# --- decoding -----------------------------------------------------------------------------------


def decode_nicira_untrusted(reader: Reader, decode_actions: ActionsDecoder) -> Action:
    """The Nicira action after its experimenter number. Raises DecodeError.

    One that is malformed for its known subtype is an error; an unknown subtype is kept.
    """
    (subtype,) = reader.unpack("H")
    if subtype == NiciraActionType.CT:
        return _decode_ct_untrusted(reader, decode_actions)
    if subtype == NiciraActionType.CLONE:
        reader.unpack("6x")
        return Clone(decode_actions(reader))
    decode = _DECODERS.get(subtype)
    return decode(reader) if decode else NiciraAction(subtype, reader.rest())


def _decode_move_untrusted(reader: Reader) -> Action:
    bits, source_offset, destination_offset = reader.unpack("3H")
    source = _field_header_untrusted(reader)
    destination = _field_header_untrusted(reader)
    _skip_padding_untrusted(reader)
    return Move(source, destination, bits, source_offset, destination_offset)


def _field_header_untrusted(reader: Reader) -> str:
    field, _, end = decode_oxm_header_untrusted(reader.data, reader.position, reader.end)
    reader.position = end
    return field.name


def _decode_load_untrusted(reader: Reader) -> Action:
    (where,) = reader.unpack("H")
    header = reader.take(4)
    (value,) = reader.unpack("Q")
    field, _, _ = decode_oxm_header_untrusted(header, 0, len(header))
    return Load(field.name, value, (where & 0x3F) + 1, where >> 6)


def _decode_load2_untrusted(reader: Reader) -> Action:
    body = reader.rest()
    field, has_mask, start = decode_oxm_header_untrusted(body, 0, len(body))
    size = field.byte_count
    end = start + 2 * size
    if not has_mask or end > len(body) or any(body[end:]):
        return NiciraAction(NiciraActionType.REG_LOAD2, body)
    value = int.from_bytes(body[start : start + size], "big")
    return SetFieldMasked(field.name, value, int.from_bytes(body[start + size : end], "big"))


def _decode_resubmit_untrusted(reader: Reader) -> Action:
    in_port, table_id = reader.unpack("HB3x")
    return Resubmit(table_id, in_port)


def _decode_note_untrusted(reader: Reader) -> Action:
    return Note(reader.rest())


def _decode_ct_untrusted(reader: Reader, decode_actions: ActionsDecoder) -> Action:
    flags, source, zone, table_id, alg = reader.unpack("H4sHB3xH")
    zone_field = None
    if any(source):
        field, has_mask, _ = decode_oxm_header_untrusted(source, 0, len(source))
        if has_mask:
            raise DecodeError(f"ct cannot take its zone from {field.name} with a mask")
        zone_field = field.name
    return Ct(flags, zone, table_id, decode_actions(reader), alg, zone_field)


def _decode_conjunction_untrusted(reader: Reader) -> Action:
    dimension, count, conjunction_id = reader.unpack("BBI")
    return Conjunction(conjunction_id, dimension, count)


def _decode_nat_untrusted(reader: Reader) -> Action:
    start = reader.position
    flags, present = reader.unpack("2xHH")
    if (present & 0b0011 and present & 0b1100) or present & ~0b111111:
        reader.position = start
        return NiciraAction(NiciraActionType.NAT, reader.rest())
    lowest = _address_untrusted(reader, present, 0b0001, 0b0100)
    highest = _address_untrusted(reader, present, 0b0010, 0b1000)
    ports = [reader.unpack("H")[0] if present & bit else None for bit in (16, 32)]
    _skip_padding_untrusted(reader)
    return Nat(flags, lowest, highest, ports[0], ports[1])


def _address_untrusted(reader: Reader, present: int, v4: int, v6: int) -> IpAddress | None:
    if present & v4:
        return ipaddress.IPv4Address(reader.take(4))
    if present & v6:
        return ipaddress.IPv6Address(reader.take(16))
    return None


def _skip_padding_untrusted(reader: Reader) -> None:
    if reader.left() >= 8:
        raise DecodeError(f"{reader.left()} bytes after a Nicira action")
    reader.rest()


_DECODERS: Final[dict[int, Callable[[Reader], Action]]] = {
    NiciraActionType.REG_MOVE: _decode_move_untrusted,
    NiciraActionType.REG_LOAD: _decode_load_untrusted,
    NiciraActionType.REG_LOAD2: _decode_load2_untrusted,
    NiciraActionType.RESUBMIT_TABLE: _decode_resubmit_untrusted,
    NiciraActionType.NOTE: _decode_note_untrusted,
    NiciraActionType.CONJUNCTION: _decode_conjunction_untrusted,
    NiciraActionType.NAT: _decode_nat_untrusted,
}
