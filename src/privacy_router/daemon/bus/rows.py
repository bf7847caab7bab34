"""Changes and flows as the tuples that go over the bus (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.node.flows.changes import meters_of
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.explain import explain
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import TABLES, name_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from privacy_router.node.flows.changes import Counted
    from privacy_router.pipeline.mesh import Mesh
    from privacy_router.values.items import Change

    Names = Mapping[int, str]

ChangeRow = tuple[str, str, str, str]
DumpRow = tuple[str, int, int, int, str, str, str, str]

_LIMIT_CHARACTERS = 16 * 1024 * 1024  # half of what a bus lets through in one message


class TooLargeError(PrivacyRouterError):
    """The answer does not fit into a message."""


def change_rows(changes: Iterable[Change], names: Names) -> list[ChangeRow]:
    """Verb, kind, where and name of each change."""
    return [
        (change.verb, change.key.kind.name.lower(), change.key.where, _name(change, names))
        for change in changes
    ]


def _name(change: Change, names: Names) -> str:
    item = change.after or change.before
    if not isinstance(item, Flow):
        return change.key.name
    match = format_match(item.match, names.get)
    return f"{item.table} priority={item.priority}{match and ','}{match} → {_does(item, names)}"


def _does(flow: Flow, names: Names) -> str:
    return format_instructions(flow.instructions, names.get, name_of)


def dump_rows(counted: Iterable[Counted], names: Names) -> list[DumpRow]:
    """Table, priority, packets, bytes, match, actions, origin and reason, in the pipeline's order.

    Raises TooLargeError.
    """
    rows: list[DumpRow] = []
    size = 0
    for one in counted:
        flow = one.flow
        does = _does(flow, names)
        texts = (format_match(flow.match, names.get), does, flow.origin, flow.reason)
        rows.append((flow.table, flow.priority, one.packets, one.size_bytes, *texts))
        size += sum(map(len, texts))
    _require_room(size)
    return sorted(rows, key=lambda row: (number_of(row[0]), -row[1], row[4]))


def _require_room(size: int) -> None:
    if size > _LIMIT_CHARACTERS:
        raise TooLargeError(
            "the bridge has more flows than fit into a message",
            remedy="privacy-router flows dump, which has no such limit; or Counters",
        )


def explain_rows(flows: Iterable[Flow], names: Names, wanted: str) -> list[str]:
    """Each flow in words; of a table or about a port by its name, or with the text `wanted`.

    Raises TooLargeError.
    """
    in_order = sorted(flows, key=lambda flow: (number_of(flow.table), -flow.priority))
    text = wanted.lower()
    if text in {table.name for table in TABLES}:
        in_order, text = [flow for flow in in_order if flow.table == text], ""
    lines = [_line(flow, names) for flow in in_order]
    found = [line for line in lines if text in line.lower()]
    _require_room(sum(map(len, found)))
    return found


def _line(flow: Flow, names: Names) -> str:
    match = format_match(flow.match, names.get) or "everything else"
    head = f"{flow.table} {flow.priority}: {match} → {_does(flow, names)}"
    return f"{head}. {explain(flow, names)}"


def counters(counted: Sequence[Counted]) -> dict[str, int]:
    """What came in, and what each table and all meters dropped, as the flows counted it."""
    found = {"flows": len(counted), "packets": 0, "bytes": 0, "dropped": 0}
    over: dict[int, int] = {}
    for one in counted:
        if number_of(one.flow.table) == 0:
            found["packets"] += one.packets
            found["bytes"] += one.size_bytes
        if not one.flow.instructions:
            key = f"dropped_in_{one.flow.table}"
            found["dropped"] += one.packets
            found[key] = found.get(key, 0) + one.packets
        for meter in meters_of(one.flow):
            over[meter] = one.over_limit or 0
    return {**found, "over_limit": sum(over.values())}


def table_rows() -> list[tuple[int, str, str]]:
    """Number, name and purpose of each table."""
    return [(number_of(table.name), table.name, table.purpose) for table in TABLES]


def port_rows(mesh: Mesh) -> list[tuple[str, int, str]]:
    """Name and number of each port of the mesh, and of those left out the reason, with number 0."""
    served = [(port.name, port.ofport, "") for port in mesh.ports.values()]
    return sorted(served + [(name, 0, reason) for name, reason in mesh.left_out.items()])
