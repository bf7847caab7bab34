"""What a real Open vSwitch tells: of its meters, groups, tables and ports, and of changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    Bucket,
    FieldsProperty,
    FlowMod,
    FlowModFlag,
    FlowOptions,
    FlowRemoved,
    GetAsyncReply,
    GotoTable,
    Group,
    GroupMod,
    GroupType,
    Match,
    Meter,
    MeterMod,
    NextTablesProperty,
    Output,
    PortMod,
    RequestTimeoutError,
    SetAsync,
    SwitchError,
    TableMod,
    TablePropertyKind,
    Told,
)
from privacy_router.openflow.constants import (
    ActionType,
    FlowRemovedReason,
    MeterBandType,
    PortConfig,
)
from privacy_router.openflow.monitor import CancelMonitor, FlowEvent, OwnChange
from privacy_router.openflow.multipart import MultipartReply, table_features_request
from privacy_router.openflow.onf import FlowEventKind, MonitorFlag
from tests.e2e.openflow.private_ovs import INSTRUCTIONS, TCP, Ovs

if TYPE_CHECKING:
    from privacy_router.openflow.channel import Channel
    from privacy_router.openflow.exchange import MonitorWord
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.openflow.subscription import Subscription


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


async def test_meters_and_groups_count(channel: Channel) -> None:
    meters = [MeterMod(0, 3, bands=(Band(100, 10),)), MeterMod(0, 4, bands=(Band(5), Band(9)))]
    await channel.apply(meters)
    await channel.apply_bundle(
        [
            GroupMod(0, 4, GroupType.SELECT, (Bucket((Output(1),), 1), Bucket((Output(2),), 2))),
            FlowMod(Match(in_port=1), (Meter(3), ApplyActions((Group(4),)))),
        ]
    )
    (stats,) = await channel.meter_stats(3)
    assert (stats.meter_id, stats.packet_count, stats.bands) == (3, 0, ((0, 0),))
    assert sorted(len(each.bands) for each in await channel.meter_stats()) == [1, 2]
    (group,) = await channel.group_stats()
    assert (group.group_id, group.packet_count, group.buckets) == (4, 0, ((0, 0), (0, 0)))
    with pytest.raises(SwitchError, match=r"METER_MOD_FAILED\.UNKNOWN_METER"):
        await channel.meter_stats(77)


async def test_what_meters_and_groups_can_be(channel: Channel) -> None:
    meters, groups = await channel.meter_features(), await channel.group_features()
    assert meters.band_types == 1 << MeterBandType.DROP
    assert meters.max_meters > 1000
    assert groups.types == 0b1111
    assert all(kind & 1 << ActionType.OUTPUT for kind in groups.actions)


async def test_what_tables_can_do_and_have_done(channel: Channel) -> None:
    await channel.apply_bundle([FlowMod(Match(in_port=n), (), 7, cookie=n) for n in range(5)])
    tables = {table.table_id: table for table in await channel.table_stats()}
    assert (len(tables), tables[7].active_count, tables[8].active_count) == (254, 5, 0)
    assert (await channel.count_flows(7)).flow_count == 5
    assert (await channel.count_flows(cookie=3, cookie_mask=0xFF)).flow_count == 1
    features = {table.table_id: table for table in await channel.table_features()}
    matched = features[7].of_kind(TablePropertyKind.MATCH)
    assert isinstance(matched, FieldsProperty)
    known = {field.name: field.maskable for field in matched.fields}
    assert {name: known[name] for name in ("in_port", "ipv4_dst", "ct_state", "tcp_flags")} == {
        "in_port": False,
        "ipv4_dst": True,
        "ct_state": True,
        "tcp_flags": True,
    }
    following = features[252].of_kind(TablePropertyKind.NEXT_TABLES_MISS)
    assert following == NextTablesProperty(TablePropertyKind.NEXT_TABLES_MISS, (253,))


async def test_table_features_are_what_the_switch_sent(channel: Channel) -> None:
    """Nothing of a property, known or not, is lost."""
    answer = await channel.request(table_features_request(), raw=True)
    assert isinstance(answer, MultipartReply)
    tables = await channel.table_features()
    sent = b"".join(part.encode() for part in answer.entries)
    assert b"".join(table.encode() for table in tables) == sent


async def test_a_port_is_switched_off_and_on(channel: Channel) -> None:
    (port,) = [port for port in await channel.dump_ports() if port.number == 1]
    down = PortMod(1, port.mac, PortConfig.PORT_DOWN, PortConfig.PORT_DOWN)
    with pytest.raises(SwitchError, match=r"BUNDLE_FAILED\.MSG_FAILED"):
        await channel.apply_bundle([down])  # ports do not change atomically
    await channel.apply([down])
    (changed,) = [port for port in await channel.dump_ports() if port.number == 1]
    assert not changed.is_up()
    with pytest.raises(SwitchError, match=r"PORT_MOD_FAILED\.BAD_HW_ADDR"):
        await channel.apply([PortMod(1, port.mac ^ 1, 0, PortConfig.PORT_DOWN)])
    await channel.apply([PortMod(1, port.mac, 0, PortConfig.PORT_DOWN)])
    (again,) = [port for port in await channel.dump_ports() if port.number == 1]
    assert not again.config & PortConfig.PORT_DOWN


async def test_queues_and_configuration(channel: Channel) -> None:
    assert [queue.port for queue in (await channel.queues(1)).queues] == [1]
    assert {stats.port for stats in await channel.queue_stats(1)} == {1}
    with pytest.raises(SwitchError, match=r"QUEUE_OP_FAILED\.BAD_PORT"):
        await channel.queues(77)
    await channel.enable_events(64)
    assert (await channel.config()).miss_send_len == 64
    await channel.apply([TableMod(0)])


async def test_events_that_nobody_wants_do_not_come(ovs: Ovs, channel: Channel) -> None:
    await channel.enable_events()
    wanted = Told(packet_in=1, port_status=2, flow_removed=1 << FlowRemovedReason.HARD_TIMEOUT)
    await channel.apply([SetAsync(wanted, Told(1, 2, 3))])
    assert await channel.told() == GetAsyncReply(wanted, Told(1, 2, 3))
    flags = FlowModFlag.SEND_FLOW_REM
    await channel.apply_bundle(
        [FlowMod(Match(in_port=1), (), cookie=5, options=FlowOptions(flags=flags))]
    )
    with channel.subscribe() as events:
        ovs.ofctl("del-flows")
        with pytest.raises(RequestTimeoutError):
            await events.get(timeout_s=0.1)


async def test_events_come_once_they_are_asked_for(ovs: Ovs, channel: Channel) -> None:
    await channel.enable_events()
    flow = FlowMod(
        Match(in_port=1), (), cookie=5, options=FlowOptions(flags=FlowModFlag.SEND_FLOW_REM)
    )
    await channel.apply_bundle([flow])
    with channel.subscribe() as events:
        ovs.ofctl("del-flows")
        removed = await events.get(timeout_s=5)
        assert isinstance(removed, FlowRemoved)
        assert (removed.cookie, removed.match) == (5, flow.match)


# --- comparing and monitoring -------------------------------------------------------------------


@pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=str)
async def test_what_was_installed_is_no_difference(
    channel: Channel, instructions: tuple[Instruction, ...]
) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    group = GroupMod(0, 5, GroupType.ALL, (Bucket((Output(1),)),))
    flow = FlowMod(
        Match(**TCP), instructions, 0, 100, 0x5052 << 48, options=FlowOptions(idle_timeout_s=600)
    )
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
