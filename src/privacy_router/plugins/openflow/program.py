"""From what a bridge's section says to what is sent to its switch, port names to numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from privacy_router.config.bridge_flow_checks import bridge_location
from privacy_router.config.problems import json_path
from privacy_router.openflow import (
    Band,
    Bucket,
    FlowMod,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterCommand,
    MeterFlag,
    MeterMod,
    PortNumber,
    format_instructions,
    format_match,
)
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.notation import FlowRefusedError, ip_only, matches
from privacy_router.pipeline.rivals import PipelineError, Rivals
from privacy_router.pipeline.selectors import fill, selects
from privacy_router.plugins.openflow.actions import actions, instructions, read_actions
from privacy_router.plugins.openflow.ownership import Part, cookie, policy_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.config.plugins.openflow import (
        BridgePolicy,
        FlowsOfBridge,
        Group,
        Meter,
    )
    from privacy_router.errors import PrivacyRouterError
    from privacy_router.openflow import FlowStats
    from privacy_router.openflow.flows import FlowKey
    from privacy_router.plugins.openflow.actions import Does

_FIRST_STAND_IN: Final = 0xFFFFFE00  # below OFPP_MAX, where no port of Open vSwitch is
_PACKETS, _KBITS = MeterFlag.PKTPS, MeterFlag.KBPS


class Numbers:
    """Ports of a bridge by name and by number, its own among them (OFPP_LOCAL).

    A port that the bridge has not gets a number that none has, so that what is about it can be
    named and compared, though not sent; `missing` are those.
    """

    def __init__(self, bridge: str, known: Mapping[str, int]) -> None:
        self._numbers = {**known, bridge: int(PortNumber.LOCAL)}
        self._names = {number: name for name, number in self._numbers.items()}
        self.missing: set[str] = set()

    def number(self, name: str) -> int:
        """The number of a port."""
        if name not in self._numbers:
            number = _FIRST_STAND_IN - len(self.missing)
            self.missing.add(name)
            self._numbers[name], self._names[number] = number, name
        return self._numbers[name]

    def name(self, number: int) -> str | None:
        """The name of a port; None for a number that no port has."""
        return self._names.get(number)


@dataclass(frozen=True)
class FlowItem:
    """A flow as it is to be, where the document says so, and what it cannot do without: ports of
    the bridge, groups and meters."""

    where: str
    reason: str
    mod: FlowMod
    ports: frozenset[str] = frozenset()
    groups: frozenset[int] = frozenset()
    meters: frozenset[int] = frozenset()

    @property
    def key(self) -> FlowKey:
        """What makes it the same flow on the switch."""
        return self.mod.key()


@dataclass(frozen=True)
class GroupItem:
    """A group as it is to be; the command adds it."""

    where: str
    mod: GroupMod
    ports: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MeterItem:
    """A meter as it is to be; the command adds it."""

    where: str
    mod: MeterMod


@dataclass(frozen=True)
class Program:
    """All that a bridge's section comes to with the ports that there are.

    `policies` has the place of each policy by its name, and `left_out` why flows of policies for
    some ports are not there.
    """

    bridge: str
    numbers: Numbers = field(compare=False)
    flows: tuple[FlowItem, ...] = ()
    policy_flows: tuple[FlowItem, ...] = ()
    groups: Mapping[int, GroupItem] = field(default_factory=dict)
    meters: Mapping[int, MeterItem] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[PrivacyRouterError, ...] = ()

    def name_of(self, flow: FlowMod | FlowStats) -> str:
        """A flow as people read it; the same for a wanted and an observed one."""
        return flow_name(self.bridge, flow, self.numbers)


def nothing_on(bridge: str, ports: Mapping[str, int]) -> Program:
    """The program of a bridge of which nothing is declared."""
    return Program(bridge, Numbers(bridge, ports))


def compile_bridge(bridge: str, section: FlowsOfBridge, ports: Mapping[str, int]) -> Program:
    """The flows, groups and meters of a bridge that has these ports, by name.

    Raises FlowRefusedError, which names the key, for what cannot be matched or done, and
    PipelineError for two flows that want the same packets and do different things with them.
    """
    numbers = Numbers(bridge, ports)
    groups = {int(n): _group(bridge, n, one, numbers) for n, one in section.groups.items()}
    meters = {int(n): _meter(bridge, n, one) for n, one in section.meters.items()}
    flows = tuple(_declared_flows(bridge, section, numbers))
    for item in flows:
        _require_declared(item, groups, meters)
    rivals = Rivals()
    rivals.add(map(_as_flow, flows))
    policy_flows: list[FlowItem] = []
    left_out: list[PrivacyRouterError] = []
    for index, policy, port in _selected(bridge, section, ports):
        try:
            items = list(policy_flows_for(bridge, index, policy, port, numbers))
            for item in items:
                _require_declared(item, groups, meters)
            rivals.add(map(_as_flow, items))
        except (FlowRefusedError, PipelineError) as error:
            left_out.append(error)
        else:
            policy_flows += items
    policies = {one.name: _path(bridge, "policies", i) for i, one in enumerate(section.policies)}
    parts = (flows, tuple(policy_flows), groups, meters, policies, tuple(left_out))
    return Program(bridge, numbers, *parts)


def _path(bridge: str, *more: str | int) -> str:
    return json_path(bridge_location(bridge, *more))


def _as_flow(item: FlowItem) -> Flow:
    """As the pipeline has flows, for what compares those."""
    return Flow(
        table=str(item.mod.table_id),
        priority=item.mod.priority,
        match=item.mod.match,
        instructions=item.mod.instructions,
        layer=Layer.POLICY,
        origin=item.where,
        reason=item.reason,
    )


def _require_declared(
    item: FlowItem, groups: Mapping[int, GroupItem], meters: Mapping[int, MeterItem]
) -> None:
    for kind, used, declared in (("group", item.groups, groups), ("meter", item.meters, meters)):
        for number in sorted(used - declared.keys()):
            raise FlowRefusedError(
                f"{item.where}: {kind}:{number} is not declared",
                remedy=f'add "{number}" to {kind}s of the same bridge',
            )


# --- flows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """A flow in the notation of the document."""

    where: str
    table: int
    priority: int
    match_fields: Mapping[str, str | int]
    actions: tuple[str, ...]
    cookie: int
    reason: str


def _declared_flows(bridge: str, section: FlowsOfBridge, numbers: Numbers) -> Iterator[FlowItem]:
    for index, flow in enumerate(section.flows):
        where = _path(bridge, "flows", index)
        text = _Text(
            where,
            flow.table,
            flow.priority,
            flow.match_fields,
            flow.actions,
            cookie(Part.FLOW),
            flow.description or ", ".join(flow.actions),
        )
        yield from _flow_items(text, numbers)


def _selected(
    bridge: str, section: FlowsOfBridge, ports: Mapping[str, int]
) -> Iterator[tuple[int, BridgePolicy, str]]:
    """Each policy with each port that it selects; the bridge's own port is none of them."""
    for index, policy in enumerate(section.policies):
        for port in sorted(ports):
            if port != bridge and selects(policy.selector, port):
                yield index, policy, port


