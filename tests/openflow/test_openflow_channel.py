"""The channel against a switch in this process: answers, refusals, bundles, a switch that dies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    ConnectionLostError,
    DecodeError,
    ErrorMessage,
    FlowMod,
    FlowStats,
    GotoTable,
    Hello,
    Match,
    Message,
    MeterMod,
    NegotiationError,
    OpenFlowError,
    PortDesc,
    PortStatus,
    PortStatusReason,
    RequestTimeoutError,
    SwitchError,
    encode,
)
from privacy_router.openflow.bundle import BundleAdd, BundleControl
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.openflow.messages import BarrierReply, BarrierRequest, EchoRequest
from privacy_router.openflow.monitor import (
    CancelMonitor,
    FlowEvent,
    FlowEvents,
    MonitorPaused,
    MonitorResumed,
)
from privacy_router.openflow.multipart import MultipartReply, MultipartRequest
from privacy_router.openflow.onf import BundleControlType as Control
from privacy_router.openflow.onf import FlowEventKind, MonitorFlag
from privacy_router.openflow.subscription import Lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.openflow.conftest import FakeSwitch

BAD_PREREQ = ErrorMessage(4, 9, b"\4\x0e")
TABLE_FULL = ErrorMessage(5, 1)
PATIENCE_S = 30.0  # for what comes, however busy the machine is
FLOWS = [FlowMod(Match(in_port=n), (GotoTable(1),)) for n in range(5)]
BUNDLE_STEPS = [Control.OPEN_REQUEST, Control.CLOSE_REQUEST, Control.COMMIT_REQUEST]


@pytest.fixture
async def channel(switch: FakeSwitch) -> AsyncIterator[Channel]:
    async with await connect_unix(switch.path, timeout_s=PATIENCE_S) as channel:
        yield channel
    assert asyncio.all_tasks() == {asyncio.current_task()} | switch_tasks()


def switch_tasks() -> set[asyncio.Task[None]]:
    """Tasks of the fake switch; the channel must leave none of its own."""
    return {t for t in asyncio.all_tasks() if "FakeSwitch" in repr(t.get_coro())}


# --- connecting ---------------------------------------------------------------------------------


async def test_the_switch_says_what_it_is(channel: Channel) -> None:
    assert (await channel.features()).datapath_id == 0xABC


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLostError, match=r"br9\.mgmt: No such file"):
        await connect_unix(tmp_path / "br9.mgmt")


async def test_a_switch_of_another_version(switch: FakeSwitch) -> None:
    switch.hello = encode(Hello(1, ()), 0)
    with pytest.raises(NegotiationError, match=r"does not speak OpenFlow 1\.3"):
        await connect_unix(switch.path, timeout_s=PATIENCE_S)


async def test_a_switch_that_does_not_greet(switch: FakeSwitch) -> None:
    switch.hello = None
    with pytest.raises(RequestTimeoutError, match="did not greet"):
        await connect_unix(switch.path, timeout_s=0.05)


async def test_a_switch_that_speaks_no_openflow(switch: FakeSwitch) -> None:
    switch.hello = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with pytest.raises((DecodeError, RequestTimeoutError)):
        await connect_unix(switch.path, timeout_s=0.05)


# --- asking -------------------------------------------------------------------------------------


async def test_answers_find_their_questions_in_any_order(
    switch: FakeSwitch, channel: Channel
) -> None:
    asked: list[tuple[int, MultipartRequest]] = []

    async def backwards(switch: FakeSwitch, xid: int, message: Message) -> bool:
        if isinstance(message, MultipartRequest):
            asked.append((xid, message))
        if len(asked) == 2:
            for number, (xid_, request) in reversed(list(enumerate(asked))):
                flow = FlowStats(0, number, Match(), ())
                switch.say(MultipartReply(request.kind, (flow,), more=True), xid_)
                switch.say(MultipartReply(request.kind, ()), xid_)
        return True

    switch.handler = backwards
    first, second = await asyncio.gather(channel.dump_flows(1), channel.dump_flows(2))
    assert [first[0].priority, second[0].priority] == [0, 1]


async def test_a_refusal_has_a_name_and_the_message(switch: FakeSwitch, channel: Channel) -> None:
    async def refuse(switch: FakeSwitch, xid: int, _: Message) -> bool:
        switch.say(ErrorMessage(1, 2, b"\4\x12\0\x10"), xid)
        return True

    switch.handler = refuse
    with pytest.raises(SwitchError, match=r"BAD_REQUEST\.BAD_MULTIPART") as caught:
        await channel.dump_ports()
    assert caught.value.head == b"\4\x12\0\x10"
    assert isinstance(caught.value.refused, MultipartRequest)


async def test_no_answer(switch: FakeSwitch, channel: Channel) -> None:
    async def silent(*_: object) -> bool:
        return True

    switch.handler = silent
    with pytest.raises(RequestTimeoutError, match=r"BarrierRequest within 0\.05 s"):
        await channel.barrier(timeout_s=0.05)
    switch.handler = None
    await channel.barrier()


async def test_an_answer_of_the_wrong_kind(switch: FakeSwitch, channel: Channel) -> None:
    async def wrong(switch: FakeSwitch, xid: int, _: Message) -> bool:
        switch.say(BarrierReply(), xid)
        return True

    switch.handler = wrong
    with pytest.raises(DecodeError, match="BarrierReply"):
        await channel.features()
    with pytest.raises(DecodeError, match="BarrierReply"):
        await channel.dump_flows()


@pytest.mark.parametrize("last_words", [b"", b"\4\2\0\1\0\0\0\0"])
async def test_a_switch_that_goes_away_ends_all_waits(
    switch: FakeSwitch, channel: Channel, last_words: bytes
) -> None:
    async def die(switch: FakeSwitch, *_: object) -> bool:
        if last_words:
            switch.say_bytes(last_words)
        else:
            switch.die()
        return True

    switch.handler = die
    with channel.subscribe() as events:
        with pytest.raises(ConnectionLostError):
            await channel.barrier()
        assert isinstance(await channel.wait_closed(), OpenFlowError)
        assert channel.closed
        with pytest.raises(ConnectionLostError):
            await events.get(timeout_s=PATIENCE_S)
    with pytest.raises(ConnectionLostError):
        await channel.barrier()
    with pytest.raises(ConnectionLostError):
        await channel.apply_bundle(FLOWS)


# --- bundles ------------------------------------------------------------------------------------


async def test_a_bundle_is_opened_filled_closed_and_committed(
    switch: FakeSwitch, channel: Channel
) -> None:
    await channel.apply_bundle(FLOWS)
    assert switch.committed == FLOWS
    assert switch.controls() == BUNDLE_STEPS
    bundles = [m for _, m in switch.received if isinstance(m, BundleControl | BundleAdd)]
    assert {(m.bundle_id, m.flags) for m in bundles} == {(1, 3)}  # atomic and ordered
    await channel.apply_bundle(FLOWS[:1])
    assert switch.committed == FLOWS[:1]


async def test_nothing_to_do_says_nothing(switch: FakeSwitch, channel: Channel) -> None:
    await channel.apply_bundle([])
    assert switch.controls() == []


async def test_a_message_refused_at_add_discards_the_bundle(
    switch: FakeSwitch, channel: Channel
) -> None:
    switch.refuse = {2: BAD_PREREQ, 3: TABLE_FULL}
    with pytest.raises(SwitchError, match=r"BAD_MATCH\.BAD_PREREQ.*in_port=2") as caught:
        await channel.apply_bundle(FLOWS)
    assert caught.value.refused == FLOWS[2]
    await channel.barrier()
    assert switch.controls()[-1] == Control.DISCARD_REQUEST
    assert Control.COMMIT_REQUEST not in switch.controls()
    assert switch.committed == []


async def test_a_message_refused_at_commit_is_named(switch: FakeSwitch, channel: Channel) -> None:
    switch.refuse = {4: TABLE_FULL}
    switch.refuse_commit = True
    with pytest.raises(SwitchError, match=r"FLOW_MOD_FAILED\.TABLE_FULL") as caught:
        await channel.apply_bundle(FLOWS)
    assert caught.value.refused == FLOWS[4]
    assert switch.committed == []


async def test_a_commit_that_fails_without_a_reason(switch: FakeSwitch, channel: Channel) -> None:
    switch.refuse_commit = True
    with pytest.raises(SwitchError, match=r"BUNDLE_FAILED\.MSG_FAILED"):
        await channel.apply_bundle(FLOWS)


async def test_a_bundle_that_cannot_be_encoded_is_discarded(
    switch: FakeSwitch, channel: Channel
) -> None:
    with pytest.raises(OpenFlowError, match="cannot be encoded"):
        await channel.apply_bundle([*FLOWS, FlowMod(priority=-1)])
    await channel.barrier()
    assert switch.controls() == [Control.OPEN_REQUEST, Control.DISCARD_REQUEST]


async def test_a_caller_that_gives_up_discards_the_bundle(
    switch: FakeSwitch, channel: Channel
) -> None:
    reached = asyncio.Event()

    async def hang_at_close(_: FakeSwitch, __: int, message: Message) -> bool:
        if isinstance(message, BundleControl) and message.control == Control.CLOSE_REQUEST:
            reached.set()
            return True
        return False

    switch.handler = hang_at_close
    task = asyncio.create_task(channel.apply_bundle(FLOWS))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await channel.barrier()
    assert switch.controls()[-1] == Control.DISCARD_REQUEST


async def test_a_switch_that_dies_mid_bundle(switch: FakeSwitch, channel: Channel) -> None:
    async def die_at_third(switch: FakeSwitch, _: int, message: Message) -> bool:
        added = sum(isinstance(m, BundleAdd) for _, m in switch.received)
        if added == 3:
            switch.die()
        return isinstance(message, BundleAdd)

    switch.handler = die_at_third
    with pytest.raises(ConnectionLostError):
        await channel.apply_bundle(FLOWS)
    assert Control.COMMIT_REQUEST not in switch.controls()


async def test_a_large_bundle_to_a_slow_switch_that_complains_all_the_time(
    switch: FakeSwitch, channel: Channel
) -> None:
    """Far more than any buffer holds, in both directions at once."""
    chatter = PortStatus(PortStatusReason.MODIFY, PortDesc(1, 1, "p1"))

    async def slow_and_chatty(switch: FakeSwitch, _: int, message: Message) -> bool:
        if isinstance(message, BundleAdd):
            switch.say(chatter)
            await asyncio.sleep(0)
        return False

    switch.handler = slow_and_chatty
    flows = [FlowMod(Match(in_port=n)) for n in range(20_000)]
    with channel.subscribe(limit=10) as events:
        await channel.apply_bundle(flows)
        assert len(switch.committed) == 20_000
        first = [await events.get(timeout_s=PATIENCE_S) for _ in range(11)]
    assert first[:10] == [chatter] * 10
    assert first[10] == Lost(19_990)


async def test_a_switch_that_stops_reading(switch: FakeSwitch, channel: Channel) -> None:
    stopped = asyncio.Event()

    async def stop(_: FakeSwitch, __: int, message: Message) -> bool:
        if isinstance(message, BundleAdd):
            await stopped.wait()
        return False

    switch.handler = stop
    flows = [FlowMod(Match(in_port=n)) for n in range(20_000)]
    with pytest.raises(RequestTimeoutError, match="took no data"):
        await channel.apply_bundle(flows, timeout_s=0.1)
    channel.abort("test")
    stopped.set()


async def test_messages_outside_a_bundle_are_confirmed_by_a_barrier(
    switch: FakeSwitch, channel: Channel
) -> None:
    meters = [MeterMod(0, n) for n in (1, 2, 3)]

    async def refuse_second(switch: FakeSwitch, xid: int, message: Message) -> bool:
        if message == meters[1]:
            switch.say(ErrorMessage(12, 1), xid)
        return False

    await channel.apply(meters)
    switch.handler = refuse_second
    with pytest.raises(SwitchError, match=r"METER_MOD_FAILED\.METER_EXISTS") as caught:
        await channel.apply(meters)
    assert caught.value.refused == meters[1]


# --- comparing and monitoring -------------------------------------------------------------------


async def test_flows_are_compared_as_they_come(switch: FakeSwitch, channel: Channel) -> None:
    installed = [FlowStats(0, 0x8000, f.match, f.instructions, duration_s=9) for f in FLOWS[1:]]

    async def answer(switch: FakeSwitch, xid: int, message: Message) -> bool:
        for flow in installed:
            switch.say(MultipartReply(1, (flow,), more=True), xid)
        switch.say(MultipartReply(1, ()), xid)
        return True

    switch.handler = answer
    found = await channel.compare_flows(FLOWS)
    assert (found.added, found.unchanged, bool(found)) == ((FLOWS[0],), 4, True)
    assert await channel.dump_flows() == installed


def event(priority: int) -> FlowEvent:
    return FlowEvent(FlowEventKind.DELETED, 0, priority, Match(), (GotoTable(1),))


async def test_a_monitor_tells_first_what_is_there_then_what_changes(
    switch: FakeSwitch, channel: Channel
) -> None:
    async def answer(switch: FakeSwitch, xid: int, message: Message) -> bool:
        if isinstance(message, MultipartRequest):
            switch.say(MultipartReply(0xFFFF, (FlowEvents((event(1), event(2))),)), xid)
            switch.say(MultipartReply(0xFFFF, (FlowEvents((event(3),)),)))
            switch.say(MonitorPaused())
        return False

    switch.handler = answer
    with await channel.monitor_flows(limit=2) as events:
        told = [await events.get(timeout_s=PATIENCE_S) for _ in range(4)]
        assert told == [event(1), event(2), event(3), MonitorPaused()]
        switch.say(MonitorResumed())
        assert await events.get(timeout_s=PATIENCE_S) == MonitorResumed()
    await channel.barrier()
    assert [m for _, m in switch.received if isinstance(m, CancelMonitor)] == [CancelMonitor(1)]


async def test_a_monitor_ends_with_the_connection(switch: FakeSwitch, channel: Channel) -> None:
    async def answer(switch: FakeSwitch, xid: int, message: Message) -> bool:
        switch.say(MultipartReply(0xFFFF, (FlowEvents(()),)), xid)
        return True

    switch.handler = answer
    with await channel.monitor_flows() as events:
        switch.die()
        with pytest.raises(ConnectionLostError):
            await events.get(timeout_s=PATIENCE_S)


@pytest.mark.parametrize("flags", [0, MonitorFlag.OWN | MonitorFlag.ACTIONS, 0x41])
async def test_a_monitor_that_would_tell_nothing_is_refused(channel: Channel, flags: int) -> None:
    with pytest.raises(ValueError, match="flags"):
        await channel.monitor_flows(flags=flags)


# --- events, keepalive, closing -----------------------------------------------------------------


async def test_events_reach_every_subscriber(switch: FakeSwitch, channel: Channel) -> None:
    status = PortStatus(PortStatusReason.ADD, PortDesc(7, 1, "internal_7"))
    with channel.subscribe() as one, channel.subscribe() as two:
        switch.say(status)
        assert await one.get(timeout_s=PATIENCE_S) == status
        assert await two.get(timeout_s=PATIENCE_S) == status
        with pytest.raises(RequestTimeoutError):
            await one.get(timeout_s=0.01)


async def test_a_refusal_nobody_waits_for_is_an_event(switch: FakeSwitch, channel: Channel) -> None:
    async def refuse(switch: FakeSwitch, xid: int, _: Message) -> bool:
        switch.say(TABLE_FULL, xid)
        return True

    with channel.subscribe() as events:
        switch.handler = refuse
        channel.send(FlowMod())
        assert await events.get(timeout_s=PATIENCE_S) == TABLE_FULL


async def test_a_dead_switch_is_noticed_by_echo(switch: FakeSwitch) -> None:
    answered = 0

    async def answer_twice(_: FakeSwitch, __: int, message: Message) -> bool:
        nonlocal answered
        answered += isinstance(message, EchoRequest)
        return answered > 2

    switch.handler = answer_twice
    async with await connect_unix(switch.path, timeout_s=PATIENCE_S, keepalive_s=0.2) as channel:
        async with asyncio.timeout(PATIENCE_S):
            reason = await channel.wait_closed()
        assert "did not answer an echo" in str(reason)
    assert answered == 3


async def test_an_echo_of_the_switch_is_answered(switch: FakeSwitch, channel: Channel) -> None:
    switch.say(EchoRequest(b"are you there"), 9)
    await channel.barrier()
    await channel.barrier()
    assert (9, "EchoReply") in [(xid, type(m).__name__) for xid, m in switch.received]


async def test_closing_ends_waits_and_can_be_repeated(switch: FakeSwitch, channel: Channel) -> None:
    async def silent(*_: object) -> bool:
        return True

    switch.handler = silent
    waiting = asyncio.create_task(channel.request(BarrierRequest()))
    await asyncio.sleep(0)
    await channel.close()
    with pytest.raises(ConnectionLostError, match="closed here"):
        await waiting
    await channel.close()
