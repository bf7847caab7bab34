"""How changes of resources look, in a line and as JSON, whether from the bus or from here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from privacy_router.cli.change_view import SIGNS, describe
from privacy_router.cli.output import out, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from privacy_router.engine.model import Change

_OBSERVE_ONLY: Final = "observe-only"


@dataclass(frozen=True)
class Row:
    """A change of a resource; `before` and `after` None where there is none."""

    verb: str
    plugin: str
    kind: str
    name: str
    before: Any
    after: Any
    mode: str
    by: str
    note: str = ""

    @classmethod
    def from_bus(cls, row: Sequence[Any]) -> Row:
        """From what the bus carries: (ssssa{sv})."""
        verb, plugin, kind, name, more = row
        sides = (more.get("before"), more.get("after"))
        return cls(verb, plugin, kind, name, *sides, more["mode"], *_words_of(more))

    @classmethod
    def from_change(cls, change: Change) -> Row:
        """From a change of the engine."""
        key, mode = change.key, change.mode.value
        sides = (change.before, change.after)
        more = (mode, change.by, change.note)
        return cls(change.verb, key.plugin, key.kind, key.name, *sides, *more)

    def as_dict(self) -> dict[str, Any]:
        """What scripts are told."""
        return {**vars(self)}


def _words_of(more: Mapping[str, Any]) -> tuple[str, str]:
    return more.get("by", ""), more.get("note", "")


def show(rows: Iterable[Row], *, nothing: str) -> None:
    """A line a change, and how many."""
    count = made = 0
    for row in rows:
        out.print(_line(row))
        count += 1
        made += row.mode != _OBSERVE_ONLY
    if not count:
        out.print(f"[green]✓[/] {nothing}")
        return
    only = f", {count - made} only reported" if made < count else ""
    out.print(f"{made} change(s){only}")


def _line(row: Row) -> Text:
    sign, colour = SIGNS[row.verb]
    flow = row.after or row.before if row.kind == "flow" else None
    match = flow["match"] if isinstance(flow, dict) else ""
    name = printable(row.name.removesuffix(match))  # the end of a flow's name is its match
    line = Text(f"{sign} {row.plugin:<10} {row.kind:<14} {name}", style=colour)
    if row.verb == "change":
        line.append(f"  ({_change(row.before, row.after)})", style="dim")
    elif isinstance(flow, dict):
        line.append(f"{match} → {flow['actions']}", style="dim")
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
