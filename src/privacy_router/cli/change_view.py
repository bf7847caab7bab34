"""How a change of the node's items looks, in a line and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from privacy_router.cli.output import printable
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import name_of
from privacy_router.values.items import Change

SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "change": ("~", "yellow")}
_LONGEST = 80


def as_dict(change: Change, port_names: Mapping[int, str]) -> dict[str, str | None]:
    """What scripts are told."""
    key = change.key
    return {
        "verb": change.verb,
        "kind": key.kind.name.lower(),
        "where": key.where,
        "name": _name(change, port_names),
        "before": None if change.before is None else describe(change.before),
        "after": None if change.after is None else describe(change.after),
    }


def flow_words(flow: Flow, port_names: Mapping[int, str]) -> str:
    """A flow as `ovs-ofctl` writes it, with names."""
    match = format_match(flow.match, port_names.get)
    does = format_instructions(flow.instructions, port_names.get, name_of)
    return f"{flow.table} priority={flow.priority}{match and ','}{match} → {does}"


def describe(value: object) -> str:
    """A value of an item in a few words; never a secret, since none is in an item."""
    text = printable(str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _name(change: Change, port_names: Mapping[int, str]) -> str:
    flow = change.after or change.before
    return flow_words(flow, port_names) if isinstance(flow, Flow) else change.key.name
