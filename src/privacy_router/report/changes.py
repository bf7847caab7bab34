"""Changes of a node's items in text (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.pipeline.flow import Flow
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


def describe(value: object) -> str:
    """A value of an item in a few words; never a secret, since none is in an item."""
    text = printable(str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
