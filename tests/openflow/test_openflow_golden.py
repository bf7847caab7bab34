"""Bytes written out by hand from the specification, against our encoder and decoder."""

from __future__ import annotations

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    Bucket,
    FeaturesReply,
    FlowMod,
    FlowStats,
    GotoTable,
    GroupMod,
    Hello,
    Match,
    Message,
    MeterMod,
    Output,
    PacketIn,
    PortDesc,
    PortStatus,
    SetConfig,
    decode_untrusted,
    encode,
    set_field,
)
from privacy_router.openflow.bundle import BundleAdd, BundleControl
from privacy_router.openflow.messages import (
    BarrierReply,
    BarrierRequest,
    EchoRequest,
    ErrorMessage,
    Experimenter,
    FeaturesRequest,
    GetConfigRequest,
    PacketOut,
)
from privacy_router.openflow.multipart import (
    FlowQuery,
    MultipartReply,
    flow_request,
    port_desc_request,
)

EMPTY_MATCH = "0001 0004 00000000"
ANY = "ffffffff"
PORT = (
    "00000001 00000000 aabbccddeeff 0000"
    + b"warp0".ljust(16, b"\0").hex()
    + "00000000 00000004 00000000 00000000 00000000 00000000 00000000 00000000"
)

GOLDEN: list[tuple[str, Message, str]] = [
    ("hello", Hello(), "04 00 0010 00000007 0001 0008 00000010"),
    ("error", ErrorMessage(4, 9, b"\4\x0e"), "04 01 000e 00000007 0004 0009 040e"),
    (
        "error of an experimenter",
        ErrorMessage(0xFFFF, 2313, b"", 0x4F4E4600),
        "04 01 0010 00000007 ffff 0909 4f4e4600",
    ),
    ("echo", EchoRequest(b"ab"), "04 02 000a 00000007 6162"),
    ("experimenter", Experimenter(0x2320, 5, b"x"), "04 04 0011 00000007 00002320 00000005 78"),
    ("features request", FeaturesRequest(), "04 05 0008 00000007"),
    (
        "features reply",
        FeaturesReply(0xAABBCCDDEEFF, 0, 254, 0, 0x4F),
        "04 06 0020 00000007 0000aabbccddeeff 00000000 fe 00 0000 0000004f 00000000",
    ),
    ("get config", GetConfigRequest(), "04 07 0008 00000007"),
    ("set config", SetConfig(0, 128), "04 09 000c 00000007 0000 0080"),
    (
        "packet in",
        PacketIn(0xFFFFFFFF, 60, 1, 2, 0x5052, Match(in_port=3), b"hi"),
        (
            "04 0a 002c 00000007 ffffffff 003c 01 02 0000000000005052"
            "0001 000c 80000004 00000003 00000000 0000 6869"
        ),
    ),
    (
        "port status",
        PortStatus(2, PortDesc(1, 0xAABBCCDDEEFF, "warp0", state=4)),
        "04 0c 0050 00000007 02 00000000000000" + PORT,
    ),
    (
        "packet out",
        PacketOut((Output(5),), b"hi"),
        (
            "04 0d 002a 00000007 ffffffff fffffffd 0010 000000000000"
            "0000 0010 00000005 0000 000000000000 6869"
        ),
    ),
    (
        "flow mod",
        FlowMod(
            Match(in_port=3, eth_type=0x800, ipv4_dst="10.0.0.0/24"),
            (ApplyActions((set_field("nw_ttl", 64), Output(4))), GotoTable(2)),
            table_id=1,
            priority=100,
            cookie=0x5052,
        ),
        (
            "04 0e 0080 00000007 0000000000005052 0000000000000000 01 00 0000 0000 0064"
            f"{ANY}{ANY}{ANY} 0000 0000"
            "0001 001e 80000004 00000003 80000a02 0800 80001908 0a000000 ffffff00 0000"
            "0004 0028 00000000 0019 0010 00013a01 40 00000000000000"
            "0000 0010 00000004 0000 000000000000"
            "0001 0008 02 000000"
        ),
    ),
    (
        "group mod",
        GroupMod(0, 9, 3, (Bucket((Output(1),), watch_port=1),)),
        (
            "04 0f 0030 00000007 0000 03 00 00000009"
            f"0020 0000 00000001 {ANY} 00000000 0000 0010 00000001 0000 000000000000"
        ),
    ),
    (
        "meter mod",
        MeterMod(0, 5, 0b0110, (Band(100, 10),)),
        "04 1d 0020 00000007 0000 0006 00000005 0001 0010 00000064 0000000a 00000000",
    ),
    ("port desc request", port_desc_request(), "04 12 0010 00000007 000d 0000 00000000"),
    (
        "flow request",
        flow_request(FlowQuery(3, cookie=0x5052 << 48, cookie_mask=0xFFFF << 48)),
        (
            "04 12 0038 00000007 0001 0000 00000000 03 000000"
            f"{ANY}{ANY} 00000000 5052000000000000 ffff000000000000 {EMPTY_MATCH}"
        ),
    ),
    (
        "flow reply",
        MultipartReply(
            1,
            (FlowStats(3, 7, Match(), (GotoTable(4),), 0x5052, 10, 1000, 5, 6, 1, 20, 30),),
            more=True,
        ),
        (
            "04 13 0050 00000007 0001 0001 00000000"
            "0040 03 00 00000014 0000001e 0007 0005 0006 0001 00000000"
            f"0000000000005052 000000000000000a 00000000000003e8 {EMPTY_MATCH} 0001 0008 04 000000"
        ),
    ),
    (
        "port desc reply",
        MultipartReply(13, (PortDesc(1, 0xAABBCCDDEEFF, "warp0", state=4),)),
        "04 13 0050 00000007 000d 0000 00000000" + PORT,
    ),
    ("barrier request", BarrierRequest(), "04 14 0008 00000007"),
    ("barrier reply", BarrierReply(), "04 15 0008 00000007"),
    (
        "bundle control",
        BundleControl(1, 4),
        "04 04 0018 00000007 4f4e4600 000008fc 00000001 0004 0003",
    ),
    (
        "bundle add",
        BundleAdd(1, bytes.fromhex("0414000800000007")),
        "04 04 0020 00000007 4f4e4600 000008fd 00000001 0000 0003 0414000800000007",
    ),
]


@pytest.mark.parametrize(("message", "wire"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN])
def test_golden_bytes(message: Message, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert encode(message, 7).hex(" ", 4) == data.hex(" ", 4)
    assert decode_untrusted(data) == (7, message)
