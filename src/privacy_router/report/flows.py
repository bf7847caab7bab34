"""Flows in text: what `flows`, D-Bus, plans and traces say of a flow (pure).

`names` are the bridge's ports by their OpenFlow numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import InvalidError, PrivacyRouterError
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.explain import explain
from privacy_router.pipeline.flow import meters_of
from privacy_router.pipeline.tables import TABLES, name_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from privacy_router.pipeline.flow import Counted, Flow
    from privacy_router.pipeline.mesh import Mesh

    Names = Mapping[int, str]

DumpRow = tuple[str, int, int, int, str, str, str, str]
_LIMIT_CHARACTERS: Final = 16 * 1024 * 1024  # half of what a bus lets through in one message


class NoSuchFlowError(InvalidError):
    """Nothing fits what was asked for."""


class TooLargeError(PrivacyRouterError):
    """The answer does not fit into a message."""


@dataclass(frozen=True)
class FlowText:
    """A flow in the notation of ovs-ofctl, with the names of ports and tables. `match` is "" where
    the flow takes every packet; `origin` and `reason` say who asks for it, and what for."""

    table: str
    priority: int
    match: str
    actions: str
    origin: str
    reason: str

    @property
    def matched(self) -> str:
        """The match, also of a flow that takes every packet."""
        return self.match or "everything else"

    @property
    def line(self) -> str:
        """The flow as `ovs-ofctl` writes it."""
        comma = "," if self.match else ""
        return f"{self.table} priority={self.priority}{comma}{self.match} → {self.actions}"

    @property
    def step(self) -> str:
        """The flow as one that a packet meets."""
        return f"{self.table} {self.priority}: {self.matched} → {self.actions}"

    @property
    def because(self) -> str:
        """What it is for, and which key asks for it."""
        return f"{self.reason} ({self.origin})" if self.origin else self.reason

    @property
    def value(self) -> dict[str, str]:
        """The flow as the value of a resource, whose name has table and priority."""
        return {
            "match": self.matched,
            "actions": self.actions,
            "reason": self.reason,
            "origin": self.origin,
        }


def text_of(flow: Flow, names: Names) -> FlowText:
    """That flow in text."""
    return FlowText(
        flow.table,
        flow.priority,
        format_match(flow.match, names.get),
        format_instructions(flow.instructions, names.get, name_of),
        flow.origin,
        flow.reason,
    )


# --- what is on the switch -----------------------------------------------------------------------


def flow_rows(counted: Iterable[Counted], names: Names) -> list[dict[str, Any]]:
    """Flows with names, counters and reasons, in the order of the pipeline, for scripts."""
    rows = []
    for one in counted:
        text = text_of(one.flow, names)
        rows.append(
            {
                "table": text.table,
                "priority": text.priority,
                "packets": one.packets,
                "bytes": one.size_bytes,
                "over_limit": one.over_limit,
                "match": text.match,
                "actions": text.actions,
                "origin": text.origin,
                "reason": text.reason,
            }
        )
    return sorted(rows, key=lambda row: (number_of(row["table"]), -row["priority"], row["match"]))


def dump_rows(counted: Iterable[Counted], names: Names) -> list[DumpRow]:
    """Table, priority, packets, bytes, match, actions, origin and reason, in the pipeline's order.

    Raises TooLargeError.
    """
    keys = ("table", "priority", "packets", "bytes", "match", "actions", "origin", "reason")
    rows: list[DumpRow] = []
    size = 0
    for row in flow_rows(counted, names):
        rows.append(tuple(row[key] for key in keys))
        size += sum(len(row[key]) for key in keys[4:])
    _require_room(size)
    return rows


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


def _require_room(size: int) -> None:
    if size > _LIMIT_CHARACTERS:
        raise TooLargeError(
            "the bridge has more flows than fit into a message",
            remedy="privacy-router flows dump, which has no such limit; or Counters",
        )


# --- in words ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explained:
    """A flow, the name of the port that it came with (if with one), and what it does in words."""

    text: FlowText
    port: str | None
    words: str

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "table": self.text.table,
            "priority": self.text.priority,
            "match": self.text.match,
            "actions": self.text.actions,
            "port": self.port,
            "words": self.words,
            "origin": self.text.origin,
            "reason": self.text.reason,
        }

    @property
    def line(self) -> str:
        """All of it in a line."""
        return f"{self.text.step}. {self.words}"

    @property
    def searched(self) -> str:
        """The text that a filter is looked for in."""
        text = self.text
        return "\n".join((text.match, text.actions, text.reason, text.origin, self.words)).lower()


def explained(flows: Iterable[Flow], names: Names, wanted: str = "") -> list[Explained]:
    """Flows in words, in the order of the pipeline: those of a table or about a port, else those
    that have the text `wanted`; all for "". Raises NoSuchFlowError when there are none."""
    in_order = sorted(flows, key=lambda flow: (number_of(flow.table), -flow.priority))
    rows = [
        Explained(text_of(flow, names), names.get(flow.port), explain(flow, names))
        for flow in in_order
    ]
    return choose(rows, wanted, names) if wanted else rows


def choose(rows: Sequence[Explained], wanted: str, names: Names) -> list[Explained]:
    """The rows of a table or about a port, else those that have the text.

    Raises NoSuchFlowError when there are none.
    """
    text = wanted.lower()
    if text in {table.name for table in TABLES}:
        chosen = [row for row in rows if row.text.table == text]
    elif text in {name.lower() for name in names.values()}:
        whole = re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])")
        chosen = [row for row in rows if row.port == wanted or whole.search(row.searched)]
    else:
        chosen = [row for row in rows if text in row.searched]
    if not chosen:
        raise NoSuchFlowError(
            f"no flow has to do with {wanted!r}",
            remedy=f"name a table ({', '.join(table.name for table in TABLES)}), a port"
            f" ({', '.join(sorted(names.values()))}) or a part of a flow or its reason",
        )
    return chosen


def explained_lines(flows: Iterable[Flow], names: Names, wanted: str) -> list[str]:
    """The same, each in a line. Raises NoSuchFlowError, TooLargeError."""
    lines = [one.line for one in explained(flows, names, wanted)]
    _require_room(sum(map(len, lines)))
    return lines


# --- tables and ports ----------------------------------------------------------------------------


def table_names() -> list[str]:
    """The tables, in the order in which a packet may pass them."""
    return [table.name for table in TABLES]


def table_rows() -> list[tuple[int, str, str]]:
    """Number, name and purpose of each table."""
    return [(number_of(table.name), table.name, table.purpose) for table in TABLES]


def port_rows(mesh: Mesh) -> list[tuple[str, int, str]]:
    """Name and number of each port of the mesh, and of those left out the reason, with number 0."""
    served = [(port.name, port.ofport, "") for port in mesh.ports.values()]
    return sorted(served + [(name, 0, reason) for name, reason in mesh.left_out.items()])
