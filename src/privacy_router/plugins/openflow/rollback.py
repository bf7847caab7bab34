"""What was ours on a bridge before a run, byte for byte, and the way back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import StorageError
from privacy_router.openflow import (
    FlowMod,
    GroupCommand,
    GroupMod,
    MeterCommand,
    MeterMod,
    decode_untrusted,
    encode,
)
from privacy_router.openflow.errors import DecodeError
from privacy_router.plugins.openflow.ownership import Anchored
from privacy_router.plugins.openflow.survey import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.engine.model import Value
    from privacy_router.openflow import FlowStats
    from privacy_router.plugins.openflow.switch import SwitchState


def written_down(state: SwitchState | None, new_meters: Sequence[int]) -> Value:
    """What of a switch is ours, and the meters that a run is about to add, which nothing marks
    until their flows are there, as JSON."""
    target = Target() if state is None else what_is_ours(state)
    messages = (*target.groups.values(), *target.meters.values(), *target.flows.values())
    return {
        "messages": [encode(message, 0).hex() for message in messages],
        "new_meters": [*new_meters],
    }


def what_is_ours(state: SwitchState) -> Target:
    """What of a switch is ours, as that to which it is to come."""
    groups = [state.groups[n] for n in sorted(state.owned(Anchored.GROUP) & state.groups.keys())]
    meters = [state.meters[n] for n in sorted(state.owned(Anchored.METER) & state.meters.keys())]
    return Target(
        {key: _addition(flow) for key, flow in state.flows.items()},
        {
            one.group_id: GroupMod(GroupCommand.ADD, one.group_id, one.group_type, one.buckets)
            for one in groups
        },
        {
            one.meter_id: MeterMod(MeterCommand.ADD, one.meter_id, one.flags, one.bands)
            for one in meters
        },
    )


def _addition(flow: FlowStats) -> FlowMod:
    return FlowMod(
        match=flow.match,
        instructions=flow.instructions,
        table_id=flow.table_id,
        priority=flow.priority,
        cookie=flow.cookie,
        idle_timeout_s=flow.idle_timeout_s,
        hard_timeout_s=flow.hard_timeout_s,
        flags=flow.flags,
    )


def target_of(written: Value) -> Target:
    """What was ours. Raises StorageError for what was not written by `written_down`."""
    try:
        messages = [decode_untrusted(bytes.fromhex(text))[1] for text in written["messages"]]
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            "what was written down of the flows of a bridge is damaged",
            remedy="delete the flows that are not wanted: ovs-ofctl del-flows",
        ) from error
    return Target(
        {one.key(): one for one in messages if isinstance(one, FlowMod)},
        {one.group_id: one for one in messages if isinstance(one, GroupMod)},
        {one.meter_id: one for one in messages if isinstance(one, MeterMod)},
    )
