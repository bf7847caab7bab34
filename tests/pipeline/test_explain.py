"""Every flow can be said in words: which packets, what becomes of them, who asked for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config import load_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.openflow.actions import DecNwTtl, Group, Output, SetNwTtl, set_field
from privacy_router.openflow.constants import CtFlag, NatFlag, PortNumber
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.instructions import ApplyActions, GotoTable, Meter, WriteMetadata
from privacy_router.openflow.match import Match, MatchItem
from privacy_router.openflow.nicira import Ct, Move, Nat, load
from privacy_router.pipeline.allocation import Layer, Zone
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.explain import explain, fate_in_words, packets_of
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.match_text import enumerate_words, packets_in_words
from privacy_router.pipeline.mesh import expected_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.instructions import Instruction

SEED = Path(__file__).parents[2] / "examples/seed.json"
NAMES = {1: "warp0", 2: "internal_100"}
LOOKED_UP = (
    "are looked up as part of a connection (tracking zone 7), get the addresses that the connection"
    " had at first and go on to the table state"
)
IP, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


def flow(
    instructions: tuple[Instruction, ...] = (),
    origin: str = "openflow.fragments",
    port: int = 0,
    reason: str = "because",
    priority: int = 7,
    **fields: Any,
) -> Flow:
    match = Match(**fields)
    return Flow("ttl", priority, match, instructions, Layer.BASE, origin, reason, port)


def seeds_flows() -> Iterator[tuple[Flow, dict[int, str]]]:
    config = load_document(SEED).config
    hops = CATALOGUE.segment(config)
    ports = expected_ports(config)
    names = {station.ofport: station.port for station in hops.stations}
    names |= {port.ofport: port.name for port in ports.values()}
    for each in Pipeline(config, hops).compile(ports).flows:
        yield each, names


def test_every_flow_of_the_seed_is_said_in_words_alone() -> None:
    told = 0
    for each, names in seeds_flows():
        words = f"{packets_of(each, names)} {fate_in_words(each, names)}"
        for name in names.values():
            words = words.replace(name, "")
        assert not re.search(r"[_=\[]|->|undergo|reg\d|(?:from|by) port \d", words), words
        sentences = explain(each, names)
        reason = each.reason.rpartition(": ")[2].removeprefix(f"{names.get(each.port)} ")
        assert reason in sentences
        assert sentences[0].isupper()
        assert sentences.endswith(".")
        told += 1
    assert told > 100


def test_a_drop_says_that_it_is_one_and_nothing_else_does() -> None:
    for each, names in seeds_flows():
        assert ("are dropped" in fate_in_words(each, names)) == (each.instructions == ())


# --- which packets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "packets"),
        (
            {"eth_type": IP, "ip_proto": TCP, "in_port": 2, "tcp_flags": "+syn-ack"},
            "TCP packets over IPv4 from internal_100 with SYN and without ACK",
        ),
        (
            {"eth_type": IP, "ip_proto": TCP, "tcp_flags": "-fin-syn-rst-psh-ack-urg"},
            "TCP packets over IPv4 without any flag",
        ),
        (
            {"eth_type": IPV6, "ip_proto": TCP, "tcp_flags": "+fin+psh+urg"},
            "TCP packets over IPv6 with FIN, PSH and URG",
        ),
        ({"eth_type": IP, "ip_proto": TCP, "tcp_flags": 2}, "TCP packets over IPv4 with SYN alone"),
        ({"eth_type": IP, "ipv4_dst": "10.101.0.0/24"}, "IPv4 packets to 10.101.0.0/24"),
        (
            {"eth_type": IP, "ipv4_src": "10.101.0.0/24"},
            "IPv4 packets with a source address in 10.101.0.0/24",
        ),
        (
            {"eth_type": IP, "ip_proto": UDP, "udp_src": 67, "udp_dst": 68},
            "UDP packets over IPv4 to port 68 with the source port 67",
        ),
        ({"eth_type": IP, "nw_ttl": 1}, "IPv4 packets with TTL 1"),
        ({"eth_type": IPV6, "nw_ttl": 1}, "IPv6 packets with hop limit 1"),
        ({"eth_type": IP, "ip_frag": "yes"}, "IPv4 packets that are fragments"),
        ({"reg0": 2, "ct_state": "+new+trk"}, "packets on the mesh of a new connection"),
        ({"ct_state": "+inv+trk"}, "packets that fit no connection"),
        ({"ct_state": "+snat"}, "packets with the connection state +snat"),
        ({"in_port": 9}, "packets from port 9"),
        ({"in_port": "LOCAL"}, "packets from LOCAL"),
        (
            {"eth_src": ("01:00:00:00:00:00", "01:00:00:00:00:00")},
            "packets whose source MAC is a group's",
        ),
        (
            {"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02"},
            "packets to the MAC 02:00:00:00:00:02 with the source MAC 02:00:00:00:00:01",
        ),
        ({"eth_type": ARP, "arp_op": 1, "arp_tpa": "10.0.0.1"}, "ARP requests about 10.0.0.1"),
        ({"eth_type": IP, "ip_proto": ICMP, "icmpv4_type": 5}, "ICMP redirects"),
        (
            {"eth_type": IPV6, "ip_proto": ICMPV6, "icmpv6_type": 136, "ipv6_nd_tll": 0},
            "IPv6 neighbour advertisements with no neighbour's MAC",
        ),
        (
            {"eth_type": IPV6, "ip_proto": ICMPV6, "icmpv6_type": 135, "ipv6_nd_target": "fd00::1"},
            "IPv6 neighbour solicitations about fd00::1",
        ),
        (
            {"eth_type": IP, "ip_proto": ICMP, "icmpv4_type": 77},
            "ICMP packets with the ICMP type 77",
        ),
        ({"eth_type": IP, "ip_proto": 47}, "IPv4 packets with the IP protocol 47"),
        ({"eth_type": 0x88CC}, "packets with EtherType 0x88cc"),
        ({"eth_type": IP, "ip_dscp": 46}, "IPv4 packets with DSCP 46"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_packets_in_words(fields: dict[str, Any], words: str) -> None:
    assert packets_in_words(Match(**fields), NAMES) == words


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_every_field_has_words(name: str, masked: bool) -> None:
    item = MatchItem(FIELDS[name], 1, 1 if masked else None)
    words = packets_in_words(Match.of_items([item]), NAMES)
    assert words.startswith("packets "), words
    assert "_" not in words.replace("internal_100", "")


def test_what_no_other_flow_wants() -> None:
    assert packets_of(flow(priority=0), NAMES) == "packets that no other flow of this table wants"
    assert packets_of(flow(priority=1), NAMES) == "all packets"


# --- what becomes of them ------------------------------------------------------------------------


def does(*actions: Action) -> tuple[Instruction, ...]:
    return (ApplyActions(actions),)


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        ((), "are dropped"),
        (does(), "are dropped"),
        (does(set_field("nw_ttl", 3)), "get TTL 3 and are dropped"),
        (does(Output(1)), "leave by warp0"),
        (does(Output(5)), "leave by port 5"),
        (does(Output(PortNumber.IN_PORT)), "go back to where they came from"),
        (does(Output(PortNumber.CONTROLLER)), "are handed to a controller"),
        (does(Output(PortNumber.NORMAL)), "leave by NORMAL"),
        ((GotoTable(8),), "go on to the table privacy"),
        ((*does(SetNwTtl(64)), GotoTable(8)), "get TTL 64 and go on to the table privacy"),
        (
            (*does(DecNwTtl()), GotoTable(8)),
            "lose one from their TTL and go on to the table privacy",
        ),
        (
            (Meter(9), GotoTable(5)),
            "pass meter 9 (what is above its rate is dropped) and go on to the table conntrack",
        ),
        (
            (*does(load("reg0", Zone.MESH)), GotoTable(2)),
            "are marked as traffic of the mesh and go on to the table security",
        ),
        (
            does(set_field("eth_dst", "02:00:00:00:00:01"), Output(2)),
            "get the destination MAC 02:00:00:00:00:01 and leave by internal_100",
        ),
        (
            does(Ct(zone=7, table_id=6, actions=(Nat(),))),
            LOOKED_UP,
        ),
        (
            does(Ct(CtFlag.COMMIT, zone=7), Output(1)),
            "are remembered as a connection (tracking zone 7) and leave by warp0",
        ),
        (
            does(Ct(CtFlag.COMMIT, 7)),
            "are remembered as a connection (tracking zone 7) and are dropped",
        ),
        (
            does(
                Move("arp_spa", "arp_tpa", 32),
                set_field("arp_op", 2),
                set_field("arp_spa", "10.0.0.1"),
                set_field("arp_sha", "02:00:00:00:00:01"),
                Output(1),
            ),
            'become the answer "10.0.0.1 is at 02:00:00:00:00:01" and leave by warp0',
        ),
        (
            does(Move("eth_src", "eth_dst", 48), Output(1)),
            "get their source MAC as destination MAC and leave by warp0",
        ),
        (does(Group(3)), "undergo group:3"),
        ((WriteMetadata(3),), "undergo write_metadata:0x3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fate_in_words(instructions: tuple[Instruction, ...], words: str) -> None:
    assert fate_in_words(flow(instructions, eth_type=IP), NAMES) == words


def test_translation_names_the_new_address() -> None:
    from ipaddress import IPv4Address

    to = Nat(NatFlag.DST, IPv4Address("10.0.0.9"))
    words = fate_in_words(flow(does(Ct(CtFlag.COMMIT, 7, actions=(to,)), Output(1))), NAMES)
    assert "get the destination address 10.0.0.9" in words


# --- why -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("openflow.rates.icmp", "plugins.privacy_router.openflow.rates.icmp asks for it: because."),
        ("pipeline", "The pipeline itself does this: because."),
        ("chain", "The chain of hops asks for it: because."),
        ("derived", "It follows from the chain of hops: because."),
        ("discovery", "It comes with the port internal_100: because."),
        ("", "The configuration does not have this flow."),
    ],
)
def test_who_asked_for_it(origin: str, words: str) -> None:
    told = explain(flow(origin=origin, port=2, in_port=2, reason="internal_100: because"), NAMES)
    assert told == f"Packets from internal_100 are dropped. {words}"


@pytest.mark.parametrize(
    ("parts", "words"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_lists_are_read_aloud(parts: list[str], words: str) -> None:
    assert enumerate_words(parts) == words
