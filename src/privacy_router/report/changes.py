"""Changes of a node's items in text (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import TABLES
from privacy_router.report.flows import text_of
from privacy_router.values.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.values.items import Change

    Names = Mapping[int, str]

ChangeRow = tuple[str, str, str, str]
_LONGEST: Final = 80


def name_of_change(change: Change, names: Names) -> str:
    """What is changed: a flow in the notation of ovs-ofctl, another item by its name."""
    item = change.after or change.before
    return text_of(item, names).line if isinstance(item, Flow) else change.key.name


def change_rows(changes: Iterable[Change], names: Names) -> list[ChangeRow]:
    """Verb, kind, where and name of each change."""
    return [
        (
            change.verb,
            change.key.kind.name.lower(),
            change.key.where,
            name_of_change(change, names),
        )
        for change in changes
    ]


def as_dict(change: Change, names: Names) -> dict[str, str | None]:
    """What scripts are told of a change."""
    verb, kind, where, name = change_rows([change], names)[0]
    return {
        "verb": verb,
        "kind": kind,
        "where": where,
        "name": name,
        "before": None if change.before is None else describe(change.before),
        "after": None if change.after is None else describe(change.after),
    }


@dataclass(frozen=True)
class FlowDifference:
    """A flow or a meter that is not as it should be: what is to be done, the flow in text (a
    meter's name), who asks for it, and for scripts; `place` is the table and the priority of a
    flow."""

    verb: str
    name: str
    because: str
    place: tuple[str, int] | None
    as_dict: dict[str, str | None]


def flow_differences(changes: Iterable[Change], names: Names) -> list[FlowDifference]:
    """Changes of flows and meters."""
    return [_flow_difference(change, names) for change in changes]


def _flow_difference(change: Change, names: Names) -> FlowDifference:
    item = change.after or change.before
    told = as_dict(change, names)
    if not isinstance(item, Flow):
        return FlowDifference(change.verb, change.key.name, "", None, told)
    text = text_of(item, names)
    because = text.because if text.origin else ""
    return FlowDifference(change.verb, text.line, because, (text.table, text.priority), told)


def all_are_missing(found: Iterable[FlowDifference]) -> bool:
    """Whether not even the last flow of each table, which is always there, is on the switch."""
    missing = {one.place for one in found if one.verb == "add"}
    return missing >= {(table.name, 0) for table in TABLES}


def describe(value: object) -> str:
    """A value of an item in a few words; never a secret, since none is in an item."""
    text = printable(str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
