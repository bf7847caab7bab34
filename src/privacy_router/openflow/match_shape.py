"""Matches by the hundred thousand: those with the same field names are encoded alike.

A shape is what all matches on the same names share: their order on the wire, their headers, one
`struct` layout. It handles plain numbers that match on every bit. Everything else, mistakes
included, is left to the slow way in `match`, which also words the errors.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from privacy_router.openflow.fields import FIELDS, WIDE_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privacy_router.openflow.fields import Field

MATCH_TYPE_OXM = 1
_REMEMBERED_SHAPES = 1024
_REMEMBERED_VARIANTS = 64
_MATCH_HEADER: Final = struct.Struct("!HH")
_LONG: Final = (6, 16)  # `struct` takes these as bytes
_CODES: Final = {1: "B", 2: "H", 4: "I", 6: "6s", 8: "Q", 16: "16s"}


class Shape:
    """How to encode plain matches on `fields`, which are in canonical order, two at least.

    Some of the fields decide whether others may be there at all (eth_type, ip_proto). Their values
    are few, so matches that agree in these share a `_Variant`, in which they are constants.
    """

    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        needs = {need for f in fields for need in f.needs}
        self._needs = [(name, frozenset(values)) for name, values in needs]
        self._deciding = sorted({name for name, _ in self._needs})
        self._decision: Callable[[Any], Any] = (
            itemgetter(*self._deciding) if self._deciding else _no_decision
        )
        self._variants: dict[Any, _Variant] = {}

    def encode(self, given: Mapping[str, Any]) -> bytes | None:
        """The match on the wire, or None when it is not this simple."""
        try:
            variant = self._variants.get(self._decision(given)) or self._new_variant(given)
            if variant is None:
                return None
            arguments = variant.arguments.copy()
            arguments[1::2] = variant.values(given)
            return variant.pack(*arguments)
        except (struct.error, TypeError, AttributeError, OverflowError):
            return None

    def _new_variant(self, given: Mapping[str, Any]) -> _Variant | None:
        if any(given[name] not in allowed for name, allowed in self._needs):
            return None
        constants = {name: int(given[name]) for name in self._deciding}
        variant = _Variant(self._fields, constants)
        if len(self._variants) < _REMEMBERED_VARIANTS:
            self._variants[self._decision(given)] = variant
        return variant


def _no_decision(_given: object) -> None:
    """The key of the one variant of a shape in which no field decides about others."""


class _Variant:
    """How to encode matches of one shape whose `constants` are the same.

    `arguments` are those of `pack`: constant bytes in turn with the `values` of what is given.
    """

    def __init__(self, fields: list[Field], constants: Mapping[str, int]) -> None:
        varying = [f for f in fields if f.name not in constants]
        length = _MATCH_HEADER.size + sum(len(f.header) + f.byte_count for f in fields)
        fixed = _MATCH_HEADER.pack(MATCH_TYPE_OXM, length)
        layout = "!"
        self.arguments: list[Any] = []
        for field in fields:
            fixed += field.header
            if field.name in constants:
                fixed += constants[field.name].to_bytes(field.byte_count, "big")
                continue
            layout += f"{len(fixed)}s{_CODES[field.byte_count]}"
            self.arguments += [fixed, None]
            fixed = b""
        fixed += bytes(-length % 8)
        self.arguments.append(fixed)
        self.pack = struct.Struct(f"{layout}{len(fixed)}s").pack
        self.values = _values_of(varying)


def _values_of(fields: list[Field]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """What gives the values of these fields as `pack` takes them."""
    if len(fields) > 1 and all(map(_is_checked_by_struct, fields)):
        return itemgetter(*(f.name for f in fields))
    return lambda given: [_packable(f, given[f.name]) for f in fields]


def _is_checked_by_struct(field: Field) -> bool:
    return field.bits == 8 * field.byte_count and field.byte_count not in _LONG


def _packable(field: Field, value: Any) -> Any:
    if value > field.full_mask:
        raise OverflowError
    return value.to_bytes(field.byte_count, "big") if field.byte_count in _LONG else value


@lru_cache(maxsize=_REMEMBERED_SHAPES)
def shape_of(names: tuple[str, ...]) -> Shape | None:
    """The shape of matches on these names, or None where there is none."""
    fields = [FIELDS.get(name) for name in names]
    known = [f for f in fields if f is not None and f.byte_count in _CODES]
    if len(known) != len(names) or len(names) < 2 or "vlan_pcp" in names:
        return None
    present = {f.name for f in known}
    if present & WIDE_REGISTERS.keys() or not _complete(known, present):
        return None
    return Shape(sorted(known, key=lambda f: (f.rank, f.header)))


def _complete(fields: list[Field], present: set[str]) -> bool:
    return all(need in present and values for f in fields for need, values in f.needs)


# --- the other way ------------------------------------------------------------------------------

_OXM_HEADER_BYTES = 4
_OXM_LENGTH_AT = 3


def is_plain_untrusted(oxm: bytes) -> bool:
    """Whether these OXM fields are what `Match` would write itself, so that they can be kept.

    False says nothing: not for masks, nor for fields that do not fill their bytes.
    """
    headers = []
    position, end = 0, len(oxm)
    while position + _OXM_HEADER_BYTES <= end:
        headers.append(oxm[position : position + _OXM_HEADER_BYTES])
        position += _OXM_HEADER_BYTES + oxm[position + _OXM_LENGTH_AT]
    return position == end and _are_plain(tuple(headers))


@lru_cache(maxsize=_REMEMBERED_SHAPES)
def _are_plain(headers: tuple[bytes, ...]) -> bool:
    fields = [_PLAIN_FIELDS.get(header) for header in headers]
    ranks = [field.rank for field in fields if field is not None]
    rising = all(one < other for one, other in pairwise(ranks))
    return len(ranks) == len(fields) and rising


def _fills_its_bytes(field: Field) -> bool:
    return field.bits == 8 * field.byte_count and field.name not in WIDE_REGISTERS


_PLAIN_FIELDS: Final[dict[bytes, Field]] = {
    field.header: field
    for field in FIELDS.values()
    if field.experimenter is None and _fills_its_bytes(field)
}
