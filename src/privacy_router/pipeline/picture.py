"""The pipeline as a picture (docs/pipeline.svg), drawn from the declarations of its tables."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from privacy_router.pipeline.tables import TABLES, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.pipeline.tables import Table

_WIDTH, _MARGIN = 980, 28
_BOX_WIDTH, _BOX_HEIGHT = 400, 74
_STEP = _BOX_HEIGHT + 34
_SPINE_X = 118
_SIDE_X = _WIDTH - _MARGIN - _BOX_WIDTH
_TOP = 84
_LETTERS_PER_LINE = 54
_INK, _FAINT, _LINE = "#1f2937", "#6b7280", "#94a3b8"
_FILLS: Final = {"through": ("#eef2ff", "#6366f1"), "sends": ("#ecfdf5", "#10b981")}
_DROP, _GO_ON = ("#fee2e2", "#b91c1c"), ("#e2e8f0", "#334155")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True)
class _Box:
    table: Table
    x: float
    y: float

    @property
    def middle(self) -> float:
        return self.x + _BOX_WIDTH / 2

    @property
    def bottom(self) -> float:
        return self.y + _BOX_HEIGHT


def pipeline_picture() -> str:
    """The picture as SVG: the tables on their way down, those that send at the sides."""
    boxes = _place()
    height = max(box.bottom for box in boxes.values()) + 92
    title = "The flow pipeline: " + ", ".join(table.name for table in TABLES)
    size = f'viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" height="{height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        _ARROWHEAD,
        f'<rect width="{_WIDTH}" height="{height:g}" rx="14" fill="#ffffff"/>',
        *_entry(boxes[TABLES[0].name]),
        *(line for box in boxes.values() for line in _ways(box, boxes)),
        *(line for box in boxes.values() for line in _drawn(box)),
        *_key(boxes[TABLES[-1].name]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


_ARROWHEAD: Final = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
    f' markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="{_LINE}"/></marker></defs>'
)


# --- where things are ---------------------------------------------------------------------------


def _place() -> dict[str, _Box]:
    """Tables that lead on stand below each other; those that end a way beside or below them."""
    spine = [table for table in TABLES if table.onward]
    boxes = {t.name: _Box(t, _SPINE_X, _TOP + row * _STEP) for row, t in enumerate(spine)}
    last = boxes[spine[-1].name]
    ends = [table for table in TABLES if not table.onward]
    lanes = [table for table in ends if table.name in last.table.onward]
    for table in ends:
        if table not in lanes:
            row = next(box.y for box in boxes.values() if table.name in box.table.onward)
            boxes[table.name] = _Box(table, _SIDE_X, row + _STEP / 2)
    room = (_WIDTH - 2 * _MARGIN - _BOX_WIDTH) / max(1, len(lanes) - 1)
    for number, table in enumerate(lanes):
        boxes[table.name] = _Box(table, _MARGIN + number * room, last.y + _STEP + 26)
    return {table.name: boxes[table.name] for table in TABLES}


# --- lines --------------------------------------------------------------------------------------


def _entry(first: _Box) -> Iterator[str]:
    yield _text(first.middle, 40, "a packet comes in by a port of the bridge", colour=_FAINT)
    yield _arrow(f"M{first.middle:g} 48 V{first.y - 2:g}")


def _ways(box: _Box, boxes: dict[str, _Box]) -> Iterator[str]:
    """An arrow to each table that this one may lead to, and out of the bridge."""
    for number, name in enumerate(box.table.onward):
        target = boxes[name]
        if target.x == box.x and target.y - box.y == _STEP:
            yield _arrow(f"M{box.middle:g} {box.bottom:g} V{target.y - 2:g}")
        elif target.x == box.x:
            yield from _skip(box, target, number)
        elif target.y - box.y < _STEP:
            yield _bend(box.x + _BOX_WIDTH, box.y + 26, target.middle, target.y)
        else:
            middle = (box.bottom + target.y) / 2
            yield _arrow(
                f"M{box.middle:g} {box.bottom:g} V{middle:g} H{target.middle:g} V{target.y - 2:g}"
            )
    if box.table.sends:
        yield _arrow(f"M{box.middle:g} {box.bottom:g} v34")
        yield _text(box.middle, box.bottom + 54, "out by a port", colour=_FAINT)


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    return _arrow(f"M{x:g} {y:g} H{to_x:g} V{to_y - 2:g}")


def _skip(box: _Box, target: _Box, number: int) -> Iterator[str]:
    """Past tables that are left out when the security flows are off."""
    x = box.x - 14 * number
    path = f"M{box.x:g} {box.y + 18 + 10 * number:g} H{x:g} V{target.y + 30:g} H{target.x - 2:g}"
    yield _arrow(path, dashed=True)


def _arrow(path: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.6"'
        f'{dashes} marker-end="url(#tip)"/>'
    )


# --- boxes --------------------------------------------------------------------------------------


def _drawn(box: _Box) -> Iterator[str]:
    fill, edge = _FILLS["sends" if box.table.sends else "through"]
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="9"'
        f' fill="{fill}" stroke="{edge}" stroke-width="1.4"/>'
    )
    heading = f"{number_of(box.table.name)}  {box.table.name}"
    yield _text(box.x + 14, box.y + 25, heading, size=16, anchor="start", bold=True)
    lines = textwrap.wrap(box.table.purpose, _LETTERS_PER_LINE)
    for row, line in enumerate(lines):
        yield _text(box.x + 14, box.y + 46 + 16 * row, line, anchor="start")
    yield from _pill(box)


def _pill(box: _Box) -> Iterator[str]:
    words = f"miss: on to {box.table.miss}" if box.table.miss else "miss: drop"
    fill, ink = _GO_ON if box.table.miss else _DROP
    width = 18 + 6.3 * len(words)
    x = box.x + _BOX_WIDTH - width - 10
    yield (
        f'<rect x="{x:g}" y="{box.y + 9:g}" width="{width:g}" height="20" rx="10" fill="{fill}"/>'
    )
    yield _text(x + width / 2, box.y + 23, words, size=11.5, colour=ink)


_KEY: Final = (
    ("through", "a table that packets only go through"),
    ("sends", "a table that sends packets out of ports"),
    ("drop", "what no flow of the table wants is dropped"),
    ("go on", "what no flow of the table wants goes on"),
    ("dashed", "the way when enable_security_flows is false"),
)


def _key(last: _Box) -> Iterator[str]:
    """What colours and lines mean, in the room above the last box."""
    x = last.x + 20
    for row, (kind, words) in enumerate(_KEY):
        y = last.y - _STEP * 3 + 30 * row
        if kind == "dashed":
            yield _arrow(f"M{x:g} {y:g} h34", dashed=True)
        else:
            fill, edge = {**_FILLS, "drop": _DROP, "go on": _GO_ON}[kind]
            stroke = f' stroke="{edge}"' if kind in _FILLS else ""
            yield (
                f'<rect x="{x:g}" y="{y - 10:g}" width="34" height="20"'
                f' rx="{4 if kind in _FILLS else 10}" fill="{fill}"{stroke}/>'
            )
        yield _text(x + 48, y + 5, words, anchor="start", colour=_FAINT)


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 13,
    anchor: str = "middle",
    colour: str = _INK,
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        f' fill="{colour}"{weight} xml:space="preserve">{escape(words)}</text>'
    )
