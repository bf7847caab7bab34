"""What was ours on a bridge before a run, byte for byte, and the way back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError
from privacy_router.openflow import (
    FlowMod,
    FlowOptions,
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
from privacy_router.plugins.openflow.switch import SwitchState

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from privacy_router.engine.model import Value
    from privacy_router.openflow import FlowStats


@dataclass(frozen=True)
class Claims:
    """What of a switch is whose, where its anchors do not say so: meters that a run was about to
    add are ours though nothing marks them yet, and what a run took over is not, once undone."""

    new_meters: frozenset[int] = frozenset()
    others_groups: frozenset[int] = frozenset()
    others_meters: frozenset[int] = frozenset()


NO_CLAIMS: Final = Claims()


def written_down(state: SwitchState | None, new_meters: AbstractSet[int]) -> Value:
    """What of a switch is ours before a run that adds these meters, as JSON."""
    found = SwitchState() if state is None else state
    target = what_is_ours(found)
    messages = (*target.groups.values(), *target.meters.values(), *target.flows.values())
    return {
        "messages": [encode(message, 0).hex() for message in messages],
        "new_meters": sorted(new_meters - found.meters.keys()),
        "others_groups": sorted(found.groups.keys() - found.owned(Anchored.GROUP)),
        "others_meters": sorted(found.meters.keys() - found.owned(Anchored.METER)),
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
        options=FlowOptions(
            idle_timeout_s=flow.idle_timeout_s, hard_timeout_s=flow.hard_timeout_s, flags=flow.flags
        ),
    )


def read_written(written: Value) -> tuple[Target, Claims]:
    """What was ours. Raises StorageError for what was not written by `written_down`."""
    names = ("new_meters", "others_groups", "others_meters")
    try:
        claims = Claims(**{name: frozenset(map(int, written[name])) for name in names})
        messages = [decode_untrusted(bytes.fromhex(text))[1] for text in written["messages"]]
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            "what was written down of the flows of a bridge is damaged",
            remedy="delete the flows that are not wanted: ovs-ofctl del-flows",
        ) from error
    target = Target(
        {one.key(): one for one in messages if isinstance(one, FlowMod)},
        {one.group_id: one for one in messages if isinstance(one, GroupMod)},
        {one.meter_id: one for one in messages if isinstance(one, MeterMod)},
    )
    return target, claims
