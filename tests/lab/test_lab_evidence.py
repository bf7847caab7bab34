"""Planted leaks are found, and what the tunnel is supposed to send is not taken for one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.lab import internet
from privacy_router.lab.check import rules_for
from privacy_router.lab.leak_rules import Finding, LinkEvidence, Rules
from tests.lab.lab_frames import ACK, SYN, ethernet, frame, ipv4, tcp, udp

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = b"0123456789abcdef"
CLIENT, CLIENT6 = "198.18.1.2", "2001:db8:1::2"
NODE, NODE6 = "198.18.2.2", "2001:db8:2::2"
WEB, WEB6 = "198.18.100.80", "2001:db8:100::80"
DNS = "198.18.100.53"
WARP, WARP6, API = "198.18.50.2", "2001:db8:50::2", "198.18.50.3"
INNER, INNER6 = "10.101.0.2", "fd70:7276:6174:1::2"
SECRET = bytes(range(160))

RULES = Rules(
    token=TOKEN,
    clients=(ip_network("10.101.0.0/24"), ip_network("fd70:7276:6174:1::/64")),
    askers=frozenset(map(ip_address, (CLIENT, CLIENT6, NODE, NODE6))),
    known=frozenset(map(ip_address, (WARP, WARP6, API, CLIENT, CLIENT6))),
    own=frozenset(map(ip_address, (NODE, NODE6))),
)


def uplink() -> LinkEvidence:
    return LinkEvidence("node-isp", of_isp=True, uplink=True)


def other_isp_link() -> LinkEvidence:
    return LinkEvidence("web-isp", of_isp=True, uplink=False)


def open_link() -> LinkEvidence:
    return LinkEvidence("web-vps", of_isp=False, uplink=False)


CLEARTEXT = {
    "inner source": (frame(INNER, WEB, 17, udp(9, 7)), Finding.CLIENT_ADDRESS),
    "inner destination": (frame(WEB, INNER, 6, tcp(80, 9)), Finding.CLIENT_ADDRESS),
    "inner source 6": (frame(INNER6, WEB6, 17, udp(9, 7)), Finding.CLIENT_ADDRESS),
    "inner ping": (frame(INNER, WEB, 1, bytes(8)), Finding.CLIENT_ADDRESS),
    "inner fragment": (
        ethernet(0x0800, ipv4(INNER, WEB, 17, bytes(8), fragment=9)),
        Finding.CLIENT_ADDRESS,
    ),
    "inner behind vlan": (
        ethernet(0x0800, ipv4(INNER, WEB, 17, udp(9, 7)), 0x8100),
        Finding.CLIENT_ADDRESS,
    ),
    "dns of the client": (frame(CLIENT, DNS, 17, udp(9, 53, SECRET)), Finding.PLAIN_DNS),
    "dns of the node": (frame(NODE, DNS, 17, udp(9, 53, SECRET)), Finding.PLAIN_DNS),
    "dns by tcp": (frame(NODE, DNS, 6, tcp(9, 53, SYN)), Finding.PLAIN_DNS),
    "dns 6": (frame(NODE6, WEB6, 17, udp(9, 53)), Finding.PLAIN_DNS),
    "payload udp": (frame(NODE, WEB, 17, udp(9, 7, b"x" + TOKEN)), Finding.PAYLOAD),
    "payload tcp": (frame(NODE6, WEB6, 6, tcp(9, 80, ACK, TOKEN)), Finding.PAYLOAD),
    "payload in ethernet": (ethernet(0x1234, b"??" + TOKEN), Finding.PAYLOAD),
    "payload in rubbish": (ethernet(0x0800, b"\x45" + TOKEN), Finding.PAYLOAD),
}


@pytest.mark.parametrize("name", CLEARTEXT)
@pytest.mark.parametrize("link", [uplink, other_isp_link])
def test_every_kind_of_leak_is_counted_once_on_any_link_of_the_isp(
    name: str, link: Callable[[], LinkEvidence]
) -> None:
    data, finding = CLEARTEXT[name]
    evidence = link()
    assert finding in evidence.take(data, RULES, from_far_end=True)
    assert evidence.cleartext_packets == 1
    assert finding.value in evidence.examples[0]


@pytest.mark.parametrize("name", CLEARTEXT)
def test_nothing_is_a_leak_where_the_internet_begins(name: str) -> None:
    evidence = open_link()
    assert not evidence.take(CLEARTEXT[name][0], RULES, from_far_end=True)
    assert evidence.cleartext_packets == 0


@pytest.mark.parametrize("source", ["10.102.0.3", "192.0.2.1", "fd70:7276:6174:2::3"])
def test_a_source_that_is_not_the_nodes_is_seen_on_its_uplink(source: str) -> None:
    """XRay's packets, and clients' DNS, left with the segment's addresses while the chain
    changed."""
    warp = WARP6 if ":" in source else WARP
    evidence = uplink()
    data = frame(source, warp, 17, udp(9, 2408, SECRET))
    assert evidence.take(data, RULES, from_far_end=True) == {Finding.UNTRANSLATED}
    assert evidence.cleartext_packets == 1
    assert not evidence.take(data, RULES, from_far_end=False), "what comes in is the ISP's doing"


def test_a_question_for_an_open_name_is_no_leak_and_one_for_another_name_is() -> None:
    rules = replace(RULES, open_names=("vps.example.net",))
    for name, is_leak in (("\3vps\7example\3net", False), ("\3web\7example\3net", True)):
        question = bytes(12) + name.encode() + b"\0\0\1\0\1"
        found = uplink().take(frame(NODE, DNS, 17, udp(9, 53, question)), rules, from_far_end=True)
        assert (Finding.PLAIN_DNS in found) is is_leak


INNOCENT = {
    "to cloudflare": frame(NODE, WARP, 17, udp(9, 2408, SECRET)),
    "to cloudflare 6": frame(NODE6, WARP6, 17, udp(9, 2408, SECRET)),
    "to the api": frame(NODE, API, 6, tcp(9, 443, SYN)),
    "to the client": frame(NODE, CLIENT, 17, udp(51820, 9, SECRET)),
    "arp": ethernet(0x0806, bytes(28)),
    "neighbour solicitation": frame("fe80::1", "ff02::1:ff00:1", 58, bytes(24)),
    "multicast listener": frame("fe80::1", "ff02::16", 0, b"\x3a\x00" + bytes(6) + bytes(20)),
}


@pytest.mark.parametrize("name", INNOCENT)
def test_what_the_node_may_send_is_no_finding(name: str) -> None:
    evidence = uplink()
    assert evidence.take(INNOCENT[name], RULES, from_far_end=True) == frozenset()
    assert (evidence.packets, evidence.cleartext_packets, evidence.foreign_packets) == (1, 0, 0)


STRANGERS = {
    "web": frame(NODE, WEB, 6, tcp(9, 443, SYN)),
    "vps": frame(NODE, "198.18.200.1", 6, tcp(9, 443, SYN)),
    "web 6": frame(NODE6, WEB6, 17, udp(9, 7)),
    "false source": frame("192.0.2.1", WEB, 17, udp(9, 7)),
    "inner": frame(INNER, WEB, 17, udp(9, 7)),
    "multicast": frame(NODE, "224.0.0.251", 17, udp(9, 5353)),
    "link local tcp": frame("fe80::1", "fe80::2", 6, tcp(9, 80)),
    "not ip": ethernet(0x88CC, b"who I am"),
    "rubbish": ethernet(0x0800, b"\x45"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_leaves_the_node_for_anybody_else_is_counted(name: str) -> None:
    evidence = uplink()
    evidence.take(STRANGERS[name], RULES, from_far_end=True)
    assert evidence.foreign_packets == 1
    evidence.take(STRANGERS[name], RULES, from_far_end=False)
    assert evidence.foreign_packets == 1, "what comes to the node is not its own doing"


@given(st.binary(max_size=200), st.booleans())
def test_any_frame_is_counted_and_the_payload_is_never_missed(data: bytes, far: bool) -> None:
    evidence = uplink()
    evidence.take(data, RULES, from_far_end=far)
    evidence.take(data + TOKEN, RULES, from_far_end=far)
    assert evidence.packets == 2
    assert evidence.payload_packets >= 1
    assert evidence.cleartext_packets >= 1


def test_openers_are_noted_by_where_they_connect_to() -> None:
    evidence = open_link()
    for source in ("198.18.50.1", "198.18.50.1", "198.18.2.2"):
        evidence.take(frame(source, "198.18.200.1", 6, tcp(9, 443, SYN)), RULES, from_far_end=True)
    evidence.take(
        frame("198.18.200.1", "198.18.50.1", 6, tcp(443, 9, SYN | ACK)), RULES, from_far_end=False
    )
    key = (ip_address("198.18.200.1"), 443)
    assert evidence.openers == {key: {ip_address("198.18.50.1"), ip_address("198.18.2.2")}}


def test_examples_are_few_however_many_findings_there_are() -> None:
    evidence = uplink()
    for _ in range(100):
        evidence.take(CLEARTEXT["payload udp"][0], RULES, from_far_end=True)
    assert evidence.cleartext_packets == 100
    assert len(evidence.examples) == 10


def test_the_rules_of_a_lab_come_from_its_nodes_configuration() -> None:
    from privacy_router.config import parse_document
    from privacy_router.lab.settings import node_document

    overrides = {"plugins": {"privacy_router": {"wireguard": {"client_subnet": "10.7.0.0/24"}}}}
    rules = rules_for(parse_document(node_document(overrides), "test").config, "word")
    assert ip_network("10.7.0.0/24") in rules.clients
    assert rules.askers.isdisjoint(internet.WARP_ENDPOINT)
    assert {ip_address(CLIENT), ip_address(NODE6)} <= rules.askers
    assert {*internet.WARP_ENDPOINT, *internet.WARP_API, ip_address(CLIENT)} <= rules.known
    assert rules.known.isdisjoint({*internet.VPS, *internet.WEB, *internet.DNS})


@pytest.mark.parametrize("filler", [b"", bytes(60)])
def test_an_innocent_conversation_does_not_cover_up_for_what_comes_later(filler: bytes) -> None:
    evidence = uplink()
    innocent = frame(NODE, WARP, 17, udp(9, 2408, SECRET + filler))
    guilty = frame(NODE, WARP, 17, udp(9, 2408, SECRET + TOKEN + filler))
    for _ in range(3):
        assert evidence.take(innocent, RULES, from_far_end=True) == frozenset()
        assert evidence.take(guilty, RULES, from_far_end=True) == {Finding.PAYLOAD}
    incoming = frame(WEB, NODE, 17, udp(9, 7, SECRET + filler))
    assert evidence.take(incoming, RULES, from_far_end=False) == frozenset()
    assert evidence.take(incoming, RULES, from_far_end=True) == {
        Finding.FOREIGN,
        Finding.UNTRANSLATED,
    }
    assert (evidence.packets, evidence.cleartext_packets, evidence.foreign_packets) == (8, 4, 1)
