"""Flows as people write them: what they mean, and why the others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode
from privacy_router.openflow import Match, format_actions, format_match
from privacy_router.openflow.fields import FIELDS
from privacy_router.pipeline.notation import (
    FlowRefusedError,
    ip_only,
    matches,
    verdict,
)

Fields = dict[str, str | int]

WHERE = "openflow.flow_policies[0].template"
PORTS = {"internal_100": 3, "warp0": 4}
NAMES = {number: name for name, number in PORTS.items()}

PROTOCOLS: dict[str, Fields] = {
    "ip": {"dl_type": "ip"},
    "ipv6": {"dl_type": "ipv6"},
    "arp": {"dl_type": "arp"},
    "mpls": {"dl_type": "mpls"},
    "mplsm": {"dl_type": "mplsm"},
    **{word: {"dl_type": "ip", "nw_proto": word} for word in ("tcp", "udp", "sctp", "icmp")},
    **{f"{word}6": {"dl_type": "ipv6", "nw_proto": word} for word in ("tcp", "udp", "sctp")},
    "icmp6": {"dl_type": "ipv6", "nw_proto": "icmp6"},
}
"""What the words mean with which ovs-ofctl begins a match."""


def read(fields: Fields) -> list[str]:
    """The matches in the words of ovs-ofctl."""
    return [format_match(match, NAMES.get) for match in matches(WHERE, fields, PORTS.get)]


def label(value: object) -> str | None:
    if isinstance(value, dict):
        return ",".join(f"{name}={given}" for name, given in value.items()) or "nothing"
    return None


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, [""]),
        ({"in_port": "warp0"}, ["in_port=warp0"]),
        ({"tcp_dst": "8080"}, ["tcp,tp_dst=8080", "tcp6,tp_dst=8080"]),
        ({"udp_src": 53}, ["udp,tp_src=53", "udp6,tp_src=53"]),
        ({"sctp_dst": 5060}, ["sctp,tp_dst=5060", "sctp6,tp_dst=5060"]),
        ({"tcp_dst": "0x1000/0xf000"}, ["tcp,tp_dst=0x1000/0xf000", "tcp6,tp_dst=0x1000/0xf000"]),
        ({"tp_dst": 80, "nw_proto": "TCP"}, ["tcp,tp_dst=80", "tcp6,tp_dst=80"]),
        ({"tp_dst": 53, "nw_proto": 17, "dl_type": "ip"}, ["udp,tp_dst=53"]),
        (
            {"tp_dst": 80, "tcp_src": 1024},
            ["tcp,tp_src=1024,tp_dst=80", "tcp6,tp_src=1024,tp_dst=80"],
        ),
        ({"nw_dst": "10.0.0.0/8"}, ["ip,nw_dst=10.0.0.0/8"]),
        ({"nw_src": "fd00::/64"}, ["ipv6,ipv6_src=fd00::/64"]),
        ({"ip_src": "10.0.0.1", "ip_dst": "10.0.0.2"}, ["ip,nw_src=10.0.0.1,nw_dst=10.0.0.2"]),
        ({"nw_dst": "fd00::1", "tcp_dst": 80}, ["tcp6,ipv6_dst=fd00::1,tp_dst=80"]),
        ({"nw_dst": "0.0.0.0/0"}, ["ip"]),
        ({"dl_type": "ip"}, ["ip"]),
        ({"dl_type": "0x800"}, ["ip"]),
        ({"dl_type": 2048}, ["ip"]),
        ({"dl_type": "arp", "arp_op": 1}, ["arp,arp_op=1"]),
        ({"arp_tpa": "10.0.0.1"}, ["arp,arp_tpa=10.0.0.1"]),
        ({"dl_type": "0x88cc"}, ["dl_type=0x88cc"]),
        ({"nw_proto": 47}, ["ip,nw_proto=47", "ipv6,nw_proto=47"]),
        ({"nw_proto": "icmp"}, ["icmp"]),
        ({"nw_proto": "icmp6"}, ["icmp6"]),
        ({"icmp_type": 8, "icmp_code": 0}, ["icmp,icmp_type=8,icmp_code=0"]),
        ({"icmp_type": 128, "dl_type": "ipv6"}, ["icmp6,icmp_type=128"]),
        ({"icmpv6_type": 134}, ["icmp6,icmp_type=134"]),
        (
            {"nd_target": "fd00::1"},
            ["icmp6,icmp_type=135,nd_target=fd00::1", "icmp6,icmp_type=136,nd_target=fd00::1"],
        ),
        ({"nw_ttl": 1}, ["ip,nw_ttl=1", "ipv6,nw_ttl=1"]),
        ({"ip_ttl": 1, "nw_dst": "10.0.0.1"}, ["ip,nw_dst=10.0.0.1,nw_ttl=1"]),
        ({"nw_tos": 40, "dl_type": "ip"}, ["ip,nw_tos=40"]),
        ({"ip_dscp": 10, "nw_ecn": 1, "dl_type": "ip"}, ["ip,nw_tos=40,nw_ecn=1"]),
        ({"nw_frag": "later", "dl_type": "ipv6"}, ["ipv6,nw_frag=later"]),
        ({"dl_src": "02:00:00:00:00:01"}, ["dl_src=02:00:00:00:00:01"]),
        ({"dl_vlan": 5}, ["dl_vlan=5"]),
        ({"dl_vlan": 5, "dl_vlan_pcp": 3}, ["dl_vlan=5,dl_vlan_pcp=3"]),
        ({"dl_vlan_pcp": 3}, ["dl_vlan_pcp=3"]),
        ({"dl_vlan": "0xffff"}, ["vlan_tci=0x0000/0x1fff"]),
        ({"tcp_flags": "+syn-ack", "dl_type": "ip"}, ["tcp,tcp_flags=+syn-ack"]),
        ({"ct_state": "+trk+new"}, ["ct_state=+new+trk"]),
        ({"mpls_label": 4}, ["mpls,mpls_label=4", "mplsm,mpls_label=4"]),
    ],
    ids=label,
)
def test_what_people_write(fields: Fields, texts: list[str]) -> None:
    assert read(fields) == texts


@pytest.mark.parametrize(
    ("fields", "message", "remedy"),
    [
        ({"tcp_dts": 80}, "there is no match field tcp_dts", "Did you mean tcp_dst?"),
        ({"qwertyuiop": 80}, "there is no match field qwertyuiop", "such as nw_dst"),
        ({"oxm_ffff_1_2": 3}, "there is no match field", "such as nw_dst"),
        ({"tcp": 1}, "there is no match field tcp", '"nw_proto": "tcp"'),
        ({"ipv6": 1}, "there is no match field ipv6", '"dl_type": "ipv6"'),
        ({"tp_dst": 80}, "tp_dst is a port of an unknown protocol", "tcp_dst or udp_dst, or add"),
        ({"tp_src": 80, "dl_type": "ip"}, "an unknown protocol", "Say tcp_src or udp_src"),
        (
            {"nw_dst": "10.0.0.0/8", "dl_type": "ipv6"},
            "nw_dst=10.0.0.0/8 needs eth_type ipv4, against dl_type=ipv6",
            "or write a flow for each",
        ),
        (
            {"tcp_dst": 80, "nw_proto": "udp"},
            "tcp_dst=80 needs ip_proto tcp, against nw_proto=udp",
            "Take one",
        ),
        (
            {"nw_dst": "10.0.0.1", "nw_src": "fd00::1"},
            "against nw_dst=10.0.0.1 (ipv4)",
            "Take one",
        ),
        ({"tp_dst": 80, "nw_proto": "icmp"}, "against nw_proto=icmp", "Take one"),
        ({"nw_proto": "icmp", "dl_type": "ipv6"}, "nw_proto=icmp needs eth_type ipv4", "Take one"),
        ({"tcp_dst": 1, "dl_type": "arp"}, "needs eth_type ipv4 or ipv6", "Take one"),
        ({"udp_dst": 53, "tcp_dst": 53}, "no packet is like that", "Take one"),
        ({"dl_vlan": 65535, "vlan_pcp": 1}, "no packet is like that", "Take one"),
        (
            {"nw_src": "10.0.0.1", "ipv4_src": "10.0.0.1"},
            "nw_src=10.0.0.1 and ipv4_src=10.0.0.1 are about the same field",
            "Take one",
        ),
        ({"in_port": "eth0"}, "in_port=eth0, but the bridge has no such port", "Name a port"),
        ({"in_port": 3}, "the bridge has no such port", "Name a port"),
        ({"tcp_dst": "70000"}, "70000 is no value of tcp_dst", "0 to 65535, /mask after it"),
        ({"tcp_dst": "http"}, "http is no value of tcp_dst", "a number"),
        ({"nw_src": "10.0.0.1/8"}, "is no value of nw_src", "without host bits"),
        ({"ipv6_dst": "10.0.0.1"}, "10.0.0.1 is no value of ipv6_dst", "fd00::/64"),
        ({"nw_proto": "tpc"}, "tpc is no value of nw_proto", "tcp"),
        ({"dl_type": "ipx"}, "ipx is no value of dl_type", "arp"),
        ({"nw_tos": 41}, "41 is no value of nw_tos", "a multiple of 4"),
        ({"dl_vlan": 4096}, "4096 is no value of dl_vlan", "0 to 4095"),
        ({"vlan_vid": 5}, "5 is no value of vlan_vid", "dl_vlan"),
        ({"arp_op": 256}, "256 is no value of arp_op", "0 to 255"),
        ({"dl_src": "02-00-00-00-00-01"}, "is no value of dl_src", "02:00:00:00:00:01"),
        ({"tcp_flags": "syn!"}, "is no value of tcp_flags", "+syn-ack"),
        ({"reg0": 1}, "reg0 cannot be matched: it is the pipeline's own", "Take reg0 out"),
    ],
    ids=label,
)
def test_what_makes_no_sense_is_refused(fields: Fields, message: str, remedy: str) -> None:
    with pytest.raises(FlowRefusedError) as caught:
        matches(WHERE, fields, PORTS.get)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert message in str(caught.value)
    assert remedy in caught.value.remedy
    assert caught.value.exit_code is ExitCode.INVALID_CONFIG


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("nw_ttl", "a number from 0 to 255"),
        ("tcp_dst", "a number from 0 to 65535, /mask after it"),
        ("nw_tos", "a multiple of 4 up to 252 (the other two bits are nw_ecn)"),
        ("dl_vlan", "dl_vlan with a number from 0 to 4095, or 0xffff for packets without a tag"),
        ("nw_src", "an address or a network without host bits, such as 10.0.0.0/24"),
        ("dl_src", "a MAC such as 02:00:00:00:00:01"),
    ],
)
def test_what_a_field_takes_is_said(field: str, wanted: str) -> None:
    with pytest.raises(FlowRefusedError) as caught:
        matches(WHERE, {field: "odd", "dl_type": "0x800"}, PORTS.get)
    assert caught.value.remedy == f"Write {wanted}."


PIPELINES_OWN = {
    *(f"reg{n}" for n in range(16)),
    *(f"xreg{n}" for n in range(8)),
    *(f"xxreg{n}" for n in range(4)),
    *("metadata", "pkt_mark", "conj_id", "actset_output", "ct_zone", "ct_mark", "ct_label"),
    *("tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "in_phy_port"),
    *("ipv6_exthdr", "pbb_isid"),
}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_is_matched_or_refused_with_the_reason(name: str) -> None:
    fields: Fields = {name: "warp0" if name == "in_port" else 0}
    if name not in PIPELINES_OWN:
        assert all(name in match for match in matches(WHERE, fields, PORTS.get))
        return
    with pytest.raises(FlowRefusedError, match=f"{name} cannot be matched: "):
        matches(WHERE, fields, PORTS.get)


VALUES = st.one_of(
    st.integers(0, 70000),
    st.integers(0, 300).map(str),
    st.sampled_from(
        [
            *("10.0.0.0/8", "10.0.0.1", "fd00::/64", "fd00::1", "tcp", "udp", "icmp", "icmp6"),
            *("ip", "ipv6", "arp", "0x800", "warp0", "internal_100", "later", "no", "+syn-ack"),
            *("+trk+new", "02:00:00:00:00:01", "02:00:00:00:00:00/ff:00:00:00:00:00", "1/3", "0/1"),
        ]
    ),
    st.text(max_size=12),
)
SPOKEN = (
    *("in_port", "dl_src", "dl_type", "dl_vlan", "dl_vlan_pcp", "nw_src", "nw_dst", "ip_src"),
    *("ip_dst", "nw_proto", "nw_tos", "nw_ecn", "nw_ttl", "nw_frag", "tp_src", "tp_dst"),
    *("tcp_src", "tcp_dst", "udp_dst", "icmp_type", "icmp_code", "icmpv6_type", "nd_target"),
    *("nd_sll", "ipv6_src", "ipv6_dst", "ipv6_label", "arp_op", "arp_spa", "tcp_flags"),
    *("ct_state", "eth_type", "ip_proto", "vlan_vid", "mpls_label", "reg0", "nonsense"),
)


@given(st.dictionaries(st.sampled_from(SPOKEN), VALUES, max_size=4))
def test_whatever_is_written_is_whole_or_refused(fields: Fields) -> None:
    try:
        found = matches(WHERE, fields, PORTS.get)
    except FlowRefusedError as error:
        assert str(error).startswith(f"{WHERE}: ")
        assert error.remedy
        return
    assert found
    assert len(set(found)) == len(found)
    assert all(match.missing_prerequisites() == () for match in found)


NUMBERS = st.integers(0, 255).map(str)
ADDRESSES = st.sampled_from(["10.0.0.0/8", "10.0.0.1", "fd00::/64", "fd00::1"])
SENSIBLE: dict[str, st.SearchStrategy[str]] = {
    **dict.fromkeys(("nw_src", "nw_dst", "ip_src", "ip_dst"), ADDRESSES),
    **dict.fromkeys(("tcp_src", "tcp_dst", "udp_dst", "tp_src", "tp_dst", "sctp_src"), NUMBERS),
    **dict.fromkeys(("icmp_type", "icmp_code", "icmpv6_type", "nw_ttl", "ipv6_label"), NUMBERS),
    "in_port": st.sampled_from(sorted(PORTS)),
    "nw_proto": st.sampled_from(["tcp", "udp", "icmp", "icmp6", "sctp", "47"]),
    "dl_type": st.sampled_from(["ip", "ipv6", "arp", "0x88cc"]),
    "dl_src": st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:00/ff:00:00:00:00:00"]),
    "dl_vlan": st.integers(0, 4095).map(str),
    "dl_vlan_pcp": st.integers(0, 7).map(str),
    "nw_tos": st.integers(0, 63).map(lambda dscp: str(4 * dscp)),
    "nw_frag": st.sampled_from(["no", "yes", "first", "later", "not_later"]),
    "tcp_flags": st.sampled_from(["+syn-ack", "0x12", "-fin-syn-rst"]),
    "ct_state": st.sampled_from(["+trk", "+new+trk", "-new+est"]),
    "nd_target": st.just("fd00::1"),
    "arp_spa": st.just("10.0.0.1"),
}


@given(st.data())
def test_what_is_shown_can_be_written_again(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(SENSIBLE)), unique=True, max_size=3))
    try:
        found = matches(WHERE, {name: data.draw(SENSIBLE[name]) for name in names}, PORTS.get)
    except FlowRefusedError:
        return
    for match in found:
        text = format_match(match, NAMES.get)
        assert matches(WHERE, spoken_again(text), PORTS.get) == (match,), text


def spoken_again(text: str) -> Fields:
    """The fields of a match in the words of ovs-ofctl."""
    fields: Fields = {}
    for word in text.split(",") if text else ():
        name, equals, value = word.partition("=")
        fields.update({name: value} if equals else PROTOCOLS[name])
    return fields


@pytest.mark.parametrize(
    ("match", "texts"),
    [
        (Match(), ["ip", "ipv6"]),
        (Match(in_port=4), ["ip,in_port=warp0", "ipv6,in_port=warp0"]),
        (Match(eth_type=0x86DD), ["ipv6"]),
    ],
    ids=["everything", "a port", "IPv6"],
)
def test_rewrites_take_ip_only(match: Match, texts: list[str]) -> None:
    assert [format_match(one, NAMES.get) for one in ip_only(WHERE, [match])] == texts


def test_rewrites_of_arp_are_refused() -> None:
    with pytest.raises(FlowRefusedError, match="only IP packets have a TTL") as caught:
        ip_only(WHERE, [Match(eth_type=0x800), Match(eth_type=0x806)])
    assert "dl_type ip or ipv6" in caught.value.remedy


# --- actions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "target", "rewrites"),
    [
        (["drop"], None, "drop"),
        ([" DROP "], None, "drop"),
        (["output:warp0"], "warp0", "drop"),
        (["OUTPUT: warp0 "], "warp0", "drop"),
        (["mod_nw_ttl:64", "output:warp0"], "warp0", "mod_nw_ttl:64"),
        (["dec_ttl", "output:warp0"], "warp0", "dec_ttl"),
        (["mod_nw_tos:40", "output:warp0"], "warp0", "set_field:10->ip_dscp"),
        (["set_field:40->nw_tos", "output:warp0"], "warp0", "set_field:10->ip_dscp"),
        (["set_field:10->ip_dscp", "output:warp0"], "warp0", "set_field:10->ip_dscp"),
        (["set_field:64->nw_ttl", "output:warp0"], "warp0", "mod_nw_ttl:64"),
        (["set_field:64->ip_ttl", "output:warp0"], "warp0", "mod_nw_ttl:64"),
        (
            ["mod_nw_tos:0", "mod_nw_ttl:0xff", "dec_ttl", "output:a.b-c"],
            "a.b-c",
            "set_field:0->ip_dscp,mod_nw_ttl:255,dec_ttl",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else None,
)
def test_what_may_become_of_a_packet(actions: list[str], target: str | None, rewrites: str) -> None:
    found = verdict(WHERE, actions)
    assert found.target == target
    assert format_actions(found.rewrites) == rewrites


OUT = "would lead packets out of the pipeline"
FORGED = "would let a packet pass for another's"
KNOWN = "would change what the pipeline knows of a packet"
AROUND = "would go around tables of the pipeline"


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        *(([word], OUT) for word in ("normal", "NORMAL", "flood", "all", "controller", "LOCAL")),
        *(([word], OUT) for word in ("in_port", "CONTROLLER:128", "group:1", "enqueue:1:2")),
        *(([f"output:{word}"], OUT) for word in ("NORMAL", "local", "in_port", "table", "any")),
        *(
            ([word, "output:warp0"], FORGED)
            for word in (
                *("mod_dl_src:02:00:00:00:00:01", "mod_nw_src:10.0.0.1", "mod_nw_dst:10.0.0.1"),
                *("mod_tp_dst:80", "push_vlan:0x8100", "strip_vlan", "pop_mpls:0x0800"),
                *("set_field:10.0.0.1->nw_dst", "set_field:1->reg0", "set_field:1"),
            )
        ),
        *(
            ([word, "output:warp0"], KNOWN)
            for word in ("ct(commit)", "learn(table=1)", "load:1->NXM_NX_REG0[]", "move:a->b")
        ),
        *(([word], AROUND) for word in ("resubmit(,1)", "goto_table:3", "clone(output:warp0)")),
        (["warp0"], "there is no such action here"),
        (["dec_ttl(1,2)", "output:warp0"], "there is no such action here"),
        ([""], "there is no such action here"),
        (["output:3"], "a port is named after output:"),
        (["output"], "a port is named after output:"),
        (["output(port=3,max_len=4)"], "a port is named after output:"),
        ([], "a flow has one output"),
        (["mod_nw_ttl:64"], "a flow has one output, and it comes last"),
        (["output:warp0", "output:internal_100"], "a flow has one output"),
        (["output:warp0", "dec_ttl"], "it comes last"),
        (["drop", "output:warp0"], "drop stands alone"),
        *(
            ([f"{word}:{value}", "output:warp0"], "no such value")
            for word, value in (
                *(("mod_nw_ttl", "0"), ("mod_nw_ttl", "256"), ("mod_nw_ttl", "x")),
                *(("mod_nw_ttl", ""), ("mod_nw_tos", "41"), ("mod_nw_tos", "256")),
                *(("set_field", "64->ip_dscp"), ("set_field", "1/3->ip_dscp")),
                ("mod_nw_ttl", "64,output:warp0"),
            )
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else None,
)
def test_what_may_not_become_of_a_packet(actions: list[str], reason: str) -> None:
    with pytest.raises(FlowRefusedError) as caught:
        verdict(WHERE, actions)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert reason in str(caught.value)
    assert caught.value.remedy


ACTION_TEXTS = st.one_of(
    st.sampled_from(["drop", "output:warp0", "mod_nw_ttl:9", "dec_ttl", "mod_nw_tos:8"]),
    st.from_regex(r"(output|mod_nw_ttl|set_field)[:(]?[ -~]{0,8}(->[a-z_]{0,6})?", fullmatch=True),
    st.text(max_size=10),
)


@given(st.lists(ACTION_TEXTS, max_size=4))
def test_every_list_of_actions_ends_with_one_port_or_a_drop(actions: list[str]) -> None:
    try:
        found = verdict(WHERE, actions)
    except FlowRefusedError:
        return
    if found.target is None:
        assert found.rewrites == ()
    else:
        assert len(found.rewrites) == len(actions) - 1
