"""What `ovs-testcontroller` of Open vSwitch 3.1 says to a switch, recorded once.

It was started with `-O OpenFlow13 --max-idle=30` and a file with one flow; the switch sent two
packets, the second one to where the first came from, and an echo. The program is no dependency:
its Debian package starts a controller of its own when it is installed.
"""

from __future__ import annotations

import pytest

from privacy_router.openflow import (
    ApplyActions,
    FlowMod,
    FlowOptions,
    Hello,
    Match,
    Message,
    Output,
    PacketOut,
    PortNumber,
    SetConfig,
    SetNwTtl,
    decode_untrusted,
    encode,
    to_controller,
)
from privacy_router.openflow.messages import EchoReply, FeaturesRequest

ONE, TWO = "0a0000000001", "0a0000000002"
PAYLOAD = "0800" + "00" * 46
LEARNED = Match(
    in_port=2,
    eth_src="0a:00:00:00:00:02",
    eth_dst="0a:00:00:00:00:01",
    eth_type=0x800,
    vlan_vid=0,
    ipv4_src=0,
    ipv4_dst=0,
    ip_dscp=0,
    ip_proto=0,
)

SAID: list[tuple[str, Message, str]] = [
    ("hello", Hello(), "04000010 00000001 0001000800000010"),
    ("features", FeaturesRequest(), "04050008 00000002"),
    ("configuration", SetConfig(0, 128), "0409000c 00000003 00000080"),
    (
        "flow for unknown packets",
        FlowMod(Match(), (ApplyActions((to_controller(128),)),), priority=0),
        (
            "040e0050 00000004 000000000000000000000000000000000000000000000000"
            "ffffffffffffffffffffffff00000000 0001000400000000"
            "0004001800000000 00000010fffffffd0080000000000000"
        ),
    ),
    (
        "flow of the file",
        FlowMod(
            Match(eth_type=0x800, ip_proto=6, tcp_dst=443),
            (ApplyActions((SetNwTtl(64), Output(2))),),
            table_id=1,
            priority=7,
        ),
        (
            "040e0068 00000005 000000000000000000000000000000000100000000000007"
            "ffffffffffffffffffffffff00000000 00010015 80000a020800 8000140106 80001c0201bb 000000"
            "0004002000000000 0017000840000000 00000010000000020000000000000000"
        ),
    ),
    (
        "flood of a packet",
        PacketOut(
            (Output(PortNumber.FLOOD),), bytes.fromhex("ffffffffffff" + ONE + PAYLOAD), in_port=1
        ),
        "040d0064 00000006 ffffffff000000010010000000000000"
        "00000010fffffffb0000000000000000 ffffffffffff" + ONE + PAYLOAD,
    ),
    (
        "flow that was learned",
        FlowMod(
            LEARNED,
            (ApplyActions((Output(1),)),),
            priority=1,
            options=FlowOptions(idle_timeout_s=30, out_group=0),
        ),
        (
            "040e0090 00000007 000000000000000000000000000000000000001e00000001"
            "ffffffffffffffff0000000000000000 00010046"
            "80000004 00000002 80000806 0a0000000002 80000606 0a0000000001 80000a02 0800"
            "80000c02 0000 80001604 00000000 80001804 00000000 80001001 00 80001401 00 0000"
            "0004001800000000 00000010000000010000000000000000"
        ),
    ),
    (
        "packet to where it belongs",
        PacketOut((Output(1),), bytes.fromhex(ONE + TWO + PAYLOAD), in_port=2),
        "040d0064 00000008 ffffffff000000020010000000000000"
        "00000010000000010000000000000000" + ONE + TWO + PAYLOAD,
    ),
    ("echo", EchoReply(b"hello?"), "0403000e 00000004 68656c6c6f3f"),
]


@pytest.mark.parametrize(("message", "wire"), [s[1:] for s in SAID], ids=[s[0] for s in SAID])
def test_what_it_says_is_what_we_would_say(message: Message, wire: str) -> None:
    data = bytes.fromhex(wire)
    xid, heard = decode_untrusted(data)
    assert heard == message
    assert encode(heard, xid).hex(" ", 4) == data.hex(" ", 4)
