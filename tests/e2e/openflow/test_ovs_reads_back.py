"""What we install is what a real Open vSwitch has, and says in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    Bucket,
    Clone,
    Conjunction,
    Ct,
    DecMplsTtl,
    FlowMod,
    FlowModFlag,
    FlowOptions,
    GotoTable,
    Group,
    GroupMod,
    GroupType,
    Learn,
    Match,
    Meter,
    MeterMod,
    Nat,
    Output,
    PortNumber,
    PushMpls,
    SendToController,
    SetMplsTtl,
    SetNwTtl,
    format_flow,
    format_match,
    set_field,
)
from tests.e2e.openflow.private_ovs import ADDRESS, ICMPV6, INSTRUCTIONS, IPV4, IPV6, TCP, UDP, Ovs

if TYPE_CHECKING:
    from privacy_router.openflow.channel import Channel
    from privacy_router.openflow.instructions import Instruction

pytestmark = pytest.mark.e2e


async def test_the_switch_introduces_itself(channel: Channel) -> None:
    assert (await channel.features()).tables == 254
    ports = {port.name: port.number for port in await channel.dump_ports()}
    assert ports == {"br0": PortNumber.LOCAL, "p1": 1, "p2": 2}
    assert {stats.port for stats in await channel.port_stats()} == set(ports.values())


# What is matched on, and how ovs-ofctl puts it.
MATCHES = [
    ({}, ""),
    ({"in_port": 1}, "in_port=1"),
    ({"in_port": "LOCAL"}, "in_port=LOCAL"),
    (
        {
            "in_port": 1,
            "eth_src": "aa:bb:cc:00:00:01",
            "eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00",
        },
        "in_port=1,dl_src=aa:bb:cc:00:00:01,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    ),
    ({"eth_type": 0x88CC}, "dl_type=0x88cc"),
    ({"vlan_vid": 0}, "vlan_tci=0x0000/0x1fff"),
    ({"vlan_vid": (0x1000, 0x1000)}, "vlan_tci=0x1000/0x1000"),
    ({"vlan_vid": 0x1005, "vlan_pcp": 3}, "dl_vlan=5,dl_vlan_pcp=3"),
    (
        {**IPV4, "ipv4_src": "10.0.0.0/8", "ipv4_dst": "10.0.0.1"},
        "ip,nw_src=10.0.0.0/8,nw_dst=10.0.0.1",
    ),
    ({**IPV4, "ipv4_dst": ("10.0.0.1", "255.0.0.255")}, "ip,nw_dst=10.0.0.1/255.0.0.255"),
    *(
        ({**IPV4, "ip_frag": f}, f"ip,nw_frag={f}")
        for f in ("no", "yes", "first", "later", "not_later")
    ),
    ({**IPV6, "ip_frag": "yes"}, "ipv6,nw_frag=yes"),
    ({**IPV4, "nw_ttl": 0}, "ip,nw_ttl=0"),
    ({**IPV6, "nw_ttl": 1}, "ipv6,nw_ttl=1"),
    ({**IPV4, "ip_dscp": 5, "ip_ecn": 2}, "ip,nw_tos=20,nw_ecn=2"),
    ({**IPV4, "ip_proto": 47}, "ip,nw_proto=47"),
    ({**TCP, "tcp_src": (0x1000, 0xF000), "tcp_dst": 80}, "tcp,tp_src=0x1000/0xf000,tp_dst=80"),
    ({**TCP, "tcp_flags": 0}, "tcp,tcp_flags=0"),
    ({**TCP, "tcp_flags": "fin|psh|urg"}, "tcp,tcp_flags=fin|psh|urg"),
    ({**TCP, "tcp_flags": "+syn-ack"}, "tcp,tcp_flags=+syn-ack"),
    ({**IPV6, "ip_proto": 6, "tcp_flags": "+syn+fin"}, "tcp6,tcp_flags=+fin+syn"),
    (
        {
            **IPV6,
            "ip_proto": 6,
            "tcp_dst": 443,
            "ipv6_dst": "2001:db8::/32",
            "ipv6_src": "2001:db8::1",
        },
        "tcp6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::/32,tp_dst=443",
    ),
    ({**UDP, "udp_src": 67, "udp_dst": 68}, "udp,tp_src=67,tp_dst=68"),
    ({**IPV4, "ip_proto": 132, "sctp_dst": 5}, "sctp,tp_dst=5"),
    ({**IPV4, "ip_proto": 1, "icmpv4_type": 8, "icmpv4_code": 0}, "icmp,icmp_type=8,icmp_code=0"),
    ({**ICMPV6, "icmpv6_type": 134}, "icmp6,icmp_type=134"),
    (
        {**ICMPV6, "icmpv6_type": 135, "icmpv6_code": 0, "ipv6_nd_target": "fe80::1"},
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1",
    ),
    (
        {**ICMPV6, "icmpv6_type": 136, "icmpv6_code": 0, "ipv6_nd_tll": "aa:bb:cc:dd:ee:ff"},
        "icmp6,icmp_type=136,icmp_code=0,nd_tll=aa:bb:cc:dd:ee:ff",
    ),
    ({**IPV6, "ipv6_flabel": 5}, "ipv6,ipv6_label=0x00005"),
    (
        {"eth_type": 0x806, "arp_op": 1, "arp_spa": "10.0.0.1", "arp_tpa": "10.0.0.0/8"},
        "arp,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/8,arp_op=1",
    ),
    ({"eth_type": 0x806, "arp_sha": 1, "arp_tha": 0}, None),
    ({"eth_type": 0x8847, "mpls_label": 5, "mpls_tc": 1, "mpls_bos": 1}, None),
    ({"tun_id": (5, 0xF)}, "tun_id=0x5/0xf"),
    ({"tun_src": "10.0.0.1"}, "tun_src=10.0.0.1"),
    ({f"reg{n}": n for n in range(16)}, None),
    ({"reg3": (1, 1)}, "reg3=0x1/0x1"),
    ({"xreg1": 5}, "reg2=0,reg3=0x5"),
    ({"xxreg1": (1 << 100, 1 << 100)}, "reg4=0x10/0x10"),
    ({"pkt_mark": (5, 0xF)}, "pkt_mark=0x5/0xf"),
    ({"ct_state": "+trk-new-inv"}, "ct_state=-new-inv+trk"),
    ({"ct_state": 0x22}, "ct_state=est|trk"),
    ({"ct_zone": 5, "ct_mark": (1, 3), "ct_label": 1 << 127}, None),
    ({"metadata": (0x10, 0xF0)}, "metadata=0x10/0xf0"),
    ({"conj_id": 7}, "conj_id=7"),
]


@pytest.mark.parametrize(
    ("fields", "words"), MATCHES, ids=lambda v: v if isinstance(v, str) else None
)
async def test_a_match_reads_back_as_it_was_meant(
    ovs: Ovs, channel: Channel, fields: dict[str, Any], words: str | None
) -> None:
    match = Match(**fields)
    await channel.apply_bundle([FlowMod(match, priority=7)])
    (observed,) = await channel.dump_flows()
    assert observed.match == match
    assert observed.match.wire == match.wire  # our order is the switch's
    if words is not None:
        expected = f"priority=7,{words}" if words else "priority=7"
        assert ovs.dump() == [f"{expected} actions=drop"]
        if "ipv6_label" not in words:
            assert format_match(observed.match) == words


@pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=str)
async def test_what_a_flow_does_reads_back_as_it_was_meant(
    channel: Channel, instructions: tuple[Instruction, ...]
) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    group = GroupMod(0, 5, GroupType.ALL, (Bucket((Output(1),)),))
    flow = FlowMod(
        Match(**TCP),
        instructions,
        0,
        100,
        0x5052 << 48,
        options=FlowOptions(flags=FlowModFlag.SEND_FLOW_REM),
    )
    await channel.apply_bundle([group, flow])
    (observed,) = await channel.dump_flows()
    assert observed.key() == flow.key()
    assert observed.content() == flow.content()


async def test_flows_are_worded_as_ovs_ofctl_words_them(ovs: Ovs, channel: Channel) -> None:
    flows = [
        FlowMod(Match(in_port=1, **IPV4), (ApplyActions((SetNwTtl(64), Output(2))),), 0, 100),
        FlowMod(Match(**IPV4, ipv4_dst="10.0.0.0/24"), (GotoTable(3),), 0, 101, 0x5052),
        FlowMod(
            Match(), (), 3, 0, options=FlowOptions(idle_timeout_s=5, hard_timeout_s=6, flags=1)
        ),
        FlowMod(Match(**TCP), (ApplyActions((set_field("ipv4_dst", "10.0.0.1"), Group(1))),), 4),
        FlowMod(Match(**UDP), (Meter(1), GotoTable(9)), 4),
        FlowMod(Match(**TCP), (ApplyActions((Ct(1, 5, 6, (Nat(1, ADDRESS),)),)),), 5),
        FlowMod(Match(**TCP), (ApplyActions((PushMpls(), SetMplsTtl(9), DecMplsTtl())),), 6),
        FlowMod(
            Match(**TCP),
            (
                ApplyActions(
                    (
                        SendToController(128, 3, 2, b"abc", pause=True, meter_id=1),
                        SendToController(8),
                    )
                ),
            ),
            7,
        ),
    ]
    await channel.apply([MeterMod(0, 1, bands=(Band(100),))])
    await channel.apply_bundle([GroupMod(0, 1), *flows])
    assert sorted(map(words_of, map(format_flow, flows))) == sorted(map(words_of, ovs.dump()))


def words_of(line: str) -> list[str]:
    """The parts of a flow; ovs-ofctl leaves out what is zero or the default."""
    parts = line.replace("priority=32768,", "").split()
    return [p for p in (p.strip(",") for p in parts) if p not in ("cookie=0x0", "table=0")]


async def test_flows_are_found_by_cookie_and_table(channel: Channel) -> None:
    ours, others = 0x5052 << 48, 7
    flows = [
        FlowMod(Match(in_port=n), (), n % 2, cookie=(ours | n) if n < 4 else others)
        for n in range(6)
    ]
    await channel.apply_bundle(flows)
    found = await channel.dump_flows(cookie=ours, cookie_mask=0xFFFF << 48)
    assert sorted(flow.cookie & 0xFF for flow in found) == [0, 1, 2, 3]
    assert {flow.table_id for flow in await channel.dump_flows(1)} == {1}
    assert len(await channel.dump_flows(match=Match(in_port=3))) == 1


async def test_flows_that_others_made_are_understood(ovs: Ovs, channel: Channel) -> None:
    words = (
        "learn(table=1,hard_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
        "load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15])"
    )
    ovs.ofctl("add-flow", f"in_port=1,actions={words}")
    ovs.ofctl("add-flow", "in_port=2,actions=conjunction(7,1/2),conjunction(9,2/3)")
    ovs.ofctl("add-flow", "in_port=3,actions=clone(output:1)")
    flows = {flow.match.value("in_port"): flow for flow in await channel.dump_flows()}
    kinds = {
        port: [
            type(action)
            for part in flow.instructions
            if isinstance(part, ApplyActions)
            for action in part.actions
        ]
        for port, flow in flows.items()
    }
    assert kinds == {1: [Learn], 2: [Conjunction] * 2, 3: [Clone]}
    again = [FlowMod(flow.match, flow.instructions) for flow in flows.values()]
    assert not await channel.compare_flows(again)
