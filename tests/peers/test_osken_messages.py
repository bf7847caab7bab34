"""What a controller says, and what both sides say, as os-ken says it.

Its bytes are ours, and we read them as ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    BarrierRequest,
    Bucket,
    Connection,
    DecNwTtl,
    DscpRemarkBand,
    ErrorMessage,
    ExperimenterBand,
    FieldsProperty,
    FlowMod,
    FlowOptions,
    GotoTable,
    GroupMod,
    Hello,
    Match,
    Message,
    MeterMod,
    Negotiated,
    NextTablesProperty,
    Output,
    OxmId,
    PacketOut,
    PortMod,
    RoleRequest,
    SetAsync,
    SetConfig,
    TableFeatures,
    TableMod,
    TablePropertyKind,
    Told,
    TypesProperty,
    decode_untrusted,
    encode,
)
from privacy_router.openflow import multipart as mp
from privacy_router.openflow.bundle import BundleAdd, BundleControl
from privacy_router.openflow.constants import MultipartType
from privacy_router.openflow.entries import RawEntry
from privacy_router.openflow.messages import (
    EchoReply,
    EchoRequest,
    Experimenter,
    FeaturesRequest,
    GetConfigRequest,
    HelloElement,
)
from privacy_router.openflow.monitor import (
    CancelMonitor,
    FlowMonitor,
    MonitorPaused,
    MonitorResumed,
)
from privacy_router.openflow.queues import (
    QueueGetConfigRequest,
    QueueQuery,
)
from privacy_router.openflow.roles import GetAsyncRequest
from privacy_router.openflow.tables import RawProperty, TablesQuery
from tests.peers import osken
from tests.peers.osken import constants as c
from tests.peers.osken import parser as p

if TYPE_CHECKING:
    from collections.abc import Callable

XID = 7
DP = osken.DATAPATH
MAC = "aa:bb:cc:dd:ee:ff"
MAC_NUMBER = 0xAABBCCDDEEFF
Kind = TablePropertyKind

OUR_MATCH = Match(in_port=1, eth_type=0x800, ip_proto=6, tcp_dst=443)
MATCH_WORDS = {"in_port": 1, "eth_type": 0x800, "ip_proto": 6, "tcp_dst": 443}


def their_match() -> Any:
    return p.OFPMatch(**MATCH_WORDS)


def their_output(port: int = 1) -> Any:
    return p.OFPActionOutput(port, 0)


def their_flow_mod() -> Any:
    return p.OFPFlowMod(
        DP,
        *(3, 4, 1, c.OFPFC_MODIFY, 5, 6, 2, 8, 9, 10, 7),
        their_match(),
        [
            p.OFPInstructionActions(c.OFPIT_APPLY_ACTIONS, [p.OFPActionDecNwTtl(), their_output()]),
            p.OFPInstructionGotoTable(2),
        ],
    )


OUR_FLOW_MOD = FlowMod(
    OUR_MATCH,
    (ApplyActions((DecNwTtl(), Output(1))), GotoTable(2)),
    table_id=1,
    priority=2,
    cookie=3,
    options=FlowOptions(
        command=1,
        cookie_mask=4,
        idle_timeout_s=5,
        hard_timeout_s=6,
        flags=7,
        buffer_id=8,
        out_port=9,
        out_group=10,
    ),
)
OUR_TABLE = TableFeatures(
    1,
    "classify",
    (1 << 64) - 1,
    0xFF,
    3,
    1000,
    (
        TypesProperty(Kind.INSTRUCTIONS, (1, 4)),
        NextTablesProperty(Kind.NEXT_TABLES, (2, 3, 4)),
        TypesProperty(Kind.APPLY_ACTIONS, (0, 22)),
        FieldsProperty(Kind.MATCH, (OxmId(0x8000, 12, True, 0), OxmId(0x8000, 0, False, 0))),
        RawProperty(Kind.EXPERIMENTER, b"\0\0\x23\x20\0\0\0\1\0\0\0\2"),
    ),
)


def their_table() -> Any:
    return p.OFPTableFeaturesStats(
        1,
        b"classify",
        (1 << 64) - 1,
        *(0xFF, 3, 1000),
        [
            p.OFPTableFeaturePropInstructions(
                Kind.INSTRUCTIONS, None, [p.OFPInstructionId(1), p.OFPInstructionId(4)]
            ),
            p.OFPTableFeaturePropNextTables(Kind.NEXT_TABLES, None, [2, 3, 4]),
            p.OFPTableFeaturePropActions(
                Kind.APPLY_ACTIONS, None, [p.OFPActionId(0), p.OFPActionId(22)]
            ),
            p.OFPTableFeaturePropOxm(
                Kind.MATCH, None, [p.OFPOxmId("ipv4_dst", True), p.OFPOxmId("in_port")]
            ),
            p.OFPTableFeaturePropExperimenter(Kind.EXPERIMENTER, None, 0x2320, 1, [2]),
        ],
    )


# What a controller says, and how to say the same in os-ken.
SAID: dict[str, tuple[Message, Callable[[], Any]]] = {
    "echo request": (EchoRequest(b"ab"), lambda: p.OFPEchoRequest(DP, b"ab")),
    "echo reply": (EchoReply(b"ab"), lambda: p.OFPEchoReply(DP, b"ab")),
    "error": (ErrorMessage(4, 9, b"head"), lambda: p.OFPErrorMsg(DP, 4, 9, b"head")),
    "experimenter": (
        Experimenter(0x2320, 99, b"abc"),
        lambda: p.OFPExperimenter(DP, 0x2320, 99, b"abc"),
    ),
    "features request": (FeaturesRequest(), lambda: p.OFPFeaturesRequest(DP)),
    "get config": (GetConfigRequest(), lambda: p.OFPGetConfigRequest(DP)),
    "set config": (SetConfig(1, 128), lambda: p.OFPSetConfig(DP, 1, 128)),
    "packet out": (
        PacketOut((Output(2),), b"packet", 3),
        lambda: p.OFPPacketOut(DP, c.OFP_NO_BUFFER, 3, [their_output(2)], b"packet"),
    ),
    "packet out of a buffer": (
        PacketOut((Output(2),), b"", 3, 4),
        lambda: p.OFPPacketOut(DP, 4, 3, [their_output(2)]),
    ),
    "flow mod": (OUR_FLOW_MOD, their_flow_mod),
    "group mod": (
        GroupMod(1, 2, 3, (Bucket((Output(1),), 4, 5, 6), Bucket(()))),
        lambda: p.OFPGroupMod(
            DP, 1, 3, 2, [p.OFPBucket(4, 5, 6, [their_output()]), p.OFPBucket(actions=[])]
        ),
    ),
    "port mod": (
        PortMod(1, MAC_NUMBER, 1, 5, 64),
        lambda: p.OFPPortMod(DP, 1, MAC, 1, 5, 64),
    ),
    "meter mod": (
        MeterMod(1, 2, 3, (Band(4, 5), DscpRemarkBand(6, 7, 1), ExperimenterBand(8, 9, 10))),
        lambda: p.OFPMeterMod(
            *(DP, 1, 3, 2),
            [
                p.OFPMeterBandDrop(4, 5),
                p.OFPMeterBandDscpRemark(6, 7, 1),
                p.OFPMeterBandExperimenter(8, 9, 10),
            ],
        ),
    ),
    "table mod": (TableMod(255, 3), lambda: p.OFPTableMod(DP, 255, 3)),
    "barrier": (BarrierRequest(), lambda: p.OFPBarrierRequest(DP)),
    "queue get config": (QueueGetConfigRequest(3), lambda: p.OFPQueueGetConfigRequest(DP, 3)),
    "role": (RoleRequest(2, 1 << 40), lambda: p.OFPRoleRequest(DP, 2, 1 << 40)),
    "get async": (GetAsyncRequest(), lambda: p.OFPGetAsyncRequest(DP)),
    "set async": (
        SetAsync(Told(1, 2, 3), Told(4, 5, 6)),
        lambda: p.OFPSetAsync(DP, [1, 4], [2, 5], [3, 6]),
    ),
    "bundle control": (
        BundleControl(1, 4),
        lambda: p.ONFBundleCtrlMsg(DP, 1, c.ONF_BCT_COMMIT_REQUEST, 3, []),
    ),
    "bundle add": (
        BundleAdd(1, encode(OUR_FLOW_MOD, XID)),
        lambda: p.ONFBundleAddMsg(DP, 1, 3, their_flow_mod(), []),
    ),
    "DESC": (mp.desc_request(), lambda: p.OFPDescStatsRequest(DP)),
    "FLOW": (
        mp.flow_request(mp.FlowQuery(1, OUR_MATCH, 2, 3, 4, 5)),
        lambda: p.OFPFlowStatsRequest(DP, 0, 1, 4, 5, 2, 3, their_match()),
    ),
    "AGGREGATE": (
        mp.aggregate_request(),
        lambda: p.OFPAggregateStatsRequest(
            *(DP, 0, c.OFPTT_ALL, c.OFPP_ANY, c.OFPG_ANY, 0, 0), p.OFPMatch()
        ),
    ),
    "TABLE": (mp.table_request(), lambda: p.OFPTableStatsRequest(DP, 0)),
    "PORT_STATS": (mp.port_stats_request(4), lambda: p.OFPPortStatsRequest(DP, 0, 4)),
    "QUEUE": (
        mp.queue_stats_request(QueueQuery(1, 2)),
        lambda: p.OFPQueueStatsRequest(DP, 0, 1, 2),
    ),
    "GROUP": (mp.group_stats_request(5), lambda: p.OFPGroupStatsRequest(DP, 0, 5)),
    "GROUP_DESC": (mp.group_desc_request(), lambda: p.OFPGroupDescStatsRequest(DP, 0)),
    "GROUP_FEATURES": (mp.group_features_request(), lambda: p.OFPGroupFeaturesStatsRequest(DP, 0)),
    "METER": (mp.meter_stats_request(6), lambda: p.OFPMeterStatsRequest(DP, 0, 6)),
    "METER_CONFIG": (mp.meter_config_request(), lambda: p.OFPMeterConfigStatsRequest(DP, 0)),
    "METER_FEATURES": (mp.meter_features_request(), lambda: p.OFPMeterFeaturesStatsRequest(DP, 0)),
    "TABLE_FEATURES": (mp.table_features_request(), lambda: p.OFPTableFeaturesStatsRequest(DP)),
    "TABLE_FEATURES, to be set": (
        mp.MultipartRequest(MultipartType.TABLE_FEATURES, TablesQuery((OUR_TABLE,)), more=True),
        lambda: p.OFPTableFeaturesStatsRequest(DP, c.OFPMPF_REQ_MORE, [their_table()]),
    ),
    "PORT_DESC": (mp.port_desc_request(), lambda: p.OFPPortDescStatsRequest(DP, 0)),
    "EXPERIMENTER": (
        mp.MultipartRequest(MultipartType.EXPERIMENTER, RawEntry(b"\0\0\x23\x20\0\0\0\x63data")),
        lambda: p.OFPExperimenterStatsRequest(DP, 0, 0x2320, 99, b"data"),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), SAID.values(), ids=SAID)
def test_both_say_the_same(ours: Message, theirs: Callable[[], Any]) -> None:
    data = osken.encode(theirs(), XID)
    assert encode(ours, XID).hex(" ", 4) == data.hex(" ", 4)
    assert decode_untrusted(data) == (XID, ours)


BOTH_READ = ("echo request", "echo reply", "error", "experimenter", "flow mod")


@pytest.mark.parametrize("name", [*BOTH_READ, "bundle control", "bundle add"])
def test_os_ken_reads_and_writes_our_bytes(name: str) -> None:
    data = encode(SAID[name][0], XID)
    assert osken.encode(osken.decode(data), XID).hex(" ", 4) == data.hex(" ", 4)


# --- where os-ken differs -----------------------------------------------------------------------

# Extensions that os-ken has no names for; it takes them for an experimenter's and leaves them be.
PASSED_THROUGH = [CancelMonitor(1), MonitorPaused(), MonitorResumed()]


@pytest.mark.parametrize("ours", PASSED_THROUGH, ids=lambda m: type(m).__name__)
def test_os_ken_passes_flow_monitors_through(ours: Message) -> None:
    theirs = osken.decode(encode(ours, XID))
    assert type(theirs) is p.OFPExperimenter
    assert osken.encode(theirs, XID) == encode(ours, XID)


def test_os_ken_leaves_out_the_head_of_a_monitors_match() -> None:
    """It writes the fields alone. Open vSwitch wants a whole ofp_match, as our other tests show."""
    theirs = p.ONFFlowMonitorStatsRequest(DP, 0, [p.ONFFlowMonitorRequest(1, 2, their_match())])
    with_length_4_less = osken.encode(theirs, XID)
    ours = encode(mp.monitor_request(FlowMonitor(1, 2, OUR_MATCH)), XID)
    head = OUR_MATCH.wire[:4]
    without_head = ours.replace(head, b"")
    start = ours.index(head) - 10  # flags, length of the match, port, table
    assert with_length_4_less[8:start] == without_head[8:start]
    assert with_length_4_less.rstrip(b"\0").endswith(OUR_MATCH.wire[4:].rstrip(b"\0"))


def test_an_empty_element_of_a_greeting_holds_os_ken_for_ever() -> None:
    """The same bytes are an error to us."""
    data = bytes.fromhex("0400 000c 00000007 0009 0000")
    with pytest.raises(osken.EndlessError):
        osken.decode(data)


def test_os_ken_writes_no_elements_into_a_greeting() -> None:
    """Its versions are in the header alone; we take the greeting as that of a 1.3 peer."""
    theirs = p.OFPHello(DP, [p.OFPHelloElemVersionBitmap([4])])
    xid, ours = decode_untrusted(osken.encode(theirs, XID))
    assert (xid, ours) == (XID, Hello(4, ()))
    connection = Connection()
    assert connection.receive_data(encode(ours, XID)) == [Negotiated(4)]


def test_os_ken_skips_other_elements_of_a_greeting() -> None:
    bitmap = (1 << 4).to_bytes(4, "big")
    ours = Hello(4, (HelloElement(9, b"1234"), HelloElement(1, bitmap)))
    (element,) = osken.decode(encode(ours, XID)).elements
    assert element.versions == [4]
