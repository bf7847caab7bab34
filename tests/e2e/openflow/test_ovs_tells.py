"""What a real Open vSwitch tells: of its meters, groups, tables, ports and queues, and of changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    Band,
    Bucket,
    FlowMod,
    FlowModFlag,
    FlowRemoved,
    GotoTable,
    GroupMod,
    GroupType,
    Match,
    MeterMod,
    Output,
    RequestTimeoutError,
    SwitchError,
)
from privacy_router.openflow.channel import Channel
from privacy_router.openflow.constants import FlowEventKind, FlowRemovedReason, MonitorFlag
from privacy_router.openflow.monitor import CancelMonitor, FlowEvent, OwnChange

if TYPE_CHECKING:
    from privacy_router.openflow.exchange import MonitorWord
    from privacy_router.openflow.subscription import Subscription

from private_ovs import INSTRUCTIONS, TCP, Ovs

pytestmark = pytest.mark.e2e

# --- meters, groups, events, the end ------------------------------------------------------------


async def test_meters_and_groups_read_back(channel: Channel) -> None:
    meter = MeterMod(0, 3, bands=(Band(100, 10),))
    await channel.apply([meter])
    (observed,) = await channel.dump_meters()
    assert (observed.meter_id, observed.flags, observed.bands) == (3, meter.flags, meter.bands)
    group = GroupMod(
        0,
        4,
        GroupType.FAST_FAILOVER,
        (Bucket((Output(1),), watch_port=1), Bucket((Output(2),), watch_port=2)),
    )
    await channel.apply_bundle([group])
    (found,) = await channel.dump_groups()
    assert (found.group_id, found.group_type, found.buckets) == (4, group.group_type, group.buckets)
    with pytest.raises(SwitchError, match=r"METER_MOD_FAILED\.METER_EXISTS"):
        await channel.apply([meter])


async def test_events_come_once_they_are_asked_for(ovs: Ovs, channel: Channel) -> None:
    await channel.enable_events()
    flow = FlowMod(Match(in_port=1), (), cookie=5, flags=FlowModFlag.SEND_FLOW_REM)
    await channel.apply_bundle([flow])
    with channel.subscribe() as events:
        ovs.ofctl("del-flows")
        removed = await events.get(timeout_s=5)
        assert isinstance(removed, FlowRemoved)
        assert (removed.cookie, removed.match) == (5, flow.match)


# --- comparing and monitoring -------------------------------------------------------------------


@pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=str)
async def test_what_was_installed_is_no_difference(channel: Channel, instructions: tuple) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    group = GroupMod(0, 5, GroupType.ALL, (Bucket((Output(1),)),))
    flow = FlowMod(Match(**TCP), instructions, 0, 100, 0x5052 << 48, idle_timeout_s=600)
    await channel.apply_bundle([group, flow])
    found = await channel.compare_flows([flow])
    assert (found.messages(), found.unchanged) == ([], 1)


async def test_the_difference_makes_the_switch_as_desired(ovs: Ovs, channel: Channel) -> None:
    before = [FlowMod(Match(in_port=n), (GotoTable(1),), 0, 5, 7) for n in range(3000)]
    others = FlowMod(Match(in_port=1), (), 9, cookie=0xABC)
    await channel.apply_bundle([*before, others])
    changed = [FlowMod(Match(in_port=n), (GotoTable(2),), 0, 5, 7) for n in range(10)]
    desired = [*changed, *before[20:], FlowMod(Match(in_port=7000), (), 3, cookie=7)]
    found = await channel.compare_flows(desired, cookie=7, cookie_mask=0xFFF)
    counts = (len(found.added), len(found.changed), len(found.removed), found.unchanged)
    assert counts == (1, 10, 10, 2980)
    await channel.apply_bundle(found.messages())
    assert not await channel.compare_flows([*desired, others])


async def next_flow_event(events: Subscription[MonitorWord]) -> FlowEvent:
    event = await events.get(timeout_s=5)
    assert isinstance(event, FlowEvent)
    return event


async def test_a_monitor_hears_of_what_others_do_at_once(ovs: Ovs, channel: Channel) -> None:
    flow = FlowMod(Match(in_port=1), (GotoTable(2),), 1, 7, 5)
    await channel.apply_bundle([flow])
    with await channel.monitor_flows() as events:
        there = await next_flow_event(events)
        assert (there.kind, there.key()) == (FlowEventKind.ADDED, flow.key())
        assert (there.instructions, there.cookie) == (flow.instructions, 5)
        ovs.ofctl("add-flow", "cookie=6,priority=9,in_port=2,actions=output:1")
        added = await next_flow_event(events)
        assert (added.kind, added.cookie, added.priority) == (FlowEventKind.ADDED, 6, 9)
        ovs.ofctl("mod-flows", "in_port=2,actions=drop")
        modified = await next_flow_event(events)
        assert (modified.kind, modified.instructions) == (FlowEventKind.MODIFIED, ())
        ovs.ofctl("del-flows", "table=1")
        before = time.monotonic()
        deleted = await next_flow_event(events)
        assert time.monotonic() - before < 0.1
        assert (deleted.kind, deleted.key()) == (FlowEventKind.DELETED, flow.key())
        assert deleted.reason == FlowRemovedReason.DELETE
        await channel.apply_bundle([flow])
        own = await next_flow_event(events)
        assert (own.kind, own.key()) == (FlowEventKind.ADDED, flow.key())


async def test_a_monitor_that_knows_our_own_changes_by_number(channel: Channel) -> None:
    flags = MonitorFlag.ADD | MonitorFlag.DELETE
    with await channel.monitor_flows(Match(in_port=1), flags=flags) as events:
        xid = channel.send(FlowMod(Match(in_port=1)))
        assert await events.get(timeout_s=5) == OwnChange(xid)
    await channel.apply([FlowMod(Match(in_port=1), priority=3)])
    with pytest.raises(RequestTimeoutError):
        await events.get(timeout_s=0.05)


async def test_what_a_monitor_cannot_do_is_an_error(channel: Channel) -> None:
    with pytest.raises(SwitchError, match=r"FLOW_MONITOR_FAILED\.UNKNOWN_MONITOR"):
        await channel.request(CancelMonitor(77))
