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
    from collections.abc import Callable, Mapping

    from privacy_router.openflow.fields import Field

MATCH_TYPE_OXM = 1
_REMEMBERED_SHAPES = 1024
_LENGTHS_FIRST = 2
_CODES: Final = {1: "B", 2: "H", 4: "I", 6: "6s", 8: "Q", 16: "16s"}


class Shape:
    """How to encode plain matches on `fields`, which are in canonical order, two at least."""

    def __init__(self, fields: list[Field]) -> None:
        layout = "".join(f"{len(f.header)}s{_CODES[f.byte_count]}" for f in fields)
        length = struct.calcsize("!HH" + layout)
        self._pack = struct.Struct(f"!HH{layout}{-length % 8}x").pack
        self._arguments: list[Any] = [MATCH_TYPE_OXM, length]
        for field in fields:
            self._arguments += [field.header, None]
        self._values: Callable[[Any], tuple[Any, ...]] = itemgetter(*(f.name for f in fields))
        self._long = [(i, f.byte_count) for i, f in enumerate(fields) if f.byte_count in (6, 16)]
        self._narrow = [
            (f.name, f.full_mask) for f in fields if f.bits % 8 or f.byte_count != f.bits // 8
        ]
        needs = {need for f in fields for need in f.needs}
        self._needs = [(name, frozenset(values)) for name, values in needs]

    def encode(self, given: Mapping[str, Any]) -> bytes | None:
        """The match on the wire, or None when it is not this simple."""
        try:
            for name, allowed in self._needs:
                if given[name] not in allowed:
                    return None
            for name, highest in self._narrow:
                if given[name] > highest:
                    return None
            return self._packed(self._values(given))
        except (struct.error, TypeError, AttributeError, OverflowError):
            return None

    def _packed(self, values: tuple[Any, ...]) -> bytes:
        if self._long:
            prepared = list(values)
            for index, size in self._long:
                prepared[index] = prepared[index].to_bytes(size, "big")
            values = tuple(prepared)
        arguments = self._arguments.copy()
        arguments[_LENGTHS_FIRST + 1 :: 2] = values
        return self._pack(*arguments)


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
