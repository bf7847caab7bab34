"""How changes of resources look, in a line and as JSON, whether from the bus or from here."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from privacy_router.cli.output import out
from privacy_router.client.rows import ChangeRow
from privacy_router.report.changes import describe
from privacy_router.values.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


SIGNS: Final = {"add": ("+", "green"), "remove": ("-", "red"), "change": ("~", "yellow")}
_OBSERVE_ONLY: Final = "observe-only"
_NODE: Final = "privacy_router"  # what changes for the node name as their maker
_SHOWN_MOST: Final = 20


def show(rows: Sequence[ChangeRow], *, nothing: str, hint: str = "") -> None:
    """A line a change, and how many. With a `hint`, which says how to see the rest, a line for each
    hop in the place of many changes of the node."""
    if not rows:
        out.print(f"[green]✓[/] {nothing}")
        return
    of_node = [row for row in rows if row.by == _NODE]
    summed_up = of_node if hint and len(of_node) > _SHOWN_MOST else []
    for row in rows:
        if not summed_up or row.by != _NODE:
            out.print(_line(row))
    for line in summary(summed_up):
        out.print(line)
    made = sum(row.mode != _OBSERVE_ONLY for row in rows)
    only = f", {len(rows) - made} only reported" if made < len(rows) else ""
    out.print(f"{made} change(s){only}" + (f"; {hint}" if summed_up else ""))


def summary(rows: Iterable[ChangeRow]) -> list[Text]:
    """A line for each place of the node (a hop's namespace, the bridge): what is done to how many
    of each kind, in the order of the changes, and what is not known of it."""
    places: dict[str, dict[str, Counter[str]]] = {}
    notes: dict[str, dict[str, None]] = {}
    for row in rows:
        place = printable(row.name.partition("/")[0])
        places.setdefault(place, {}).setdefault(row.verb, Counter())[row.kind] += 1
        if row.note:
            notes.setdefault(place, {})[row.note] = None
    return [_summed(place, verbs, notes.get(place, {})) for place, verbs in places.items()]


def _summed(place: str, verbs: Mapping[str, Counter[str]], notes: Iterable[str]) -> Text:
    line = Text(f"{place:<12}")
    for verb, kinds in verbs.items():
        sign, colour = SIGNS[verb]
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        line.append(f" {sign} {parts}", style=colour)
    for note in notes:
        line.append(f"  {printable(note)}", style="yellow")
    return line


def _line(row: ChangeRow) -> Text:
    sign, colour = SIGNS[row.verb]
    name = " ".join(row.name.split(" ", 2)[:2]) if row.flow is not None else row.name
    line = Text(f"{sign} {row.plugin:<10} {row.kind:<14} {printable(name)}", style=colour)
    if row.verb == "change":
        line.append(f"  ({_change(row.before, row.after)})", style="dim")
    elif row.flow is not None:
        line.append(
            f" {printable(row.flow['match'])} → {printable(row.flow['actions'])}", style="dim"
        )
    if row.note:
        line.append(f"  {printable(row.note)}", style="yellow")
    if row.mode == _OBSERVE_ONLY:
        line.append("  observe-only: not changed", style="yellow")
    return line


def _change(before: Any, after: Any) -> str:
    """Of objects only what is different; of what is only to be started anew, that."""
    if before == after:
        return "restart"
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            f"{key}: {words(before.get(key))} → {words(value)}"
            for key, value in after.items()
            if before.get(key) != value
        ]
        return describe("; ".join(parts))
    return f"{words(before)} → {words(after)}"


def words(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, str):
        return describe(value)
    return describe("nothing" if value is None else json.dumps(value, ensure_ascii=False))


def resource_line(plugin: str, kind: str, name: str, value: Any) -> Text:
    """A resource with its value."""
    line = Text(f"{plugin:<11}{kind:<14}{printable(name)}")
    return line.append(f"  {flat(value)}", style="dim")


def flat(value: Mapping[str, Any] | Any) -> str:
    """A value in a line, objects as key=value."""
    if not isinstance(value, dict):
        return words(value)
    return " ".join(f"{key}={words(item)}" for key, item in value.items() if item is not None)
