"""Every message comes back as it went; no bytes do harm."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import (
    Aggregate,
    ApplyActions,
    Band,
    Bucket,
    ClearActions,
    Connection,
    CopyTtlIn,
    CopyTtlOut,
    Ct,
    DecMplsTtl,
    DecNwTtl,
    DecodeError,
    Desc,
    DscpRemarkBand,
    EncodeError,
    ExperimenterBand,
    ExperimenterInstruction,
    FieldsProperty,
    FlowMod,
    FlowOptions,
    FlowRemoved,
    FlowStats,
    GetAsyncReply,
    GotoTable,
    Group,
    GroupDesc,
    GroupMod,
    GroupStats,
    Hello,
    Load,
    Match,
    Message,
    Meter,
    MeterConfig,
    MeterFeatures,
    MeterMod,
    MeterStats,
    Move,
    Nat,
    NegotiationError,
    NextTablesProperty,
    NiciraAction,
    Note,
    Output,
    OxmId,
    PacketIn,
    PacketOut,
    PopMpls,
    PopPbb,
    PopVlan,
    PortDesc,
    PortMod,
    PortStats,
    PortStatus,
    PushMpls,
    PushPbb,
    PushVlan,
    Queue,
    QueueGetConfigReply,
    QueueRate,
    QueueStats,
    RawAction,
    RawInstruction,
    Resubmit,
    Role,
    RoleReply,
    RoleRequest,
    SendToController,
    SetAsync,
    SetField,
    SetFieldMasked,
    SetMplsTtl,
    SetNwTtl,
    SetQueue,
    TableFeatures,
    TableMod,
    TablePropertyKind,
    TableStats,
    Told,
    TypesProperty,
    UnknownMessage,
    WriteActions,
    WriteMetadata,
    decode_untrusted,
    encode,
    set_field,
    to_controller,
)
from privacy_router.openflow import multipart as mp
from privacy_router.openflow.bundle import BundleAdd, BundleControl
from privacy_router.openflow.entries import GroupFeatures, RawEntry
from privacy_router.openflow.learn import Learn, Learned
from privacy_router.openflow.messages import (
    EchoReply,
    Experimenter,
    GetConfigReply,
    GetConfigRequest,
    HelloElement,
)
from privacy_router.openflow.meters import RawBand
from privacy_router.openflow.monitor import (
    CancelMonitor,
    FlowEvent,
    FlowEvents,
    FlowMonitor,
    MonitorPaused,
    MonitorResumed,
    OwnChange,
    UnknownEvent,
)
from privacy_router.openflow.nicira import Clone, Conjunction
from privacy_router.openflow.queues import QueueGetConfigRequest, RawQueueProperty
from privacy_router.openflow.roles import GetAsyncRequest
from privacy_router.openflow.tables import RawProperty, TablesQuery

V4, V6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
MATCH = Match(
    in_port=1, eth_type=0x800, ip_proto=6, tcp_dst=443, tcp_flags="+syn", ct_state="+trk", reg3=1
)
LEARN = Learn(
    1,
    (
        Learned(48, "eth_src", "eth_dst"),
        Learned(16, 0x800, "eth_type"),
        Learned(16, "reg0", "reg1", 16, 8, loads=True),
        Learned(17, 1 << 16, "reg2", loads=True),
        Learned(16, "reg0", None, 16),
    ),
    7,
    *(8, 9, 10, 1, 11, 12),
)
ACTIONS = (
    Output(3),
    to_controller(),
    Group(1),
    SetQueue(2),
    SetNwTtl(64),
    DecNwTtl(),
    PushVlan(),
    PopVlan(),
    set_field("eth_dst", "aa:bb:cc:dd:ee:ff"),
    SetField("ct_label", 1 << 100),
    SetFieldMasked("reg0", 1, 3),
    Load("reg0", 5, 16, 8),
    Move("ipv4_src", "ipv4_dst", 32),
    Move("tcp_flags", "reg0", 12),
    Resubmit(3),
    Note(b"for people"),
    NiciraAction(16, bytes(range(22))),
    CopyTtlOut(),
    CopyTtlIn(),
    SetMplsTtl(64),
    DecMplsTtl(),
    PushMpls(),
    PopMpls(0x800),
    PushPbb(),
    PopPbb(),
    RawAction(99, b"\x88\x47\0\0"),
    RawAction(0xFFFF, b"\0\0\0\x01abcdefgh"),
    Ct(1, 5, 3, (Nat(1, V4, V4 + 3, 1000, 2000), SetField("ct_mark", 1)), 21),
    Ct(1, 15, zone_field="reg0", actions=(Nat(2, V6),)),
    Nat(),
    Nat(2, None, V6),
    Conjunction(7, 1, 3),
    Clone((DecNwTtl(), Output(1))),
    SendToController(128, 1, 2),
    SendToController(128, 1, 2, b"for the controller", True, 5),
    SendToController(userdata=b"x"),
    LEARN,
    Learn(3, ()),
)
INSTRUCTIONS = (
    Meter(1),
    ApplyActions(ACTIONS),
    ClearActions(),
    WriteActions((Output(1),)),
    WriteMetadata(1, 3),
    GotoTable(2),
    ExperimenterInstruction(1, b"12345678"),
    RawInstruction(99, b"\0\0\0\x01"),
)
BUCKETS = (Bucket((Output(1),), 10), Bucket(ACTIONS[:3], 0, 1, 2))
BANDS = (
    Band(1, 2),
    DscpRemarkBand(3, 4, 2),
    ExperimenterBand(5, 6, 7),
    ExperimenterBand(5, 6, 7, b"12345678"),
    RawBand(8, 9, 10, b"1234"),
)
TABLE = TableFeatures(
    1,
    "classify",
    (1 << 64) - 1,
    0xFF,
    3,
    1000,
    (
        TypesProperty(TablePropertyKind.INSTRUCTIONS, (1, 2, 3)),
        RawProperty(TablePropertyKind.INSTRUCTIONS_MISS, b"\xff\xff\0\x08\0\0\x23\x20"),
        NextTablesProperty(TablePropertyKind.NEXT_TABLES, (2, 3, 4)),
        TypesProperty(TablePropertyKind.APPLY_ACTIONS, (0, 22)),
        FieldsProperty(
            TablePropertyKind.MATCH,
            (
                OxmId(0x8000, 12, True, 8),
                OxmId(0xFFFF, 42, True, 8, 0x4F4E4600),
                OxmId(0x8000, 99, False, 0),
            ),
        ),
        RawProperty(TablePropertyKind.EXPERIMENTER, b"\0\0\x23\x20\0\0\0\1"),
        RawProperty(99, b"12345"),
    ),
)
QUEUES = (
    Queue(1, 2, (QueueRate(1, 500), QueueRate(2, 900), RawQueueProperty(0xFFFF, b"12345678"))),
    Queue(3, 4),
)
FLOW = FlowStats(1, 2, MATCH, INSTRUCTIONS, 3, 4, 5, 6, 7, 8, 9, 10)
EVENT = FlowEvent(1, 2, 3, MATCH, INSTRUCTIONS, 4, 5, 6, 7)
PORT = PortDesc(1, 2, "internal_100", 1, 4, 5, 6, 7, 8, 9, 10)

MESSAGES: list[Message] = [
    Hello(6, (HelloElement(1, b"\0\0\0\x12"), HelloElement(9, b"abc"))),
    Hello(1, ()),
    EchoReply(b"x"),
    Experimenter(0x2320, 1, b"abc"),
    GetConfigRequest(),
    GetConfigReply(1, 2),
    PacketIn(1, 2, 3, 4, 5, MATCH, b"packet"),
    PacketOut(ACTIONS, b"packet", 3),
    FlowMod(MATCH, INSTRUCTIONS, 1, 2, 3, FlowOptions(4, 5, 6, 7, 8, 9, 10, 11)),
    FlowRemoved(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, MATCH),
    PortStatus(1, PORT),
    GroupMod(1, 2, 3, BUCKETS),
    MeterMod(1, 2, 3, BANDS),
    BundleControl(1, 2, 3),
    BundleAdd(1, encode(FlowMod(MATCH), 9)),
    UnknownMessage(30, b"of another version"),
    RoleRequest(Role.MASTER, 7),
    RoleReply(Role.SLAVE, (1 << 64) - 1),
    GetAsyncRequest(),
    GetAsyncReply(Told(1, 2, 3), Told(4, 5, 6)),
    SetAsync(Told(1, 2, 3)),
    PortMod(1, 0xAABBCCDDEEFF, 1, 5, 64),
    TableMod(255, 3),
    QueueGetConfigRequest(),
    QueueGetConfigReply(2, QUEUES),
    mp.desc_request(),
    mp.flow_request(mp.FlowQuery(1, MATCH, 2, 3, 4, 5)),
    mp.aggregate_request(),
    mp.table_request(),
    mp.port_stats_request(4),
    mp.port_desc_request(),
    mp.group_stats_request(),
    mp.group_desc_request(),
    mp.group_features_request(),
    mp.meter_stats_request(1),
    mp.meter_config_request(),
    mp.meter_features_request(),
    mp.queue_stats_request(),
    mp.table_features_request(),
    mp.MultipartRequest(12, TablesQuery((TABLE, TABLE)), more=True),
    mp.MultipartRequest(99, RawEntry(b"question"), more=True),
    mp.monitor_request(FlowMonitor(1, 0x3F, MATCH, 2, 3)),
    CancelMonitor(1),
    MonitorPaused(),
    MonitorResumed(),
    mp.MultipartReply(0, (Desc("Nicira", "Open vSwitch", "3.1.0", "None", "br0"),)),
    mp.MultipartReply(1, (FLOW, FLOW), more=True),
    mp.MultipartReply(2, (Aggregate(1, 2, 3),)),
    mp.MultipartReply(3, (TableStats(1, 2, 3, 4), TableStats(2, 0, 0, 0))),
    mp.MultipartReply(4, (PortStats(*range(15)),)),
    mp.MultipartReply(13, (PORT, PORT)),
    mp.MultipartReply(6, (GroupStats(1, 2, 3, 4, 5, 6, ((1, 2), (3, 4))),)),
    mp.MultipartReply(7, (GroupDesc(1, 2, BUCKETS),)),
    mp.MultipartReply(8, (GroupFeatures(1, 2, (3, 4, 5, 6), (7, 8, 9, 10)),)),
    mp.MultipartReply(9, (MeterStats(1, 2, 3, 4, 5, 6, ((7, 8),)),)),
    mp.MultipartReply(10, (MeterConfig(1, 2, BANDS),)),
    mp.MultipartReply(11, (MeterFeatures(1, 2, 3, 4, 5),)),
    mp.MultipartReply(5, (QueueStats(*range(7)),)),
    mp.MultipartReply(12, (TABLE, TableFeatures(2, "", 0, 0, 0, 0))),
    mp.MultipartReply(99, (RawEntry(b"answer"),)),
    mp.MultipartReply(0xFFFF, (FlowEvents((EVENT, OwnChange(7), UnknownEvent(9, b"abcd"))),)),
    mp.MultipartReply(0xFFFF, (RawEntry(b"another experimenter"),)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_comes_back(message: Message) -> None:
    data = encode(message, 0xFFFFFFFF)
    assert decode_untrusted(data) == (0xFFFFFFFF, message)


@pytest.mark.parametrize(
    "message",
    [
        FlowMod(priority=1 << 16),
        FlowMod(instructions=(GotoTable(256),)),
        FlowMod(instructions=(ApplyActions((SetField("nw_ttl", 256),)),)),
        PacketOut((), bytes(70_000)),
        BundleControl(-1, 0),
    ],
)
def test_what_has_no_room_is_refused(message: Message) -> None:
    with pytest.raises(EncodeError):
        encode(message, 1)


@pytest.mark.parametrize(
    "message",
    [FlowMod(instructions=(ApplyActions((Output(1),) * 4092),)), PacketOut((), bytes(70_000))],
    ids=lambda message: type(message).__name__,
)
def test_what_is_too_long_is_called_so(message: Message) -> None:
    name = type(message).__name__
    with pytest.raises(EncodeError, match=rf"a {name} of \d+ bytes is too long to send"):
        encode(message, 1)


def assert_harmless(data: bytes) -> None:
    """Decoding fails as announced, or gives something that is stable from then on."""
    try:
        xid, message = decode_untrusted(data)
    except DecodeError:
        return
    canonical = encode(message, xid)
    repr(message)
    if b"\\x" in canonical:
        return  # a name that is no UTF-8 is kept printable instead
    assert decode_untrusted(canonical) == (xid, message)
    match = getattr(message, "match", None)
    if match is not None:
        assert Match.of_items(match) == match


def test_a_zone_from_a_field_with_a_mask_is_refused() -> None:
    """There is no such thing, and without its mask the header would mean no field at all."""
    action = Ct(1, 15, zone_field="reg0")
    data = encode(FlowMod(instructions=(ApplyActions((action,)),)), 1)
    before, _, after = data.rpartition(b"\0\1\0\4")
    with pytest.raises(DecodeError, match="with a mask"):
        decode_untrusted(before + b"\0\0\1\0" + after)


@given(st.binary(max_size=200))
def test_random_bytes_are_harmless(data: bytes) -> None:
    assert_harmless(data)
    assert_harmless(b"\x04" + data)


@given(st.integers(0, 30), st.binary(max_size=200))
def test_random_bodies_are_harmless(message_type: int, body: bytes) -> None:
    length = (8 + len(body)).to_bytes(2, "big")
    assert_harmless(bytes([4, message_type]) + length + b"\0\0\0\1" + body)


@given(
    st.sampled_from(MESSAGES),
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_mutated_messages_are_harmless(
    message: Message, changes: list[tuple[int, int]], keep_header: bool
) -> None:
    data = bytearray(encode(message, 1))
    for position, value in changes:
        first = 8 if keep_header and len(data) > 8 else 0
        data[first + position % (len(data) - first)] = value
    assert_harmless(bytes(data))


@given(st.sampled_from(MESSAGES), st.integers(0, 0xFFFF))
def test_truncated_messages_are_harmless(message: Message, at: int) -> None:
    data = bytearray(encode(message, 1))[: 8 + at % 300]
    data[2:4] = len(data).to_bytes(2, "big")
    assert_harmless(bytes(data))


@given(st.lists(st.sampled_from(MESSAGES), max_size=4), st.binary(max_size=100), st.data())
def test_a_connection_survives_anything(
    messages: list[Message], rest: bytes, data: st.DataObject
) -> None:
    """Events or one of two errors, and after an error always the same one."""
    connection = Connection(max_answer_bytes=10_000)
    stream = encode(Hello(), 0) + b"".join(encode(m, 1) for m in messages) + rest
    cut = data.draw(st.integers(0, len(stream)))
    failure = None
    for piece in (stream[:cut], stream[cut:], b"\x04\xff\0\0\0\0\0\0"):
        try:
            connection.receive_data(piece)
        except (DecodeError, NegotiationError) as error:
            assert failure in (None, error)
            failure = error
    assert failure is not None or len(rest) > 0
