"""A declared bridge beside what is there: what can be had, and what stands in the way. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.config.problems import nearest_of
from privacy_router.openflow import (
    FlowMod,
    GroupDesc,
    GroupMod,
    MeterConfig,
    MeterMod,
    format_flow,
)
from privacy_router.plugins.openflow.ownership import Anchored, Mark, anchor, policy_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.openflow import FlowStats
    from privacy_router.openflow.flows import FlowKey
    from privacy_router.plugins.openflow.program import FlowItem, GroupItem, Program
    from privacy_router.plugins.openflow.switch import SwitchState


@dataclass(frozen=True)
class Obstacle:
    """Why something that is declared cannot be had. `may_come`: it is only not there (yet)."""

    text: str
    remedy: str
    may_come: bool = False


@dataclass(frozen=True)
class Blocked:
    """What obstacles stand in the way of."""

    flows: frozenset[FlowKey] = frozenset()
    groups: frozenset[int] = frozenset()
    meters: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Target:
    """What of a switch is to be ours: exactly these flows, with anchors, groups and meters.

    `origins` has the key of the document for flows, groups and meters, by what names them.
    """

    flows: Mapping[FlowKey, FlowMod] = field(default_factory=dict)
    groups: Mapping[int, GroupMod] = field(default_factory=dict)
    meters: Mapping[int, MeterMod] = field(default_factory=dict)
    origins: Mapping[object, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Survey:
    """One bridge: its program, its switch (None where there is no such bridge), the obstacles."""

    program: Program
    state: SwitchState | None
    obstacles: tuple[Obstacle, ...] = ()
    blocked: Blocked = Blocked()

    @property
    def target(self) -> Target:
        """All that can be had of the program."""
        program, blocked = self.program, self.blocked
        items = [i for i in (*program.flows, *program.policy_flows) if i.key not in blocked.flows]
        groups = {n: one for n, one in program.groups.items() if n not in blocked.groups}
        meters = {n: one for n, one in program.meters.items() if n not in blocked.meters}
        marks = [
            *(Mark(Anchored.GROUP, number) for number in groups),
            *(Mark(Anchored.METER, number) for number in meters),
            *(Mark(Anchored.POLICY, policy_number(name)) for name in program.policies),
        ]
        mods = [*map(anchor, marks), *(item.mod for item in items)]
        return Target(
            {mod.key(): mod for mod in mods},
            {number: one.mod for number, one in groups.items()},
            {number: one.mod for number, one in meters.items()},
            {
                **{item.key: item.where for item in items},
                **{("group", number): one.where for number, one in groups.items()},
                **{("meter", number): one.where for number, one in meters.items()},
            },
        )


def survey_of(
    program: Program, state: SwitchState | None, occupants: Mapping[FlowKey, FlowStats]
) -> Survey:
    """Compare what is declared with what is there; `occupants` are other programs' flows that have
    the place of a declared one."""
    if state is None:
        return _without_bridge(program)
    items = (*program.flows, *program.policy_flows)
    groups = {**_groups_without_ports(program), **_groups_of_others(program, state)}
    meters = _meters_of_others(program, state)
    taken = {item.key: _taken(item, occupants[item.key]) for item in items if item.key in occupants}
    flows = {item.key for item in items if _lacks(item, program, groups.keys(), meters.keys())}
    obstacles = [
        *(_no_port(program, name, state.ports) for name in sorted(program.numbers.missing)),
        *(one for one in groups.values() if one is not None),
        *meters.values(),
        *taken.values(),
        *(Obstacle(error.message, error.remedy) for error in program.left_out),
    ]
    blocked = Blocked(
        frozenset(flows | taken.keys()), frozenset(groups.keys()), frozenset(meters.keys())
    )
    return Survey(program, state, tuple(obstacles), blocked)


def _without_bridge(program: Program) -> Survey:
    name = program.bridge
    obstacle = Obstacle(
        f"there is no bridge {name}",
        f"declare it in plugins.net.bridges, or make it: ovs-vsctl add-br {name}; where Open"
        " vSwitch does not run, start it",
        may_come=True,
    )
    items = (*program.flows, *program.policy_flows)
    blocked = Blocked(
        frozenset(item.key for item in items),
        frozenset(program.groups),
        frozenset(program.meters),
    )
    return Survey(program, None, (obstacle,), blocked)


def _lacks(item: FlowItem, program: Program, groups: Iterable[int], meters: Iterable[int]) -> bool:
    """Whether something that the flow leads to is not to be had."""
    no_port = not item.ports.isdisjoint(program.numbers.missing)
    return no_port or not (item.groups.isdisjoint(groups) and item.meters.isdisjoint(meters))


def _no_port(program: Program, name: str, ports: Mapping[str, int]) -> Obstacle:
    items: list[FlowItem | GroupItem] = [*program.flows, *program.policy_flows]
    items += program.groups.values()
    where = next((item.where for item in items if name in item.ports), program.bridge)
    near = nearest_of(name, [port for port in ports if port != program.bridge])
    return Obstacle(
        f"{where}: {program.bridge} has no port {name}",
        (f"did you mean {near}? Else " if near else "") + "add it to the bridge (plugins.net), or"
        " write a policy, which is for ports as they come",
        may_come=True,
    )


def _taken(item: FlowItem, other: FlowStats) -> Obstacle:
    return Obstacle(
        f"{item.where}: another program has a flow for these packets at this priority:"
        f" {format_flow(other)}",
        "delete that flow (ovs-ofctl del-flows --strict), or declare another priority",
    )


# --- groups and meters ----------------------------------------------------------------------------


def _groups_without_ports(program: Program) -> dict[int, Obstacle | None]:
    """They wait for a port, which is an obstacle already."""
    missing = program.numbers.missing
    return {n: None for n, one in program.groups.items() if not one.ports.isdisjoint(missing)}


def _groups_of_others(program: Program, state: SwitchState) -> dict[int, Obstacle]:
    """One that is as declared is taken over: its anchor goes when all flows are deleted."""
    others = program.groups.keys() & state.groups.keys() - state.owned(Anchored.GROUP)
    return {
        n: _of_others("group", n, program.groups[n].where)
        for n in sorted(others)
        if not same_group(program.groups[n].mod, state.groups[n])
    }


def _meters_of_others(program: Program, state: SwitchState) -> dict[int, Obstacle]:
    """The same; besides, a run that was cut short may have left it."""
    others = program.meters.keys() & state.meters.keys() - state.owned(Anchored.METER)
    return {
        n: _of_others("meter", n, program.meters[n].where)
        for n in sorted(others)
        if not same_meter(program.meters[n].mod, state.meters[n])
    }


def _of_others(kind: str, number: int, where: str) -> Obstacle:
    delete = {"group": "del-groups BRIDGE group_id=", "meter": "del-meter BRIDGE meter="}[kind]
    return Obstacle(
        f"{where}: another program has a {kind} {number}",
        f"declare another number, or delete it: ovs-ofctl -O OpenFlow13 {delete}{number}",
    )


def same_meter(wanted: MeterMod, found: MeterConfig) -> bool:
    """Whether a meter is as it is to be."""
    return (wanted.flags, wanted.bands) == (found.flags, found.bands)


def same_group(wanted: GroupMod, found: GroupDesc) -> bool:
    """Whether a group is as it is to be."""
    return (wanted.group_type, wanted.buckets) == (found.group_type, found.buckets)