def policy_flows_for(
    bridge: str, index: int, policy: BridgePolicy, port: str, numbers: Numbers
) -> Iterator[FlowItem]:
    """The flows of a policy for one port. Raises FlowRefusedError."""
    filled = fill(policy, port_name=port, bridge=bridge)
    text = _Text(
        _path(bridge, "policies", index, "template"),
        policy.template.table,
        filled.priority,
        filled.match_fields,
        filled.actions,
        cookie(Part.POLICY, policy_number(policy.name)),
        filled.reason(port),
    )
    yield from _flow_items(text, numbers)


def _flow_items(text: _Text, numbers: Numbers) -> Iterator[FlowItem]:
    does = read_actions(f"{text.where}.actions", text.actions, table=text.table)
    named = text.match_fields.get("in_port")
    ports = does.ports | ({str(named)} if named is not None else frozenset())
    where = f"{text.where}.match_fields"
    found = matches(where, text.match_fields, numbers.number)
    for match in ip_only(where, found) if does.needs_ip else found:
        mod = FlowMod(
            match=match,
            instructions=instructions(does, match, numbers.number),
            table_id=text.table,
            priority=text.priority,
            cookie=text.cookie,
        )
        yield FlowItem(text.where, text.reason, mod, ports, does.groups, _meters_of(does))


def _meters_of(does: Does) -> frozenset[int]:
    return frozenset() if does.meter is None else frozenset({does.meter})


# --- groups and meters ----------------------------------------------------------------------------

_GROUP_TYPES: Final = {
    "all": GroupType.ALL,
    "select": GroupType.SELECT,
    "indirect": GroupType.INDIRECT,
    "fast_failover": GroupType.FAST_FAILOVER,
}


def _group(bridge: str, number: str, group: Group, numbers: Numbers) -> GroupItem:
    where = _path(bridge, "groups", number)
    ports: set[str] = set()
    buckets = []
    for index, bucket in enumerate(group.buckets):
        does = read_actions(f"{where}.buckets[{index}].actions", bucket.actions, table=None)
        weight = (1 if bucket.weight is None else bucket.weight) if group.type == "select" else 0
        watched = PortNumber.ANY.value
        if bucket.watch_port is not None:
            watched = numbers.number(bucket.watch_port)
            ports.add(bucket.watch_port)
        ports |= does.ports
        buckets.append(Bucket(actions(does, None, numbers.number), weight, watched))
    kind = _GROUP_TYPES[group.type]
    mod = GroupMod(GroupCommand.ADD, int(number), kind, tuple(buckets))
    return GroupItem(where, mod, frozenset(ports))


def _meter(bridge: str, number: str, meter: Meter) -> MeterItem:
    unit = _KBITS if meter.kbit_per_s is not None else _PACKETS
    mod = MeterMod(
        MeterCommand.ADD,
        int(number),
        int(unit | MeterFlag.BURST | MeterFlag.STATS),
        (Band(meter.rate, burst=meter.burst or meter.rate),),
    )
    return MeterItem(_path(bridge, "meters", number), mod)


# --- in words -------------------------------------------------------------------------------------


def flow_name(bridge: str, flow: FlowMod | FlowStats, numbers: Numbers) -> str:
    """Bridge, table, priority and match: what makes it the same flow."""
    match = format_match(flow.match, numbers.name) or "everything"
    return f"{bridge}/{flow.table_id:03d} {flow.priority:05d} {match}"


def flow_does(flow: FlowMod | FlowStats, port_name: Callable[[int], str | None]) -> str:
    """What it does, with what no declared flow has: an end by the clock, and flags."""
    content = flow.content()
    odd = {
        "idle_timeout": content.idle_timeout_s,
        "hard_timeout": content.hard_timeout_s,
        "flags": content.flags,
    }
    words = [format_instructions(flow.instructions, port_name)]
    return " ".join([*words, *(f"{name}={value}" for name, value in odd.items() if value)])
