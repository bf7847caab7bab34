"""Benchmark rows: a table for people, `build/bench.json` for programs."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

from extent import IS_SHORT
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent.parent / "build" / "bench.json"


def machine() -> str:
    """What the figures were measured on."""
    cores = len([line for line in _cpuinfo() if line.startswith("processor")])
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if "model name" in line), "?")
    kernel = platform.release().split("-")[0]
    return f"{cores} × {model}, Linux {kernel}, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


@dataclass(frozen=True)
class Row:
    """One figure. `ratio` is ours over the peer's, cost for cost: smaller is better."""

    name: str
    ours: float
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    goal: str
    n: int
    met: bool
    machine: str = field(default_factory=machine)


def publish(rows: list[Row]) -> None:
    """Print the table and put the rows into the file, in the place of older ones of their names.

    What was measured in seconds is no measurement: it is neither judged nor stored.
    """
    table = Table(title="benchmarks", title_justify="left")
    for heading in ("name", "ours", "peer", "unit", "ratio", "goal", "n", ""):
        table.add_column(heading, justify="right" if heading in ("ours", "ratio", "n") else "left")
    for row in rows:
        peer = "–" if row.peer is None else f"{row.peer:.3g} ({row.peer_name})"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        sign = "not judged" if IS_SHORT else "✓" if row.met else "missed"
        table.add_row(
            row.name, f"{row.ours:.3g}", peer, row.unit, ratio, row.goal, str(row.n), sign
        )
    Console(width=120).print(table)
    if not IS_SHORT:
        _store(rows)


def _store(rows: list[Row]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    names = {row.name for row in rows}
    known = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else []
    kept = [row for row in known if row["name"] not in names]
    RESULTS.write_text(json.dumps({"results": [*kept, *map(asdict, rows)]}, indent=2) + "\n")
