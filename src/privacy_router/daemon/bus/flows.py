"""The bridge's flows on the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from dbus_fast.annotations import DBusBool, DBusSignature, DBusStr, DBusUInt16
from pydantic import ValidationError

from privacy_router.config import PrivacyFlow
from privacy_router.daemon.bus.authority import Action
from privacy_router.daemon.bus.interface import Interface, answers
from privacy_router.daemon.bus.manager import Changes
from privacy_router.engine.errors import RefusedError
from privacy_router.host.threads import in_thread
from privacy_router.node.tracing import complete, differences
from privacy_router.pipeline.trace.walk import Walk, walk
from privacy_router.report import flows as flow_text
from privacy_router.report.changes import change_rows
from privacy_router.report.trace import step_lines, verdict_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from privacy_router.daemon.bus.view import View
    from privacy_router.pipeline.flow import Flow

Dump = Annotated[list[flow_text.DumpRow], DBusSignature("a(sqttssss)")]
Lines = Annotated[list[str], DBusSignature("as")]
Trace = Annotated[tuple[str, list[str], list[str]], DBusSignature("sasas")]
Counters = Annotated[dict[str, int], DBusSignature("a{st}")]
Tables = Annotated[list[tuple[int, str, str]], DBusSignature("a(uss)")]
Ports = Annotated[list[tuple[str, int, str]], DBusSignature("a(sus)")]
Match = Annotated[dict[str, str], DBusSignature("a{ss}")]
Added = Annotated[list[tuple[int, dict[str, str], list[str], str]], DBusSignature("a(qa{ss}ass)")]


_BEGINS = ("new",)  # as the first packet of a connection


def _walk(
    packet: str, flows: Sequence[Flow], names: Mapping[int, str], states: Sequence[str]
) -> Walk:
    return walk(flows, complete(packet, flows, names, states), ct_states=states)


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


class OpenFlow(Interface):
    """What the bridge does. Flows come from the configuration, and a few may be added here."""

    def __init__(self, view: View) -> None:
        super().__init__("org.opdbus.OpenFlow", view)

    @answers("Dump")
    async def dump(self) -> Dump:
        """Table, priority, packets, bytes, match, actions, origin and reason of each flow."""
        counted = await self.view.flows.counted()
        return await in_thread(flow_text.dump_rows, counted, self.view.names)

    @answers("Explain")
    async def explain(self, filter_text: DBusStr) -> Lines:
        """Flows in words: of a table, about a port, or with a text; "" for all."""
        flows, names = self.view.flows.program.flows, self.view.names
        return await in_thread(flow_text.explained_lines, flows, names, filter_text)

    @answers("Trace")
    async def trace(self, packet: DBusStr, live: DBusBool) -> Trace:
        """What becomes of the first packet of a connection, its way, and, with `live`, where the
        switch does otherwise."""
        return await self._traced(packet, _BEGINS, live=live)

    @answers("TraceTracked")
    async def trace_tracked(self, packet: DBusStr, states: Lines, live: DBusBool) -> Trace:
        """The same of a packet of which connection tracking says `states` (new, est, est,rpl, rel
        or inv), one each time that it is tracked; the last one stays."""
        return await self._traced(packet, states or _BEGINS, live=live)

    async def _traced(self, packet: str, states: Sequence[str], *, live: bool) -> Trace:
        flows, names = self.view.flows.program.flows, self.view.names
        walked = await in_thread(_walk, packet, flows, names, states)
        different: list[str] = []
        if live:
            machine, bridge = self.view.node.machine, self.view.node.desired.bridge.name
            run_dir = machine.management_socket_dir
            different = await in_thread(differences, walked, run_dir, bridge, names, states)
        verdict = verdict_words(walked.verdict, names)
        return (verdict, list(step_lines(walked, names)), different)

    @answers("Diff")
    async def diff(self) -> Changes:
        """Which flows and meters are not as they should be: verb, kind, where, name."""
        return change_rows(await self.view.flows.differences(), self.view.names)

    @answers("Counters")
    async def counters(self) -> Counters:
        """Packets that came in, and those that tables and meters dropped."""
        return flow_text.counters(await self.view.flows.counted())

    @answers("Tables")
    async def tables(self) -> Tables:
        """Number, name and purpose of each table."""
        return flow_text.table_rows()

    @answers("Ports")
    async def ports(self) -> Ports:
        """Ports of the mesh with their numbers, and those left out with the reason."""
        return flow_text.port_rows(self.view.flows.mesh)

    @answers("Added")
    async def added(self) -> Added:
        """The flows that were added here: priority, match, actions, description."""
        found = await in_thread(self.view.node_plugin.added_flows.all)
        return [(f.priority, _texts(f.match_fields), list(f.actions), f.description) for f in found]

    @answers("Add", Action.FLOWS)
    async def add(
        self, priority: DBusUInt16, match: Match, actions: Lines, description: DBusStr
    ) -> Changes:
        """Add a flow as if it stood in openflow.additional_flows, in place of one for the same
        packets, until it is deleted or the node is taken down. What would bypass a hop is refused.
        """
        fields = {"match_fields": match, "actions": actions, "description": description}
        try:
            flow = PrivacyFlow.model_validate({"priority": priority, **fields})
        except ValidationError as error:
            raise RefusedError(
                "; ".join(f"{_path(one['loc'])}: {one['msg']}" for one in error.errors()),
                remedy="write it as in openflow.additional_flows: docs/flows.md",
            ) from error
        return await self._change(lambda: self.view.node_plugin.added_flows.with_flow(flow))

    @answers("Delete", Action.FLOWS)
    async def delete(self, priority: DBusUInt16, match: Match) -> Changes:
        """Delete a flow that was added here."""
        flows = self.view.node_plugin.added_flows
        return await self._change(lambda: flows.without(priority, match))

    async def _change(self, wanted: Callable[[], list[PrivacyFlow]]) -> Changes:
        async with self.view.engine.lock:
            made = await self.view.node_plugin.change_flows(wanted())
        return change_rows(made, self.view.names)

    @answers("Restore", Action.FLOWS)
    async def restore(self) -> Changes:
        """Put all flows and meters right now; what was changed."""
        made = await self.view.flows.repair()
        self.view.note_repair(made)
        return change_rows(made, self.view.names)
