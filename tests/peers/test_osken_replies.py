"""What a switch says, as os-ken reads it: it finds the values that we put in.

os-ken is a controller's library, and cannot write these itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.openflow import (
    Aggregate,
    Band,
    Bucket,
    Desc,
    DscpRemarkBand,
    ErrorMessage,
    ExperimenterBand,
    FeaturesReply,
    FlowRemoved,
    FlowStats,
    GetAsyncReply,
    GotoTable,
    GroupDesc,
    GroupFeatures,
    GroupStats,
    Hello,
    Message,
    MeterConfig,
    MeterFeatures,
    MeterStats,
    Output,
    PacketIn,
    PortDesc,
    PortStats,
    PortStatus,
    Queue,
    QueueGetConfigReply,
    QueueRate,
    QueueStats,
    RoleReply,
    TableStats,
    Told,
    decode_untrusted,
    encode,
)
from privacy_router.openflow import multipart as mp
from privacy_router.openflow.constants import MultipartType
from privacy_router.openflow.entries import RawEntry
from privacy_router.openflow.messages import (
    BarrierReply,
    GetConfigReply,
)
from privacy_router.openflow.meters import RawBand
from privacy_router.openflow.monitor import (
    FlowEvents,
    OwnChange,
)
from privacy_router.openflow.queues import (
    RawQueueProperty,
)
from tests.peers import osken
from tests.peers.osken import constants as c
from tests.peers.test_osken_messages import (
    MAC,
    MAC_NUMBER,
    MATCH_WORDS,
    OUR_MATCH,
    OUR_TABLE,
    PASSED_THROUGH,
    SAID,
    XID,
)

if TYPE_CHECKING:
    from collections.abc import Callable


OUR_PORT = PortDesc(1, MAC_NUMBER, "internal_100", 2, 3, 4, 5, 6, 7, 8, 9)
PORT_WORDS = (1, MAC, b"internal_100", 2, 3, 4, 5, 6, 7, 8, 9)


def reply(kind: MultipartType, *entries: Any) -> mp.MultipartReply:
    return mp.MultipartReply(kind, entries)


def values(entry: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(entry, name) for name in names)


def table_values(table: Any) -> tuple[Any, ...]:
    instructions, tables, actions, fields, experimenter = table.properties
    return (
        *values(table, "table_id", "name", "metadata_match", "metadata_write"),
        *values(table, "config", "max_entries"),
        [each.type for each in instructions.instruction_ids],
        tables.table_ids,
        [each.type for each in actions.action_ids],
        [(each.type, each.hasmask) for each in fields.oxm_ids],
        values(experimenter, "experimenter", "exp_type", "data"),
    )


# What a switch says, what to look at in os-ken's view of it, and what has to be there.
HEARD: dict[str, tuple[Message, Callable[[Any], Any], Any]] = {
    "hello": (
        Hello(),
        lambda m: [each.versions for each in m.elements],
        [[4]],
    ),
    "error of an experimenter": (
        ErrorMessage(0xFFFF, 2313, b"head", 0x4F4E4600),
        lambda m: values(m, "type", "exp_type", "experimenter", "data"),
        (0xFFFF, 2313, 0x4F4E4600, b"head"),
    ),
    "features": (
        FeaturesReply(1 << 40, 2, 3, 4, 5),
        lambda m: values(m, "datapath_id", "n_buffers", "n_tables", "auxiliary_id", "capabilities"),
        (1 << 40, 2, 3, 4, 5),
    ),
    "config": (GetConfigReply(1, 2), lambda m: values(m, "flags", "miss_send_len"), (1, 2)),
    "packet in": (
        PacketIn(1, 6, 3, 4, 1 << 40, OUR_MATCH, b"packet"),
        lambda m: (
            *values(m, "buffer_id", "total_len", "reason", "table_id", "cookie", "data"),
            dict(m.match.items()),
        ),
        (1, 6, 3, 4, 1 << 40, b"packet", MATCH_WORDS),
    ),
    "flow removed": (
        FlowRemoved(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, OUR_MATCH),
        lambda m: (
            *values(m, "cookie", "priority", "reason", "table_id", "duration_sec"),
            *values(m, "duration_nsec", "idle_timeout", "hard_timeout", "packet_count"),
            *values(m, "byte_count"),
            dict(m.match.items()),
        ),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, MATCH_WORDS),
    ),
    "port status": (
        PortStatus(1, OUR_PORT),
        lambda m: (m.reason, tuple(m.desc)),
        (1, PORT_WORDS),
    ),
    "barrier": (BarrierReply(), lambda m: m.msg_len, 8),
    "role": (RoleReply(2, 3), lambda m: values(m, "role", "generation_id"), (2, 3)),
    "async": (
        GetAsyncReply(Told(1, 2, 3), Told(4, 5, 6)),
        lambda m: values(m, "packet_in_mask", "port_status_mask", "flow_removed_mask"),
        ([1, 4], [2, 5], [3, 6]),
    ),
    "queues": (
        QueueGetConfigReply(1, (Queue(2, 1, (QueueRate(1, 500), QueueRate(2, 900))), Queue(3, 1))),
        lambda m: (
            m.port,
            [(q.queue_id, q.port, [(r.property, r.rate) for r in q.properties]) for q in m.queues],
        ),
        (1, [(2, 1, [(1, 500), (2, 900)]), (3, 1, [])]),
    ),
    "queue with an experimenter's property": (
        QueueGetConfigReply(1, (Queue(2, 1, (RawQueueProperty(0xFFFF, b"\0\0\0\1\0\0\0\0dat"),)),)),
        lambda m: [values(r, "experimenter", "data") for r in m.queues[0].properties],
        [(1, list(b"dat"))],
    ),
    "DESC": (
        reply(MultipartType.DESC, Desc("Nicira", "Open vSwitch", "3.1.0", "None", "br0")),
        lambda m: tuple(m.body),
        (b"Nicira", b"Open vSwitch", b"3.1.0", b"None", b"br0"),
    ),
    "FLOW": (
        mp.MultipartReply(
            MultipartType.FLOW,
            (FlowStats(1, 2, OUR_MATCH, (GotoTable(9),), 3, 4, 5, 6, 7, 8, 10, 11),) * 2,
            more=True,
        ),
        lambda m: (
            m.flags,
            [
                (
                    *values(f, "table_id", "priority", "cookie", "packet_count", "byte_count"),
                    *values(f, "idle_timeout", "hard_timeout", "flags"),
                    *values(f, "duration_sec", "duration_nsec"),
                    dict(f.match.items()),
                    [i.table_id for i in f.instructions],
                )
                for f in m.body
            ],
        ),
        (1, [(1, 2, 3, 4, 5, 6, 7, 8, 10, 11, MATCH_WORDS, [9])] * 2),
    ),
    "AGGREGATE": (
        reply(MultipartType.AGGREGATE, Aggregate(1, 2, 3)),
        lambda m: tuple(m.body),
        (1, 2, 3),
    ),
    "TABLE": (
        reply(MultipartType.TABLE, TableStats(1, 2, 3, 4), TableStats(5, 6, 7, 8)),
        lambda m: [tuple(each) for each in m.body],
        [(1, 2, 3, 4), (5, 6, 7, 8)],
    ),
    "PORT_STATS": (
        reply(MultipartType.PORT_STATS, PortStats(*range(1, 16))),
        lambda m: [tuple(each) for each in m.body],
        [tuple(range(1, 16))],
    ),
    "QUEUE": (
        reply(MultipartType.QUEUE, QueueStats(*range(1, 8))),
        lambda m: [tuple(each) for each in m.body],
        [tuple(range(1, 8))],
    ),
    "GROUP": (
        reply(MultipartType.GROUP, GroupStats(1, 2, 3, 4, 5, 6, ((7, 8), (9, 10)))),
        lambda m: [
            (
                *values(g, "group_id", "ref_count", "packet_count", "byte_count"),
                *values(g, "duration_sec", "duration_nsec"),
                [values(b, "packet_count", "byte_count") for b in g.bucket_stats],
            )
            for g in m.body
        ],
        [(1, 2, 3, 4, 5, 6, [(7, 8), (9, 10)])],
    ),
    "GROUP_DESC": (
        reply(MultipartType.GROUP_DESC, GroupDesc(1, 2, (Bucket((Output(3),), 4, 5, 6),))),
        lambda m: [
            (
                *values(g, "group_id", "type"),
                [
                    (*values(b, "weight", "watch_port", "watch_group"), b.actions[0].port)
                    for b in g.buckets
                ],
            )
            for g in m.body
        ],
        [(1, 2, [(4, 5, 6, 3)])],
    ),
    "GROUP_FEATURES": (
        reply(MultipartType.GROUP_FEATURES, GroupFeatures(1, 2, (3, 4, 5, 6), (7, 8, 9, 10))),
        lambda m: tuple(m.body),
        (1, 2, [3, 4, 5, 6], [7, 8, 9, 10]),
    ),
    "METER": (
        reply(MultipartType.METER, MeterStats(1, 2, 3, 4, 5, 6, ((7, 8), (9, 10)))),
        lambda m: [
            (
                *values(t, "meter_id", "flow_count", "packet_in_count", "byte_in_count"),
                *values(t, "duration_sec", "duration_nsec"),
                [values(b, "packet_band_count", "byte_band_count") for b in t.band_stats],
            )
            for t in m.body
        ],
        [(1, 2, 3, 4, 5, 6, [(7, 8), (9, 10)])],
    ),
    "METER_CONFIG": (
        reply(
            MultipartType.METER_CONFIG,
            MeterConfig(1, 2, (Band(3, 4), DscpRemarkBand(5, 6, 7), ExperimenterBand(8, 9, 10))),
        ),
        lambda m: [
            (
                *values(t, "meter_id", "flags"),
                [values(b, "type", "rate", "burst_size") for b in t.bands],
                *values(t.bands[1], "prec_level"),
                *values(t.bands[2], "experimenter"),
            )
            for t in m.body
        ],
        [(1, 2, [(1, 3, 4), (2, 5, 6), (0xFFFF, 8, 9)], 7, 10)],
    ),
    "METER_FEATURES": (
        reply(MultipartType.METER_FEATURES, MeterFeatures(1, 2, 3, 4, 5)),
        lambda m: [tuple(each) for each in m.body],
        [(1, 2, 3, 4, 5)],
    ),
    "TABLE_FEATURES": (
        reply(MultipartType.TABLE_FEATURES, OUR_TABLE),
        lambda m: [table_values(each) for each in m.body],
        [
            (
                *(1, b"classify", (1 << 64) - 1, 0xFF, 3, 1000),
                *([1, 4], [2, 3, 4], [0, 22]),
                [("ipv4_dst", 1), ("in_port", 0)],
                (0x2320, 1, [2]),
            )
        ],
    ),
    "PORT_DESC": (
        reply(MultipartType.PORT_DESC, OUR_PORT, OUR_PORT),
        lambda m: [tuple(each) for each in m.body],
        [PORT_WORDS, PORT_WORDS],
    ),
    "EXPERIMENTER": (
        reply(MultipartType.EXPERIMENTER, FlowEvents((OwnChange(5),))),
        lambda m: tuple(m.body),
        (0x4F4E4600, c.ONFMP_FLOW_MONITOR, bytes.fromhex("0008 0003 00000005")),
    ),
}


@pytest.mark.parametrize(("ours", "look", "expected"), HEARD.values(), ids=HEARD)
def test_os_ken_finds_what_we_put_in(
    ours: Message, look: Callable[[Any], Any], expected: Any
) -> None:
    assert look(osken.decode(encode(ours, XID))) == expected


# --- where os-ken differs -----------------------------------------------------------------------

ENDLESS: dict[str, Message] = {
    "a queue's property of another kind": QueueGetConfigReply(
        1, (Queue(2, 1, (RawQueueProperty(99, b"12345678"),)),)
    ),
}
REFUSED: dict[str, tuple[Message, type[Exception]]] = {
    "a meter band of another type": (
        reply(MultipartType.METER_CONFIG, MeterConfig(1, 2, (RawBand(3, 4, 5, bytes(4)),))),
        KeyError,
    ),
    "an experimenter's meter band with data": (
        reply(
            MultipartType.METER_CONFIG,
            MeterConfig(1, 2, (ExperimenterBand(1, 2, 3, b"12345678"),)),
        ),
        AssertionError,
    ),
    "a multipart reply of another kind": (
        mp.MultipartReply(99, (RawEntry(b"answer"),)),
        TypeError if sys.version_info >= (3, 12) else AttributeError,
    ),
}


@pytest.mark.parametrize("ours", ENDLESS.values(), ids=ENDLESS)
def test_os_ken_never_comes_back_from_some(ours: Message) -> None:
    with pytest.raises(osken.EndlessError):
        osken.decode(encode(ours, XID))
    assert decode_untrusted(encode(ours, XID)) == (XID, ours)


@pytest.mark.parametrize(("ours", "error"), REFUSED.values(), ids=REFUSED)
def test_os_ken_fails_on_some(ours: Message, error: type[Exception]) -> None:
    with pytest.raises(error):
        osken.decode(encode(ours, XID))
    assert decode_untrusted(encode(ours, XID)) == (XID, ours)


# --- nothing is forgotten -----------------------------------------------------------------------


def test_every_message_is_compared() -> None:
    known = {each.__name__ for each in Message.__subclasses__() if ours_to_compare(each)}
    messages = [
        *(ours for ours, _ in SAID.values()),
        *(ours for ours, _, _ in HEARD.values()),
        *PASSED_THROUGH,
    ]
    assert known == {type(message).__name__ for message in messages}


def ours_to_compare(kind: type) -> bool:
    """All but the one for types that OpenFlow 1.3 has not: os-ken has no word for those."""
    return kind.__module__.startswith("privacy") and kind.__name__ != "UnknownMessage"


@pytest.mark.parametrize("kind", MultipartType.__members__)
def test_every_question_and_answer_is_compared(kind: str) -> None:
    assert kind in SAID
    assert kind in HEARD
