"""Matches: what may be asked, what is equal, what is refused."""

from __future__ import annotations

import copy
import ipaddress
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import DecodeError, Match, MatchItem
from privacy_router.openflow.fields import FIELDS, WIDE_REGISTERS, Field, field_named, field_on_wire
from privacy_router.openflow.match import decode_match_untrusted
from privacy_router.openflow.wire import Reader

IPV4, IPV6, TCP = 0x0800, 0x86DD, 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"in_port": 3, "eth_type": IPV4}, {"eth_type": IPV4, "in_port": 3}),
        ({"in_port": "LOCAL"}, {"in_port": 0xFFFFFFFE}),
        ({"eth_src": "aa:bb:cc:dd:ee:ff"}, {"eth_src": 0xAABBCCDDEEFF}),
        ({"eth_src": ("aa:bb:cc:dd:ee:ff", (1 << 48) - 1)}, {"eth_src": "AA:BB:CC:DD:EE:FF"}),
        (
            {"eth_type": IPV4, "ipv4_dst": "10.0.0.0/24"},
            {"eth_type": IPV4, "ipv4_dst": ipaddress.ip_network("10.0.0.0/24")},
        ),
        (
            {"eth_type": IPV4, "ipv4_dst": "10.0.0.0/24"},
            {"eth_type": IPV4, "ipv4_dst": (0x0A000000, 0xFFFFFF00)},
        ),
        (
            {"eth_type": IPV4, "ipv4_dst": "10.0.0.1/32"},
            {"eth_type": IPV4, "ipv4_dst": ipaddress.ip_address("10.0.0.1")},
        ),
        ({"eth_type": IPV4, "ipv4_dst": "0.0.0.0/0"}, {"eth_type": IPV4}),
        (
            {"eth_type": IPV6, "ipv6_src": "2001:db8::/32"},
            {"eth_type": IPV6, "ipv6_src": (0x20010DB8 << 96, 0xFFFFFFFF << 96)},
        ),
        (
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": "+syn-ack"},
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": (0x002, 0x012)},
        ),
        (
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": (0x29, 0xFFF)},
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": "fin|psh|urg"},
        ),
        ({"ct_state": "+trk-inv"}, {"ct_state": (0x20, 0x30)}),
        ({"ct_state": "est|trk"}, {"ct_state": 0x22}),
        ({"eth_type": IPV4, "ip_frag": "later"}, {"eth_type": IPV4, "nw_frag": 3}),
        ({"eth_type": IPV4, "ip_frag": "yes"}, {"eth_type": IPV4, "ip_frag": (1, 1)}),
        ({"xreg1": 0x0000000500000006}, {"reg2": 5, "reg3": 6}),
        ({"xxreg0": (1 << 127, 1 << 127)}, {"reg0": (1 << 31, 1 << 31)}),
        ({"tunnel_id": 7}, {"tun_id": "0x7"}),
        ({"metadata": "0x10/0xf0"}, {"metadata": (0x10, 0xF0)}),
        ({"metadata": (0, 0)}, {}),
    ],
)
def test_what_means_the_same_is_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert Match(**one) == Match(**other)
    assert hash(Match(**one)) == hash(Match(**other))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"tcp_dst": 80}, "ip_proto 6"),
        ({"tcp_dst": 80, "ip_proto": TCP}, "eth_type 0x800 or 0x86dd"),
        ({"ip_proto": 17, "eth_type": IPV4, "tcp_dst": 80}, "tcp_dst needs ip_proto 6"),
        ({"ipv4_dst": "10.0.0.1", "eth_type": IPV6}, "ipv4_dst needs eth_type 0x800"),
        ({"tcp_flags": "+syn"}, "tcp_flags needs"),
        ({"nw_ttl": 1}, "nw_ttl needs eth_type"),
        ({"vlan_pcp": 1}, "vlan_pcp needs vlan_vid"),
        ({"vlan_pcp": 1, "vlan_vid": 0}, "vlan_pcp needs vlan_vid"),
        ({"tcp_dest": 80}, "no match field 'tcp_dest'"),
        ({"in_port": 1 << 32}, "does not fit 32 bits"),
        ({"in_port": -1}, "does not fit"),
        ({"vlan_vid": 0x2000}, "does not fit 13 bits"),
        ({"vlan_vid": 0x2000, "in_port": 1}, "does not fit 13 bits"),
        ({"eth_src": "aa:bb"}, "eth_src"),
        ({"eth_type": IPV4, "ipv4_dst": "10.0.0.5/24"}, "ipv4_dst"),
        ({"eth_type": IPV4, "ipv4_dst": "2001:db8::1"}, "IPv6 address does not belong"),
        ({"eth_type": IPV4, "ipv4_dst": (5, 2)}, "outside its mask"),
        ({"eth_type": IPV4, "nw_ttl": (0, 0xFE)}, "takes no mask"),
        ({"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": "+sin"}, "no flag 'sin'"),
        ({"in_port": None}, "no value of a field"),
        ({"in_port": [1]}, "no value of a field"),
        ({"reg0": 1, "xreg0": 2}, "reg0 is given twice"),
        ({"tun_id": 1, "tunnel_id": 2}, "tun_id is given twice"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_words(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Match(**fields)


def test_a_match_does_not_change_and_can_be_copied() -> None:
    match = Match(in_port=1, eth_type=IPV4)
    with pytest.raises(AttributeError):
        match.wire = b""
    assert copy.deepcopy(match) == match
    assert pickle.loads(pickle.dumps(match)) == match  # noqa: S301 - our own bytes


def test_fields_can_be_looked_up() -> None:
    match = Match(in_port=1, eth_type=IPV4, ipv4_dst="10.0.0.0/8")
    assert match.value("in_port") == 1
    assert match.value("ipv4_dst") is None
    assert match.get("ipv4_dst") == MatchItem(FIELDS["ipv4_dst"], 0x0A000000, 0xFF000000)
    assert "ipv4_src" not in match
    assert len(match) == 3
    assert len(Match()) == 0
    assert match.extended(ipv4_dst="10.0.0.1").value("ipv4_dst") == 0x0A000001
    with pytest.raises(ValueError, match="tcp_dst needs"):
        match.extended(tcp_dst=80)
    with pytest.raises(ValueError, match="no match field"):
        match.get("ipv4_dest")


def test_what_a_switch_sends_may_lack_prerequisites() -> None:
    match = Match.of_items([MatchItem(FIELDS["tcp_dst"], 80, None)])
    assert match.missing_prerequisites() == (
        "tcp_dst needs ip_proto 6",
        "tcp_dst needs eth_type 0x800 or 0x86dd",
    )


def decoded(oxm: str) -> Match:
    body = bytes.fromhex(oxm)
    wire = b"\0\1" + (4 + len(body)).to_bytes(2, "big") + body
    wire += bytes(-len(wire) % 8)
    reader = Reader(wire)
    match = decode_match_untrusted(reader)
    reader.finish()
    return match


@pytest.mark.parametrize(
    ("oxm", "fields"),
    [
        # Captured from Open vSwitch 3.1: it masks two-bit ip_frag, and sends tcp_flags as ONF's.
        ("80000a020800 0001350201 03", {"eth_type": IPV4, "ip_frag": "first"}),
        (
            "80000a020800 80001401 06 ffff5508 4f4e4600 0002 0012",
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": "+syn-ack"},
        ),
        (
            "80000a020800 80001401 06 00014402 0fff",
            {"eth_type": IPV4, "ip_proto": TCP, "tcp_flags": 0xFFF},
        ),
        ("0001d308 00000022 00000032", {"ct_state": "+trk+est-inv"}),
        ("0001d308 00000022 ffffffff", {"ct_state": 0x22}),
        ("80000d04 1000 1fff", {"vlan_vid": 0x1000}),
        ("80000d04 1005 ffff", {"vlan_vid": 0x1005}),
    ],
)
def test_other_spellings_on_the_wire_are_the_same_match(oxm: str, fields: dict[str, Any]) -> None:
    assert decoded(oxm) == Match(**fields)


def test_a_field_twice_is_refused() -> None:
    with pytest.raises(DecodeError, match="twice"):
        decoded("80000004 00000001 80000004 00000002")
    with pytest.raises(DecodeError, match="twice"):
        decoded("00010004 00000001 0001de10 00000000000000000000000000000000")


def test_an_unknown_field_survives() -> None:
    match = decoded("0005 1f 04 abcd ff00")
    assert [(i.field.name, i.value, i.mask) for i in match] == [("oxm_0005_15_2", 0xABCD, 0xFF00)]
    assert field_named("oxm_0005_15_2") is field_on_wire(5, 15, None, 2)
    again = Reader(match.wire)
    assert decode_match_untrusted(again) == match


PLAIN = [f for f in FIELDS.values() if f.name not in WIDE_REGISTERS]


@given(st.data())
def test_the_fast_way_and_the_slow_way_agree(data: st.DataObject) -> None:
    """A shape encodes plain numbers; text takes the general way."""
    version = data.draw(st.sampled_from([IPV4, IPV6]))
    fields: dict[str, int] = {
        "in_port": data.draw(st.integers(0, 0xFFFFFFFF)),
        "eth_src": data.draw(st.integers(0, (1 << 48) - 1)),
        "eth_type": version,
        "ip_proto": TCP,
        "tcp_dst": data.draw(st.integers(0, 0xFFFF)),
        "tcp_flags": data.draw(st.integers(0, 0xFFF)),
        "ct_state": data.draw(st.integers(0, 0xFF)),
        "metadata": data.draw(st.integers(0, (1 << 64) - 1)),
        "ct_label": data.draw(st.integers(0, (1 << 128) - 1)),
    }
    names = data.draw(st.permutations(sorted(fields)))
    fast = Match(**{name: fields[name] for name in names})
    slow = Match(**{name: str(fields[name]) for name in names})
    assert fast == slow
    assert [(i.field.name, i.value) for i in fast] == [(i.field.name, i.value) for i in slow]


@given(
    st.lists(st.sampled_from(PLAIN), unique=True, max_size=8).flatmap(
        lambda fields: st.tuples(
            *(st.tuples(st.just(f), st.integers(0, f.full_mask), st.booleans()) for f in fields)
        )
    )
)
def test_every_field_comes_back(drawn: tuple[tuple[Field, int, bool], ...]) -> None:
    items = [
        MatchItem(field, value, value if masked and value not in (0, field.full_mask) else None)
        for field, value, masked in drawn
    ]
    match = Match.of_items(items)
    reader = Reader(match.wire)
    assert decode_match_untrusted(reader) == match
    assert reader.left() == 0
    assert set(match) == set(items)
    assert Match.of_items(match) == match
