"""What a section asks for, as resources. Pure: which ports a bridge has is not known here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from privacy_router.engine.model import Desired, Mode, Resource, ResourceKey
from privacy_router.openflow import GroupType, MeterFlag, PortNumber, format_actions
from privacy_router.plugins.openflow.program import (
    Numbers,
    compile_bridge,
    flow_does,
    flow_name,
    policy_flows_for,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from privacy_router.config.plugins.openflow import BridgeFlowsConfig, FlowsOfBridge
    from privacy_router.engine.model import Value
    from privacy_router.openflow import (
        FlowMod,
        FlowStats,
        GroupDesc,
        GroupMod,
        MeterConfig,
        MeterMod,
    )
    from privacy_router.plugins.openflow.program import Program

PLUGIN: Final = "openflow"
FLOW, GROUP, METER, POLICY, OBSTACLES = "flow", "group", "meter", "policy", "obstacles"
_ANY_CONTAINER: Final = "internal_100"


@dataclass(frozen=True)
class Payload:
    """The bridges of a section, for compiling them with the ports that they have."""

    bridges: Mapping[str, FlowsOfBridge] = field(default_factory=dict)


def key(kind: str, name: str) -> ResourceKey:
    """The key of a resource."""
    return ResourceKey(PLUGIN, kind, name)


def bridge_of(found: ResourceKey) -> str:
    """The bridge that a resource is on."""
    return found.name.partition("/")[0]


def policies_in(keys: Collection[ResourceKey], bridge: str) -> set[str]:
    """The policies of a bridge that these keys name."""
    named = (one.name.partition("/") for one in keys if one.kind == POLICY)
    return {name for where, _, name in named if where == bridge}


def declare(section: BridgeFlowsConfig | None) -> Desired:
    """One resource for each flow, group, meter and policy, and one for each bridge that says that
    nothing stands in the way of these.

    Raises FlowRefusedError and PipelineError, which name the key.
    """
    if section is None:
        return Desired(payload=Payload())
    resources: dict[ResourceKey, Resource] = {}
    for name, bridge in section.bridges.items():
        mode = Mode(bridge.mode)
        for found, value in _resources(name, bridge):
            resources[found] = Resource(value, mode)
    return Desired(resources, Payload(section.bridges))


def _resources(name: str, bridge: FlowsOfBridge) -> Iterator[tuple[ResourceKey, Value]]:
    _try_policies(name, bridge)
    program = compile_bridge(name, bridge, {})
    yield key(OBSTACLES, name), []
    yield from values_of_program(program)


def _try_policies(name: str, bridge: FlowsOfBridge) -> None:
    """Read each policy once for some port, for what is wrong with it on every port."""
    for index, policy in enumerate(bridge.policies):
        list(policy_flows_for(name, index, policy, _ANY_CONTAINER, Numbers(name, {})))


def values_of_program(program: Program) -> Iterator[tuple[ResourceKey, Value]]:
    """Flows, groups, meters and policies of a program, but for the flows that policies come to."""
    bridge, numbers = program.bridge, program.numbers
    for item in program.flows:
        yield key(FLOW, flow_name(bridge, item.mod, numbers)), flow_value(item.mod, numbers)
    for number, group in program.groups.items():
        yield key(GROUP, f"{bridge}/{number}"), group_value(group.mod, numbers)
    for number, meter in program.meters.items():
        yield key(METER, f"{bridge}/{number}"), meter_value(meter.mod)
    for name in program.policies:
        yield key(POLICY, f"{bridge}/{name}"), True


def flow_value(flow: FlowMod | FlowStats, numbers: Numbers) -> Value:
    """What a flow does, in the words of ovs-ofctl."""
    return {"actions": flow_does(flow, numbers.name)}


def group_value(group: GroupMod | GroupDesc, numbers: Numbers) -> Value:
    """A group with its buckets, ports by name."""
    buckets = []
    for bucket in group.buckets:
        value: dict[str, Value] = {"actions": format_actions(bucket.actions, numbers.name)}
        if group.group_type == GroupType.SELECT:
            value["weight"] = bucket.weight
        if bucket.watch_port != PortNumber.ANY:
            value["watch_port"] = numbers.name(bucket.watch_port) or str(bucket.watch_port)
        buckets.append(value)
    return {"type": GroupType(group.group_type).name.lower(), "buckets": buckets}


def meter_value(meter: MeterMod | MeterConfig) -> Value:
    """A meter with the limit of its band; of one that another program changed, of each band."""
    rates, bursts = [band.rate for band in meter.bands], [band.burst for band in meter.bands]
    return {
        "rate": rates[0] if len(rates) == 1 else rates,
        "burst": bursts[0] if len(bursts) == 1 else bursts,
        "unit": "kbit/s" if meter.flags & MeterFlag.KBPS else "packets/s",
    }
