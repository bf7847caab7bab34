"""Read the bridges of the machine's Open vSwitch, and say what of them is op-dbus's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.engine.model import Change, Mode, Observed
from privacy_router.host.threads import in_thread
from privacy_router.ovsdb.host_bridges import HostBridges
from privacy_router.plugins.openflow.declare import (
    FLOW,
    GROUP,
    METER,
    OBSTACLES,
    POLICY,
    bridge_of,
    flow_value,
    group_value,
    key,
    meter_value,
    policies_in,
)
from privacy_router.plugins.openflow.ownership import (
    Anchored,
    Part,
    mark_of,
    part_of,
    policy_number,
)
from privacy_router.plugins.openflow.program import compile_bridge, nothing_on
from privacy_router.plugins.openflow.survey import Survey, survey_of
from privacy_router.plugins.openflow.switch import connected, occupants, read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from privacy_router.config.plugins.openflow import FlowsOfBridge
    from privacy_router.engine.model import Desired, ResourceKey, Value
    from privacy_router.openflow import FlowMod, FlowStats
    from privacy_router.openflow.channel import Channel
    from privacy_router.ovsdb.host_bridges import HostBridge
    from privacy_router.plugins.openflow.ownership import Mark
    from privacy_router.plugins.openflow.program import Program


@dataclass(frozen=True)
class OpenflowObserved(Observed):
    """Bridges as they were read.

    `waiting` says of resources that cannot be had (yet) why, and `unnamed` are differences of what
    no resource is declared for: flows of policies, and what is ours and declared nowhere.
    """

    bridges: frozenset[str] = frozenset()
    waiting: Mapping[ResourceKey, str] = field(default_factory=dict)
    unnamed: Sequence[Change] = ()


class Bridges:
    """The bridges of an Open vSwitch, by the socket of its database; each is read anew. What a
    section compiles to is remembered for the ports that it was compiled with."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self._programs: dict[str, tuple[FlowsOfBridge, Mapping[str, int], Program]] = {}

    async def there(self) -> dict[str, HostBridge]:
        """The bridges by name; none where Open vSwitch does not run. Raises OvsdbError."""
        return await in_thread(_read_bridges, self.database)

    async def observe(self, desired: Desired) -> OpenflowObserved:
        """Read what `desired` is about, and all of the bridges that it declares."""
        sections: Mapping[str, FlowsOfBridge] = desired.payload.bridges if desired.payload else {}
        names = sorted({*sections, *map(bridge_of, desired.resources)})
        there = await self.there()
        found = [await self.survey(there, name, sections.get(name)) for name in names]
        return await in_thread(seen, found, desired, sections)

    async def survey(
        self, there: Collection[str], name: str, section: FlowsOfBridge | None
    ) -> Survey:
        """One bridge beside its section. Raises BridgeSwitchError, FlowRefusedError,
        PipelineError."""
        if name not in there:
            return survey_of(await self._program(name, section, {}), None, {})
        async with connected(self.database, name) as channel:
            return await self.survey_over(channel, name, section)

    async def survey_over(
        self, channel: Channel, name: str, section: FlowsOfBridge | None
    ) -> Survey:
        """The same over a connection that is there."""
        state = await read(channel)
        program = await self._program(name, section, state.ports)
        missing = program.numbers.missing
        items = (i for i in (*program.flows, *program.policy_flows) if i.ports.isdisjoint(missing))
        absent = {item.key for item in items} - state.flows.keys()
        return survey_of(program, state, await occupants(channel, absent))

    async def _program(
        self, name: str, section: FlowsOfBridge | None, ports: Mapping[str, int]
    ) -> Program:
        if section is None:
            return nothing_on(name, ports)
        known = self._programs.get(name)
        if known is None or known[0] is not section or known[1] != ports:
            program = await in_thread(compile_bridge, name, section, ports)
            known = self._programs[name] = (section, ports, program)
        return known[2]


def _read_bridges(database: Path) -> dict[str, HostBridge]:
    if not database.is_socket():
        return {}
    with HostBridges(database) as session:
        return session.read()


