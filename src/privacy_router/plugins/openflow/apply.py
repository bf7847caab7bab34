"""Make what of a switch is ours exactly so: one bundle for flows and groups, meters around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.engine.model import Mode
from privacy_router.errors import ConflictError
from privacy_router.openflow import (
    FlowMod,
    GroupCommand,
    GroupMod,
    MeterCommand,
    MeterMod,
    delete_group,
    delete_meter,
    format_flow,
    removal_of,
)
from privacy_router.openflow import SwitchError as RefusedMessage
from privacy_router.plugins.openflow.declare import FLOW, GROUP, METER, POLICY, key, policies_in
from privacy_router.plugins.openflow.ownership import (
    Anchored,
    Part,
    mark_of,
    number_of,
    part_of,
    policy_number,
)
from privacy_router.plugins.openflow.rollback import NO_CLAIMS, Claims, what_is_ours
from privacy_router.plugins.openflow.survey import Target, same_group, same_meter
from privacy_router.plugins.openflow.switch import BridgeSwitchError, occupants, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.engine.model import Desired, ResourceKey
    from privacy_router.openflow import Message
    from privacy_router.openflow.channel import Channel
    from privacy_router.plugins.openflow.survey import Survey
    from privacy_router.plugins.openflow.switch import SwitchState


@dataclass(frozen=True)
class Steps:
    """What is sent, in this order: meters (which no bundle takes), the bundle, meters to delete."""

    meters: tuple[MeterMod, ...] = ()
    bundle: tuple[Message, ...] = ()
    unused_meters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.meters or self.bundle or self.unused_meters)


def steps_to(target: Target, state: SwitchState, claims: Claims = NO_CLAIMS) -> Steps:
    """From what a switch has to what of it is to be ours. Pure."""
    wanted = dict(target.flows)
    removed = [flow for one, flow in what_is_ours(state).flows.items() if one not in wanted]
    put = [
        mod
        for one, mod in wanted.items()
        if one not in state.flows or state.flows[one].content() != mod.content()
    ]
    owned_groups = (state.owned(Anchored.GROUP) - claims.others_groups) & state.groups.keys()
    owned_meters = (
        (state.owned(Anchored.METER) | claims.new_meters) - claims.others_meters
    ) & state.meters.keys()
    gone = [delete_group(number) for number in sorted(owned_groups - target.groups.keys())]
    return Steps(
        tuple(_meters_to(target.meters, state)),
        (*_groups_to(target.groups, state), *map(removal_of, removed), *put, *gone),
        tuple(sorted(owned_meters - target.meters.keys())),
    )


def _groups_to(wanted: Mapping[int, GroupMod], state: SwitchState) -> list[GroupMod]:
    found = []
    for number, mod in sorted(wanted.items()):
        present = state.groups.get(number)
        if present is None or not same_group(mod, present):
            command = GroupCommand.ADD if present is None else GroupCommand.MODIFY
            found.append(GroupMod(command, number, mod.group_type, mod.buckets))
    return found


def _meters_to(wanted: Mapping[int, MeterMod], state: SwitchState) -> list[MeterMod]:
    found = []
    for number, mod in sorted(wanted.items()):
        present = state.meters.get(number)
        if present is None or not same_meter(mod, present):
            command = MeterCommand.ADD if present is None else MeterCommand.MODIFY
            found.append(MeterMod(command, number, mod.flags, mod.bands))
    return found


def target_for(found: Survey, desired: Desired) -> Target:
    """What is to be made of a bridge: all that can be had of what is declared, or, where that is
    only observed, what there is of ours but for what is given back. Pure."""
    bridge = found.program.bridge
    declared = desired.payload.bridges.get(bridge) if desired.payload else None
    if declared is None or declared.mode == Mode.ENFORCE or found.state is None:
        return found.target
    gone = {one for one, resource in desired.resources.items() if resource.value is None}
    target = what_is_ours(found.state)

    def stays(flow: FlowMod) -> bool:
        return not {key(FLOW, found.program.name_of(flow)), *_marked(bridge, flow, gone)} & gone

    return Target(
        {one: flow for one, flow in target.flows.items() if stays(flow)},
        {n: one for n, one in target.groups.items() if key(GROUP, f"{bridge}/{n}") not in gone},
        {n: one for n, one in target.meters.items() if key(METER, f"{bridge}/{n}") not in gone},
    )


def _marked(bridge: str, flow: FlowMod, among: set[ResourceKey]) -> set[ResourceKey]:
    """The resources that a flow is the anchor of, or a flow of: a policy has a number only."""
    mark, part = mark_of(flow), part_of(flow.cookie)
    if mark is not None and mark.kind is not Anchored.POLICY:
        return {key(GROUP if mark.kind is Anchored.GROUP else METER, f"{bridge}/{mark.number}")}
    number = mark.number if mark is not None else number_of(flow.cookie)
    of_policy = mark is not None or part is Part.POLICY
    named = policies_in(among, bridge) if of_policy else set()
    return {key(POLICY, f"{bridge}/{name}") for name in named if policy_number(name) == number}


async def converge(
    channel: Channel, bridge: str, target: Target, claims: Claims = NO_CLAIMS
) -> None:
    """Make it so and read it back.

    Raises ConflictError, with nothing done, where another program has taken the place of a flow;
    BridgeSwitchError, naming the key of the document, for what the switch refuses, and for what it
    does not have afterwards.
    """
    state = await read(channel)
    steps = steps_to(target, state, claims)
    if not steps:
        return
    await _require_free(channel, bridge, target, state)
    try:
        await channel.apply_bundle(steps.bundle, before=steps.meters)
        await channel.apply([delete_meter(number) for number in steps.unused_meters])
    except RefusedMessage as error:
        raise _refusal(bridge, target, error) from error
    if steps_to(target, await read(channel), claims):
        raise BridgeSwitchError(
            f"the switch of {bridge} does not have what it was given",
            remedy="see whether another program changes the same bridge",
            retryable=True,
        )


async def _require_free(channel: Channel, bridge: str, target: Target, state: SwitchState) -> None:
    found = await occupants(channel, target.flows.keys() - state.flows.keys())
    for machine, flow in found.items():
        where = target.origins.get(machine, bridge)
        raise ConflictError(
            f"{where}: another program has a flow in that place: {format_flow(flow)}",
            remedy="delete that flow (ovs-ofctl del-flows --strict), or declare another priority",
        )


def _refusal(bridge: str, target: Target, error: RefusedMessage) -> BridgeSwitchError:
    """The key of the document that the switch refuses, and in which words."""
    message, where = error.refused, bridge
    if isinstance(message, FlowMod):
        where = target.origins.get(message.key(), bridge)
        what = f"the flow {format_flow(message)}"
    elif isinstance(message, GroupMod):
        where = target.origins.get(("group", message.group_id), bridge)
        what = f"the group {message.group_id}"
    elif isinstance(message, MeterMod):
        where = target.origins.get(("meter", message.meter_id), bridge)
        what = f"the meter {message.meter_id}"
    else:
        what = "a change"
    return BridgeSwitchError(
        f"{where}: the switch of {bridge} refuses {what}: {error.name}",
        remedy="ovs-vswitchd's log says why; the bridge is as it was",
    )
