"""Matches by the hundred thousand: those with the same field names are encoded alike.

For each combination of names, a function is compiled, as `dataclasses` does it, that knows their
order on the wire, their headers and one `struct` layout. It handles plain numbers that match on
every bit. Everything else, mistakes included, is left to the slow way in `match`, which also words
the errors.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from privacy_router.openflow.fields import FIELDS, WIDE_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.fields import Field

    Encoder = Callable[[dict[str, Any]], bytes | None]

MATCH_TYPE_OXM = 1
# What an encoder raises, besides returning None, for what is not plain.
NOT_PLAIN: Final = (struct.error, TypeError, AttributeError, OverflowError)
_REMEMBERED_SHAPES = 1024
_MATCH_HEADER: Final = struct.Struct("!HH")
_LONG: Final = (6, 16)  # `struct` takes these as bytes
_CODES: Final = {1: "B", 2: "H", 4: "I", 6: "6s", 8: "Q", 16: "16s"}


# What takes the values of fields by name and gives the match on the wire, by the fields' names.
ENCODERS: Final[dict[tuple[str, ...], Encoder]] = {}


def new_encoder(names: tuple[str, ...]) -> Encoder:
    """Make one, and put it into `ENCODERS` while there is room."""
    encoder = _encoder_of(names)
    if len(ENCODERS) < _REMEMBERED_SHAPES:
        ENCODERS[names] = encoder
    return encoder


def _encoder_of(names: tuple[str, ...]) -> Encoder:
    fields = [FIELDS.get(name) for name in names]
    known = [f for f in fields if f is not None and f.byte_count in _CODES]
    if len(known) != len(names) or len(names) < 2 or "vlan_pcp" in names:
        return _nothing_plain
    present = {f.name for f in known}
    if present & WIDE_REGISTERS.keys() or not _complete(known, present):
        return _nothing_plain
    return _compiled(sorted(known, key=lambda f: (f.rank, f.header)))


def _nothing_plain(_given: dict[str, Any]) -> None:
    """The encoder of combinations that are never simple enough."""


def _complete(fields: list[Field], present: set[str]) -> bool:
    return all(need in present and values for f in fields for need, values in f.needs)


def _compiled(fields: list[Field]) -> Encoder:
    """The encoder of these fields, which are in canonical order."""
    allowed = _allowed(fields)
    length = _MATCH_HEADER.size + sum(len(f.header) + f.byte_count for f in fields)
    fixed = _MATCH_HEADER.pack(MATCH_TYPE_OXM, length)
    layout, arguments = "!", ""
    scope: dict[str, Any] = {}
    for field in fields:
        fixed += field.header
        values = allowed.get(field.name, ())
        if len(values) == 1:
            fixed += values[0].to_bytes(field.byte_count, "big")
            continue
        scope[f"_before_{field.name}"] = fixed
        layout += f"{len(fixed)}s{_CODES[field.byte_count]}"
        arguments += f"_before_{field.name}, {_packable(field)}, "
        fixed = b""
    scope["_rest"] = fixed + bytes(-length % 8)
    scope["_pack"] = struct.Struct(f"{layout}{len(scope['_rest'])}s").pack
    # The names come from FIELDS, and from nowhere else.
    source = f"lambda given: _pack({arguments}_rest)"
    conditions = [*_prerequisites(allowed), *_bounds(fields)]
    if conditions:
        source += f" if {' and '.join(conditions)} else None"
    encoder: Encoder = eval(source, scope)  # noqa: S307
    return encoder


def _allowed(fields: list[Field]) -> dict[str, list[int]]:
    """The values of fields that others need."""
    allowed: dict[str, set[int]] = {}
    for name, values in (need for f in fields for need in f.needs):
        numbers = set(map(int, values))
        allowed[name] = allowed.get(name, numbers) & numbers
    return {name: sorted(numbers) for name, numbers in allowed.items()}


def _packable(field: Field) -> str:
    if field.byte_count in _LONG:
        return f"given['{field.name}'].to_bytes({field.byte_count}, 'big')"
    return f"given['{field.name}']"


def _prerequisites(allowed: dict[str, list[int]]) -> list[str]:
    return [
        f"given['{name}'] " + (f"== {values[0]}" if len(values) == 1 else f"in {tuple(values)}")
        for name, values in allowed.items()
    ]


def _bounds(fields: list[Field]) -> list[str]:
    """Those that `struct` does not know."""
    narrow = [f for f in fields if f.bits != 8 * f.byte_count]
    return [f"given['{f.name}'] <= {f.full_mask}" for f in narrow]


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
