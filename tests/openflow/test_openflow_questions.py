"""What can be asked of a switch: each method asks the right thing and gives what was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    Aggregate,
    DecodeError,
    FieldsProperty,
    GetAsyncReply,
    GroupFeatures,
    GroupStats,
    Message,
    MeterFeatures,
    MeterStats,
    NextTablesProperty,
    OxmId,
    QueueGetConfigReply,
    QueueStats,
    Role,
    RoleReply,
    RoleRequest,
    TableFeatures,
    TablePropertyKind,
    TableStats,
    Told,
)
from privacy_router.openflow import multipart as mp
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.openflow.messages import EchoReply, GetConfigReply, GetConfigRequest
from privacy_router.openflow.queues import QueueGetConfigRequest, QueueQuery
from privacy_router.openflow.roles import GetAsyncRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.openflow.conftest import FakeSwitch

    Ask = Callable[[Channel], Awaitable[object]]

STATS = MeterStats(3, 1, 2, 3, 4, 5, ((6, 7),))
METERS = MeterFeatures(1, 2, 3, 4, 5)
GROUPS = GroupFeatures(1, 2, (3, 4, 5, 6), (7, 8, 9, 10))
GROUP = GroupStats(1, 2, 3, 4, 5, 6, ())
TABLE = TableFeatures(1, "classify", 0, 0, 0, 10)
ASYNC = GetAsyncReply(Told(1), Told(2))

QUESTIONS: dict[str, tuple[Ask, Message, Message, object]] = {
    "meter_stats": (
        lambda c: c.meter_stats(3),
        mp.meter_stats_request(3),
        mp.MultipartReply(9, (STATS, STATS)),
        [STATS, STATS],
    ),
    "meter_features": (
        lambda c: c.meter_features(),
        mp.meter_features_request(),
        mp.MultipartReply(11, (METERS,)),
        METERS,
    ),
    "group_stats": (
        lambda c: c.group_stats(7),
        mp.group_stats_request(7),
        mp.MultipartReply(6, (GROUP,)),
        [GROUP],
    ),
    "group_features": (
        lambda c: c.group_features(),
        mp.group_features_request(),
        mp.MultipartReply(8, (GROUPS,)),
        GROUPS,
    ),
    "count_flows": (
        lambda c: c.count_flows(3, 4, 5),
        mp.aggregate_request(mp.FlowQuery(3, cookie=4, cookie_mask=5)),
        mp.MultipartReply(2, (Aggregate(1, 2, 3),)),
        Aggregate(1, 2, 3),
    ),
    "table_stats": (
        lambda c: c.table_stats(),
        mp.table_request(),
        mp.MultipartReply(3, (TableStats(1, 2, 3, 4),)),
        [TableStats(1, 2, 3, 4)],
    ),
    "table_features": (
        lambda c: c.table_features(),
        mp.table_features_request(),
        mp.MultipartReply(12, (TABLE,)),
        [TABLE],
    ),
    "queue_stats": (
        lambda c: c.queue_stats(1, 2),
        mp.queue_stats_request(QueueQuery(1, 2)),
        mp.MultipartReply(5, (QueueStats(*range(7)),)),
        [QueueStats(*range(7))],
    ),
    "queues": (
        lambda c: c.queues(1),
        QueueGetConfigRequest(1),
        QueueGetConfigReply(1),
        QueueGetConfigReply(1),
    ),
    "config": (
        lambda c: c.config(),
        GetConfigRequest(),
        GetConfigReply(1, 2),
        GetConfigReply(1, 2),
    ),
    "take_role": (
        lambda c: c.take_role(Role.MASTER, 9),
        RoleRequest(Role.MASTER, 9),
        RoleReply(Role.MASTER, 9),
        RoleReply(Role.MASTER, 9),
    ),
    "told": (lambda c: c.told(), GetAsyncRequest(), ASYNC, ASYNC),
}


@pytest.fixture
async def channel(switch: FakeSwitch) -> AsyncIterator[Channel]:
    async with await connect_unix(switch.path, timeout_s=30.0) as channel:
        yield channel


def answering(switch: FakeSwitch, answer: Message) -> None:
    """Give that answer to whatever is asked."""

    async def say(switch: FakeSwitch, xid: int, message: Message) -> bool:
        if type(message).__name__ == "Hello":
            return False
        switch.say(answer, xid)
        return True

    switch.handler = say


@pytest.mark.parametrize(
    ("ask", "question", "answer", "expected"), QUESTIONS.values(), ids=QUESTIONS
)
async def test_a_question_and_its_answer(
    switch: FakeSwitch,
    channel: Channel,
    ask: Ask,
    question: Message,
    answer: Message,
    expected: object,
) -> None:
    answering(switch, answer)
    assert await ask(channel) == expected
    assert [message for _, message in switch.received[1:]] == [question]


@pytest.mark.parametrize("ask", [q[0] for q in QUESTIONS.values()], ids=QUESTIONS)
async def test_an_answer_of_another_kind_is_an_error(
    switch: FakeSwitch, channel: Channel, ask: Ask
) -> None:
    answering(switch, EchoReply())
    with pytest.raises(DecodeError, match="was answered with EchoReply"):
        await ask(channel)


@pytest.mark.parametrize("count", [0, 2])
async def test_one_answer_is_one(switch: FakeSwitch, channel: Channel, count: int) -> None:
    answering(switch, mp.MultipartReply(11, (METERS,) * count))
    with pytest.raises(DecodeError, match=f"was answered with {count} entries"):
        await channel.meter_features()


# --- what tables can do -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oxm", "name"),
    [
        (OxmId(0x8000, 12, True, 8), "ipv4_dst"),
        (OxmId(0x8000, 12, False, 0), "ipv4_dst"),  # as other switches say it
        (OxmId(0xFFFF, 42, True, 8, 0x4F4E4600), "tcp_flags"),
        (OxmId(0x8000, 99, True, 8), "oxm_8000_99_4"),
        (OxmId(0xFFFF, 9, False, 6, 0x2320), "oxm_ffff_00002320_9_2"),
        (OxmId(0xFFFF, 9, False, 0, 0x2320), "oxm_ffff_00002320_9_0"),
    ],
)
def test_a_tables_fields_have_names(oxm: OxmId, name: str) -> None:
    assert oxm.name == name


def test_what_is_not_said_of_missed_packets_is_as_for_others() -> None:
    """7.3.5.5.2: a property for the table-miss flow is left out where it is like the other."""
    kinds = TablePropertyKind
    following = NextTablesProperty(kinds.NEXT_TABLES, (2, 3))
    set_here = FieldsProperty(kinds.WRITE_SETFIELD, ())
    set_missed = FieldsProperty(kinds.WRITE_SETFIELD_MISS, (OxmId(0x8000, 12, False, 4),))
    table = TableFeatures(1, "", 0, 0, 0, 0, (following, set_here, set_missed))
    assert table.of_kind(kinds.NEXT_TABLES_MISS) == following
    assert table.of_kind(kinds.WRITE_SETFIELD_MISS) == set_missed
    assert table.of_kind(kinds.WRITE_SETFIELD) == set_here
    assert table.of_kind(kinds.MATCH) is None