def seen(
    surveys: Sequence[Survey], desired: Desired, sections: Mapping[str, FlowsOfBridge]
) -> OpenflowObserved:
    """What surveys say of the resources, and of what no resource is about. Pure."""
    values: dict[ResourceKey, Value] = {}
    waiting: dict[ResourceKey, str] = {}
    unnamed: list[Change] = []
    for one in surveys:
        values |= values_of(one, policies_in(desired.resources, one.program.bridge))
        section = sections.get(one.program.bridge)
        if section is not None:
            values[key(OBSTACLES, one.program.bridge)] = [found.text for found in one.obstacles]
            waiting |= dict(_waiting(one))
            unnamed += _unnamed(one, desired, Mode(section.mode))
    there = frozenset(one.program.bridge for one in surveys if one.state is not None)
    return OpenflowObserved(values, there, waiting, unnamed)


def values_of(one: Survey, policies: Collection[str]) -> dict[ResourceKey, Value]:
    """What of a bridge is ours, as resources; of policies the switch has numbers only, so that
    these names are looked for."""
    state, program = one.state, one.program
    if state is None:
        return {}
    bridge, numbers = program.bridge, program.numbers
    found: dict[ResourceKey, Value] = {
        key(FLOW, program.name_of(flow)): flow_value(flow, numbers)
        for flow in state.flows.values()
        if part_of(flow.cookie) is Part.FLOW
    }
    for number in state.owned(Anchored.GROUP) & state.groups.keys():
        found[key(GROUP, f"{bridge}/{number}")] = group_value(state.groups[number], numbers)
    for number in state.owned(Anchored.METER) & state.meters.keys():
        found[key(METER, f"{bridge}/{number}")] = meter_value(state.meters[number])
    anchored = state.owned(Anchored.POLICY)
    for name in policies:
        if policy_number(name) in anchored:
            found[key(POLICY, f"{bridge}/{name}")] = True
    return found


def _waiting(one: Survey) -> Iterator[tuple[ResourceKey, str]]:
    program, blocked, bridge = one.program, one.blocked, one.program.bridge
    no_bridge = f"waits for the bridge {bridge}" if one.state is None else ""
    for item in program.flows:
        if item.key in blocked.flows:
            why = no_bridge or _why(item.ports & program.numbers.missing)
            yield key(FLOW, program.name_of(item.mod)), why
    for number in blocked.groups:
        why = no_bridge or _why(program.groups[number].ports & program.numbers.missing)
        yield key(GROUP, f"{bridge}/{number}"), why
    for number in blocked.meters:
        yield key(METER, f"{bridge}/{number}"), no_bridge or _why(frozenset())
    if one.state is None:
        for name in program.policies:
            yield key(POLICY, f"{bridge}/{name}"), no_bridge


def _why(missing_ports: frozenset[str]) -> str:
    if missing_ports:
        return f"waits for the port {min(missing_ports)}"
    return "waits until nothing of another program is in the way"


def _unnamed(one: Survey, desired: Desired, mode: Mode) -> Iterator[Change]:
    """Where flows of ours are not as they should be and no resource says so: those of policies,
    anchors, and those that nothing declares."""
    state, target, program = one.state, one.target.flows, one.program
    if state is None:
        return
    for flow_key, mod in target.items():
        found, name = state.flows.get(flow_key), key(FLOW, program.name_of(mod))
        expected = part_of(mod.cookie) is Part.POLICY or found is not None
        if expected and name not in desired.resources and _differ(found, mod):
            before = None if found is None else flow_value(found, program.numbers)
            yield Change(name, before, flow_value(mod, program.numbers), mode)
    for flow_key, found in state.flows.items():
        name = key(FLOW, program.name_of(found))
        is_named = name in desired.resources or _is_named(mark_of(found), program.bridge, desired)
        if flow_key not in target and not is_named:
            yield Change(name, flow_value(found, program.numbers), None, mode)


def _differ(found: FlowStats | None, wanted: FlowMod) -> bool:
    return found is None or found.content() != wanted.content()


def _is_named(mark: Mark | None, bridge: str, desired: Desired) -> bool:
    """Whether what that anchor is for is a resource."""
    if mark is None:
        return False
    if mark.kind is Anchored.POLICY:
        named = policies_in(desired.resources, bridge)
        return mark.number in {policy_number(name) for name in named}
    kind = GROUP if mark.kind is Anchored.GROUP else METER
    return key(kind, f"{bridge}/{mark.number}") in desired.resources
