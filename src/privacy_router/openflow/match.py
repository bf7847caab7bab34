"""`Match`: which packets a flow is for (OpenFlow 1.3.5, 7.2.3)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from privacy_router.openflow.constants import VLAN_PRESENT
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.fields import (
    FIELDS,
    WIDE_REGISTERS,
    Field,
    OxmClass,
    field_named,
    field_on_wire,
)
from privacy_router.openflow.match_shape import (
    ENCODERS,
    MATCH_TYPE_OXM,
    NOT_PLAIN,
    is_plain_untrusted,
    new_encoder,
)
from privacy_router.openflow.notation import format_value, parse_value
from privacy_router.openflow.wire import pad8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.openflow.notation import FieldValue
    from privacy_router.openflow.wire import Reader

_MATCH_HEADER: Final = struct.Struct("!HH")
_OXM_HEADER: Final = struct.Struct("!HBB")
_EXPERIMENTER: Final = struct.Struct("!I")


_known_encoder: Final = ENCODERS.get


class MatchItem(NamedTuple):
    """One field of a match. `mask` is None where every bit counts."""

    field: Field
    value: int
    mask: int | None


class Match:
    """Which packets. Immutable, hashable, and equal to every match that means the same.

    `Match(in_port=3, eth_type=0x800, ipv4_dst="10.0.0.0/24")`: fields by name, in any order;
    values as numbers, text, `ipaddress` objects or (value, mask). A full mask counts as none, an
    empty mask as no field, and a wide register (xreg, xxreg) as the registers it consists of, so
    that what was asked for compares equal to what a switch reads back. Raises ValueError for an
    unknown field, a value that does not fit, and a missing prerequisite.

    `wire` is the encoded `ofp_match` with its padding.
    """

    __slots__ = ("wire",)
    wire: bytes

    def __init__(self, **fields: FieldValue) -> None:
        try:
            wire = (_known_encoder((*fields,)) or new_encoder((*fields,)))(fields)
        except NOT_PLAIN:
            wire = None
        if wire is None:
            items = _items_of(fields)
            _require_prerequisites(items)
            wire = _encode(items.values())
        _put_wire(self, wire)

    @classmethod
    def of_items(cls, items: Iterable[MatchItem]) -> Self:
        """A match of ready items, without looking at prerequisites: what a switch sent.

        Raises DecodeError for a field given twice, a register as part of a wide one among them.
        """
        match = cls.__new__(cls)
        _put_wire(match, _encode(_canonical(items)))
        return match

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a match does not change: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return _match_of_wire, (self.wire,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Match):
            return NotImplemented
        return self.wire == other.wire

    def __hash__(self) -> int:
        return hash(self.wire)

    def __iter__(self) -> Iterator[MatchItem]:
        """The items in canonical order."""
        length = _MATCH_HEADER.unpack_from(self.wire)[1]
        return iter(_items_untrusted(self.wire, _MATCH_HEADER.size, length))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> MatchItem | None:
        """The item of that field, or None. Raises ValueError for a name that nothing has."""
        wanted = field_named(name).name
        return next((item for item in self if item.field.name == wanted), None)

    def value(self, name: str) -> int | None:
        """The value of that field when it is matched on every bit, else None."""
        item = self.get(name)
        return None if item is None or item.mask is not None else item.value

    def extended(self, **fields: FieldValue) -> Match:
        """This match with more fields, or with other values for the ones it has."""
        items = {item.field.name: item for item in self}
        merged = {**items, **_items_of(fields)}
        _require_prerequisites(merged)
        return Match.of_items(merged.values())

    def missing_prerequisites(self) -> tuple[str, ...]:
        """What a switch would miss (OFPBMC_BAD_PREREQ), in words; empty for a match made here."""
        return _missing({item.field.name: item for item in self})

    def __repr__(self) -> str:
        parts = (f"{i.field.name}={format_value(i.field, i.value, i.mask)}" for i in self)
        return f"Match({', '.join(parts)})"


_put_wire: Final = Match.__dict__["wire"].__set__  # past `__setattr__`, which forbids


def _match_of_wire(wire: bytes) -> Match:
    match = Match.__new__(Match)
    _put_wire(match, wire)
    return match


# --- building -----------------------------------------------------------------------------------


def _items_of(fields: dict[str, FieldValue]) -> dict[str, MatchItem]:
    items: dict[str, MatchItem] = {}
    for name, given in fields.items():
        field = FIELDS.get(name) or field_named(name)
        value, mask = parse_value(field, given)
        for item in _plain(MatchItem(field, value, mask)):
            if item.field.name in items:
                raise ValueError(f"{item.field.name} is given twice")
            if item.mask != 0:
                items[item.field.name] = item
    return items


def _plain(item: MatchItem) -> Iterable[MatchItem]:
    """A wide register as 32-bit registers; a full mask as None."""
    field, value, mask = item
    if field.name not in WIDE_REGISTERS:
        return (MatchItem(field, value, None if mask == field.full_mask else mask),)
    full = field.full_mask if mask is None else mask
    names = WIDE_REGISTERS[field.name]
    shifts = range(32 * (len(names) - 1), -1, -32)
    return [
        _register(FIELDS[name], value >> shift & 0xFFFFFFFF, full >> shift & 0xFFFFFFFF)
        for name, shift in zip(names, shifts, strict=True)
    ]


def _register(field: Field, value: int, mask: int) -> MatchItem:
    return MatchItem(field, value, None if mask == field.full_mask else mask)


def _canonical(items: Iterable[MatchItem]) -> list[MatchItem]:
    result: list[MatchItem] = []
    for item in items:
        if item.field.known:
            result += [plain for plain in _plain(item) if plain.mask != 0]
        else:
            result.append(item)
    if len({item.field for item in result}) != len(result):
        raise DecodeError("a match with a field given twice")
    return result


def _require_prerequisites(items: dict[str, MatchItem]) -> None:
    missing = _missing(items)
    if missing:
        raise ValueError(f"match on {', '.join(items)}: {'; '.join(missing)}")


def _missing(items: dict[str, MatchItem]) -> tuple[str, ...]:
    return tuple(
        f"{item.field.name} needs {need} {_alternatives(values)}".rstrip()
        for item in items.values()
        for need, values in item.field.needs
        if not _fulfilled(items.get(need), values)
    )


def _fulfilled(item: MatchItem | None, values: tuple[int, ...]) -> bool:
    if item is None:
        return False
    if item.field.name == "vlan_vid":
        return bool(item.value & VLAN_PRESENT)
    return not values or (item.mask is None and item.value in values)


def _alternatives(values: tuple[int, ...]) -> str:
    return " or ".join(f"{value:#x}" if value > 0xFF else str(int(value)) for value in values)


# --- the wire -----------------------------------------------------------------------------------


def _encode(items: Iterable[MatchItem]) -> bytes:
    ordered = sorted(items, key=_order)
    oxm = b"".join([encode_oxm(*item) for item in ordered])
    return pad8(_MATCH_HEADER.pack(MATCH_TYPE_OXM, _MATCH_HEADER.size + len(oxm)) + oxm)


def _order(item: MatchItem) -> tuple[int, bytes]:
    return item.field.rank, item.field.header


def encode_oxm(field: Field, value: int, mask: int | None) -> bytes:
    """One OXM field. Raises ValueError for an unknown field too long to carry a mask."""
    size = field.byte_count
    if mask is None:
        return field.header + value.to_bytes(size, "big")
    if not field.masked_header:
        raise ValueError(f"{field.name} is too long to be masked")
    return field.masked_header + value.to_bytes(size, "big") + mask.to_bytes(size, "big")


def decode_match_untrusted(reader: Reader) -> Match:
    """An `ofp_match` with its padding. Raises DecodeError."""
    start = reader.position
    kind, length = reader.unpack("HH")
    if kind != MATCH_TYPE_OXM or length < _MATCH_HEADER.size:
        raise DecodeError(f"match of type {kind} and length {length}")
    padded = -(-length // 8) * 8
    reader.take(padded - _MATCH_HEADER.size)
    oxm = reader.data[start + _MATCH_HEADER.size : start + length]
    if is_plain_untrusted(oxm):
        return _match_of_wire(reader.data[start : start + length] + bytes(padded - length))
    return Match.of_items(_items_untrusted(oxm, 0, len(oxm)))


def _items_untrusted(data: bytes, start: int, end: int) -> list[MatchItem]:
    items: list[MatchItem] = []
    while start < end:
        item, start = decode_oxm_untrusted(data, start, end)
        items.append(item)
    return items


def decode_oxm_untrusted(data: bytes, start: int, end: int) -> tuple[MatchItem, int]:
    """The OXM field at `start` and where it ends. Raises DecodeError."""
    field, has_mask, position = decode_oxm_header_untrusted(data, start, end)
    size = field.byte_count
    stop = position + size * (2 if has_mask else 1)
    if stop > end:
        raise DecodeError(f"{field.name} is cut off")
    value = int.from_bytes(data[position : position + size], "big")
    mask = int.from_bytes(data[position + size : stop], "big") if has_mask else None
    return _checked_untrusted(MatchItem(field, value, mask)), stop


def _checked_untrusted(item: MatchItem) -> MatchItem:
    """Bits that the mask leaves out do not count; bits that the field has not are an error."""
    field, value, mask = item
    if mask is not None:
        # A switch may mask the unused high bits of a field; they are zero in every packet.
        mask = mask & field.full_mask if field.known else mask
        value = value & mask if field.known else value
    if value > field.full_mask:
        raise DecodeError(f"{field.name} is {value:#x}, beyond its {field.bits} bits")
    return MatchItem(field, value, mask)


def decode_oxm_header_untrusted(data: bytes, start: int, end: int) -> tuple[Field, bool, int]:
    """The field of an OXM header, whether it has a mask, and where its payload starts.

    Raises DecodeError.
    """
    position = start + _OXM_HEADER.size
    if position > end:
        raise DecodeError("an OXM header is cut off")
    oxm_class, number, length = _OXM_HEADER.unpack_from(data, start)
    experimenter = None
    if oxm_class == OxmClass.EXPERIMENTER:
        if position + 4 > end or length < _EXPERIMENTER.size:
            raise DecodeError("an experimenter OXM header is cut off")
        experimenter = _EXPERIMENTER.unpack_from(data, position)[0]
        position += 4
        length -= 4
    has_mask = bool(number & 1)
    if has_mask and length % 2:
        raise DecodeError(f"a masked OXM field of {length} bytes")
    size = length // 2 if has_mask else length
    return field_on_wire(oxm_class, number >> 1, experimenter, size), has_mask, position
