"""Flows in the words of ovs-ofctl."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from privacy_router.openflow import (
    Action,
    ApplyActions,
    ClearActions,
    Clone,
    Conjunction,
    CopyTtlIn,
    CopyTtlOut,
    Ct,
    DecMplsTtl,
    DecNwTtl,
    FlowMod,
    FlowOptions,
    GotoTable,
    Group,
    Learn,
    Learned,
    Load,
    Match,
    Meter,
    Move,
    Nat,
    Note,
    Output,
    PopMpls,
    PopPbb,
    PortNumber,
    PushMpls,
    PushPbb,
    Resubmit,
    SendToController,
    SetFieldMasked,
    SetMplsTtl,
    SetNwTtl,
    WriteActions,
    WriteMetadata,
    format_actions,
    format_flow,
    format_instructions,
    format_match,
    set_field,
    to_controller,
)

PORTS = {3: "internal_100", 4: "warp0"}
TABLES = {0: "classify", 3: "privacy"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"in_port": 3, "eth_type": 0x806}, "arp,in_port=internal_100"),
        ({"in_port": 9}, "in_port=9"),
        ({"in_port": "LOCAL"}, "in_port=LOCAL"),
        (
            {"eth_type": 0x800, "ip_proto": 6, "tcp_dst": 80, "ipv4_dst": "10.0.0.0/24"},
            "tcp,nw_dst=10.0.0.0/24,tp_dst=80",
        ),
        ({"eth_type": 0x800, "ip_proto": 47}, "ip,nw_proto=47"),
        ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 134}, "icmp6,icmp_type=134"),
        ({"eth_type": 0x88CC}, "dl_type=0x88cc"),
        ({"eth_type": 0x800, "ip_frag": "later"}, "ip,nw_frag=later"),
        (
            {"eth_type": 0x800, "ipv4_dst": ("10.0.0.1", "255.0.0.255")},
            "ip,nw_dst=10.0.0.1/255.0.0.255",
        ),
        (
            {"eth_type": 0x800, "ip_proto": 6, "tcp_flags": "+syn-ack", "ct_state": "+trk-inv"},
            "ct_state=-inv+trk,tcp,tcp_flags=+syn-ack",
        ),
        ({"vlan_vid": 0x1005, "vlan_pcp": 2}, "dl_vlan=5,dl_vlan_pcp=2"),
        ({"vlan_vid": 0}, "vlan_tci=0x0000/0x1fff"),
        (
            {"eth_src": "aa:bb:cc:00:00:00/ff:ff:ff:00:00:00"},
            "dl_src=aa:bb:cc:00:00:00/ff:ff:ff:00:00:00",
        ),
        ({"metadata": (0x10, 0xF0), "reg0": 0}, "reg0=0,metadata=0x10/0xf0"),
        ({"eth_type": 0x800, "ip_dscp": 10}, "ip,nw_tos=40"),
        ({"eth_type": 0x86DD, "ipv6_src": "::ffff:1.2.3.4"}, "ipv6,ipv6_src=::ffff:102:304"),
        ({"eth_type": 0x86DD, "ipv6_src": "::ffff:0:0/96"}, "ipv6,ipv6_src=::ffff:0:0/96"),
    ],
)
def test_matches(fields: dict[str, Any], text: str) -> None:
    assert format_match(Match(**fields), port_name=PORTS.get) == text


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Output(4), "output:warp0"),
        (Output(7), "output:7"),
        (Output(PortNumber.IN_PORT), "IN_PORT"),
        (to_controller(128), "CONTROLLER:128"),
        (Group(5), "group:5"),
        (SetNwTtl(64), "mod_nw_ttl:64"),
        (set_field("ipv4_dst", "10.0.0.1"), "set_field:10.0.0.1->ip_dst"),
        (SetFieldMasked("reg0", 1, 3), "set_field:0x1/0x3->reg0"),
        (Load("reg0", 5, 16), "load:0x5->reg0[0..15]"),
        (Load("reg0", 1, 1, 4), "load:0x1->reg0[4]"),
        (Move("eth_src", "eth_dst", 48), "move:eth_src[0..47]->eth_dst[0..47]"),
        (Resubmit(3), "resubmit(,privacy)"),
        (Note(b"\1"), "note:01.00.00.00.00.00"),
        (Ct(), "ct"),
        (Conjunction(7, 0, 2), "conjunction(7,1/2)"),
        (Clone((DecNwTtl(), Output(4))), "clone(dec_ttl,output:warp0)"),
        (PushMpls(), "push_mpls:0x8847"),
        (PopMpls(0x800), "pop_mpls:0x0800"),
        (SetMplsTtl(64), "set_mpls_ttl(64)"),
        (DecMplsTtl(), "dec_mpls_ttl"),
        (CopyTtlOut(), "copy_ttl_out"),
        (CopyTtlIn(), "copy_ttl_in"),
        (PushPbb(), "push_pbb:0x88e7"),
        (PopPbb(), "pop_pbb"),
        (SendToController(), "CONTROLLER:65535"),
        (SendToController(controller_id=3), "controller(id=3)"),
        (
            SendToController(128, 0, 2, b"ab", pause=True, meter_id=5),
            "controller(reason=invalid_ttl,max_len=128,userdata=61.62,pause,meter_id=5)",
        ),
        (
            Learn(3, (Learned(48, "eth_src", "eth_dst"), Learned(16, "reg0", None, 16))),
            "learn(table=privacy,eth_dst[0..47]=eth_src[0..47],output:reg0[16..31])",
        ),
        (
            Learn(0, (Learned(8, 5, "reg1", 0, 4, loads=True),), 7, 9, 30, 60, 1),
            (
                "learn(table=classify,idle_timeout=30,hard_timeout=60,priority=7,send_flow_rem,"
                "cookie=0x9,load:0x5->reg1[4..11])"
            ),
        ),
        (
            Ct(1, 5, 3, (Nat(1, ipaddress.ip_address("10.0.0.1")), set_field("ct_mark", 1))),
            "ct(commit,table=privacy,zone=5,nat(src=10.0.0.1),exec(set_field:0x1->ct_mark))",
        ),
        (Nat(2, ipaddress.ip_address("fd00::1"), None, 80), "nat(dst=[fd00::1]:80)"),
    ],
)
def test_actions(action: Action, text: str) -> None:
    assert format_actions([action], PORTS.get, TABLES.get) == text


def test_instructions_stand_in_the_order_in_which_they_are_carried_out() -> None:
    instructions = [
        GotoTable(3),
        WriteMetadata(1, 3),
        ClearActions(),
        WriteActions((Output(4),)),
        ApplyActions((DecNwTtl(),)),
        Meter(1),
    ]
    assert format_instructions(instructions, PORTS.get, TABLES.get) == (
        "meter:1,dec_ttl,clear_actions,write_actions(output:warp0),"
        "write_metadata:0x1/0x3,goto_table:privacy"
    )


def test_flows() -> None:
    flow = FlowMod(
        Match(in_port=3), (GotoTable(3),), cookie=0x5052, priority=100, options=FlowOptions(flags=1)
    )
    assert format_flow(flow, PORTS.get, TABLES.get) == (
        "cookie=0x5052, table=classify, send_flow_rem, "
        "priority=100,in_port=internal_100 actions=goto_table:privacy"
    )
    assert format_flow(FlowMod()) == "cookie=0x0, table=0, priority=32768 actions=drop"
