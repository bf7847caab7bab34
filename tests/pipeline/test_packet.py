"""Packets as people write them: what they mean, what is usual, and why others are refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode
from privacy_router.openflow import PortNumber
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.notation import format_value
from privacy_router.pipeline.trace.packet import (
    PacketError,
    format_packet,
    parse_packet,
    read_fields_untrusted,
    with_defaults,
)

PORTS = {"internal_100": 5, "warp0": 2}
IPV4, IPV6, ARP = {"eth_type": 0x0800}, {"eth_type": 0x86DD}, {"eth_type": 0x0806}
TCP, UDP, ICMPV6 = {**IPV4, "ip_proto": 6}, {**IPV4, "ip_proto": 17}, {**IPV6, "ip_proto": 58}
SOURCE, TARGET = int(IPv4Address("10.101.0.2")), int(IPv4Address("198.18.0.1"))

PACKETS = {
    "in_port=internal_100,tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443,nw_ttl=64": {
        **TCP, "in_port": 5, "ipv4_src": SOURCE, "ipv4_dst": TARGET, "tcp_dst": 443, "nw_ttl": 64,
    },
    "in_port=2 udp tp_src=53": {**UDP, "in_port": 2, "udp_src": 53},
    "in_port=2,nw_src=10.101.0.2,udp_dst=53": {
        **UDP, "in_port": 2, "ipv4_src": SOURCE, "udp_dst": 53,
    },
    "in_port=LOCAL,icmp,icmp_type=8,icmp_code=0": {
        **IPV4, "ip_proto": 1, "in_port": PortNumber.LOCAL, "icmpv4_type": 8, "icmpv4_code": 0,
    },
    "in_port=1,icmp6,icmp_type=135,nd_target=fd00::9,nd_sll=aa:bb:cc:00:00:01": {
        **ICMPV6, "in_port": 1, "icmpv6_type": 135, "ipv6_nd_sll": 0xAABBCC000001,
        "ipv6_nd_target": int(IPv6Address("fd00::9")),
    },
    "in_port=1,tcp6,tcp_flags=syn|ack": {**IPV6, "ip_proto": 6, "in_port": 1, "tcp_flags": 0x12},
    "in_port=1,arp,arp_op=1,dl_src=00:00:00:00:00:07": {
        **ARP, "in_port": 1, "arp_op": 1, "eth_src": 7,
    },
    "in_port=1,ip,dl_vlan=5,nw_tos=184,nw_frag=later": {
        **IPV4, "in_port": 1, "vlan_vid": 0x1005, "ip_dscp": 46, "ip_frag": 3,
    },
    "in_port=1,dl_type=0x88cc": {"eth_type": 0x88CC, "in_port": 1},
}  # fmt: skip


@pytest.mark.parametrize("text", PACKETS)
def test_a_packet_means_what_it_says_and_what_that_implies(text: str) -> None:
    assert parse_packet(text, PORTS.get) == PACKETS[text]


@pytest.mark.parametrize("text", PACKETS)
def test_what_is_written_for_the_switch_reads_back(text: str) -> None:
    packet = parse_packet(text, PORTS.get)
    assert parse_packet(format_packet(packet)) == packet
    assert read_fields_untrusted(format_packet(packet)) == packet


def test_the_switch_is_told_numbers_and_names_that_ofproto_trace_knows() -> None:
    text = "in_port=internal_100,udp,nw_src=10.101.0.2,tp_dst=53"
    assert format_packet(parse_packet(text, PORTS.get)) == (
        "in_port=5,udp,nw_src=10.101.0.2,udp_dst=53"
    )


REFUSED = {
    "tcp,nw_dst=1.2.3.4": "which port",
    "in_port=warp9,tcp": "no such port",
    "in_port=1,tpc": "no protocol tpc",
    "in_port=1,nw_dts=1.2.3.4": "no match field nw_dts",
    "in_port=1,tp_dst=443": "unknown protocol",
    "in_port=1,tcp_dst=443": "IPv4 or IPv6",
    "in_port=1,tcp,udp": "nw_proto is tcp and udp",
    "in_port=1,tcp,ipv6_dst=fd00::1": "ipv6_dst=fd00::1 needs eth_type ipv6",
    "in_port=1,ip,nw_dst=10.0.0.0/8": "mask",
    "in_port=1,in_port=2": "in_port is 1 and 2",
    "in_port=1,tcp,tp_dst=65536": "no value of tp_dst",
    "in_port=1,reg0=1": "pipeline's own",
    "in_port=1,ip,ct_state=0x21": "without a connection state",
    "in_port=1,ip,nw_frag=yes": "mask",
    "in_port=1,ip,nw_frag=2": "fragment",
    "in_port=1,tcp,nw_frag=later,tp_dst=443": "carries no tcp_dst",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_packet_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(PacketError, match=REFUSED[text]) as caught:
        parse_packet(text, PORTS.get)
    assert caught.value.remedy
    assert caught.value.exit_code == ExitCode.INVALID_CONFIG


@pytest.mark.parametrize(
    ("text", "begins", "usual"),
    [
        ("tcp", True, {"nw_ttl": 64, "tcp_flags": 0x002}),
        ("tcp", False, {"nw_ttl": 64, "tcp_flags": 0x010}),
        ("tcp,nw_ttl=3,tcp_flags=0", True, {"nw_ttl": 3, "tcp_flags": 0}),
        ("tcp,nw_frag=later", True, {"nw_ttl": 64, "tcp_flags": None}),
        ("udp6", True, {"nw_ttl": 64, "tcp_flags": None}),
        ("icmp6,icmp_type=128", True, {"nw_ttl": 64}),
        ("icmp6,icmp_type=135", True, {"nw_ttl": 255}),
        ("arp", True, {"nw_ttl": None}),
        ("arp,dl_src=00:00:00:00:00:07", True, {"eth_src": 7}),
    ],
)
def test_what_nobody_cares_to_write_is_usual(
    text: str, begins: bool, usual: dict[str, int | None]
) -> None:
    said = parse_packet(f"in_port=1,{text}")
    packet = with_defaults(said, source_mac=9, begins=begins)
    expected = {"eth_src": 9, **usual}
    assert {name: packet.get(name) for name in expected} == expected


def test_a_packet_does_not_change() -> None:
    packet = parse_packet("in_port=1,tcp")
    with pytest.raises(TypeError):
        packet["in_port"] = 2  # type: ignore[index]


FREE = ("in_port", "eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "nw_ttl", "tcp_src", "tcp_dst")


@given(st.fixed_dictionaries({name: st.integers(0, (1 << 8) - 1) for name in FREE}))
def test_every_packet_reads_back(numbers: dict[str, int]) -> None:
    packet = {**TCP, **numbers}
    assert parse_packet(format_packet(packet)) == packet


@given(st.text(alphabet="=,/|+-. tcpnwsrdregx0123456789", max_size=60))
def test_no_text_does_harm(text: str) -> None:
    for read in (parse_packet, read_fields_untrusted):
        try:
            packet = read(text)
        except PacketError:
            continue
        assert all(format_value(FIELDS[name], value, None) for name, value in packet.items())


def test_a_flow_that_the_switch_prints_is_read_as_far_as_it_is_known() -> None:
    text = (
        "recirc_id=0x1,ct_state=new|trk,ct_zone=5,ct_nw_src=1.2.3.4,eth,udp,reg0=0x1,in_port=warp0,"
        "vlan_tci=0x0000,dl_src=00:00:00:00:00:01,nw_src=10.101.0.2,nw_tos=20,nw_frag=no,tp_dst=53"
    )
    assert read_fields_untrusted(text, PORTS.get) == {
        **UDP, "ct_state": 0x21, "ct_zone": 5, "reg0": 1, "in_port": 2, "eth_src": 1,
        "ipv4_src": SOURCE, "ip_dscp": 5, "ip_frag": 0, "udp_dst": 53,
    }  # fmt: skip
