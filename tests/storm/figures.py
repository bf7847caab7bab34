"""Figures in words: percentiles and tables (pure)."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed; 0 of none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in the values' own unit, and how many there are."""
    return {
        "count": len(values),
        "p50": round(percentile(values, 0.5), 3),
        "p99": round(percentile(values, 0.99), 3),
        "max": round(max(values, default=0.0), 3),
    }


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines with columns; numbers stand right, words left."""
    texts = [[_text(cell) for cell in row] for row in rows]
    numeric = [all(_is_number(row[i]) for row in texts) and bool(texts) for i in range(len(heads))]
    widths = [max(len(row[i]) for row in (list(heads), *texts)) for i in range(len(heads))]
    lines = []
    for row in (list(heads), *texts):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit() or not text


def paint(text: str, *, good: bool) -> str:
    """Green or red, where the reader is a terminal that wants colours (no-color.org)."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{32 if good else 31}m{text}\033[0m"


def verdict(text: str, *, good: bool) -> str:
    """A line of the outcome."""
    return paint(f"{'✓' if good else '✗'} {text}", good=good)
