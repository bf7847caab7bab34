"""Which flows want the same packets: exactly those for which there is such a packet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import ApplyActions, Match, Meter, Output
from privacy_router.openflow.constants import EtherType, IpProtocol
from privacy_router.openflow.fields import FIELDS, field_on_wire
from privacy_router.openflow.match import MatchItem
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.rivals import (
    PipelineError,
    Rivals,
    bits_of,
    overlap,
    require_agreement,
    same_effect,
    shared,
)
from privacy_router.pipeline.trace.traverse import matches
from tests.pipeline.compiled_pipelines import FUNCTIONS, HOP_SETS, MESH, SEED_SECTIONS, compiled

PREREQUISITES: tuple[dict[str, Any], ...] = (
    {},
    {"eth_type": EtherType.IPV4},
    {"eth_type": EtherType.IPV6},
    {"eth_type": EtherType.ARP},
    *({"eth_type": EtherType.IPV4, "ip_proto": protocol} for protocol in IpProtocol),
    {"eth_type": EtherType.IPV6, "ip_proto": IpProtocol.TCP},
)
# fields by which the tables pick, and one of every other sort
NAMES = (
    *("in_port", "eth_src", "eth_dst", "vlan_vid", "ipv4_src", "ipv4_dst", "ipv6_dst", "ip_frag"),
    *("tcp_dst", "tcp_flags", "udp_src", "icmpv4_type", "arp_spa", "arp_op", "nw_ttl"),
    *("ct_state", "ct_mark", "reg0", "xreg2", "metadata", "ct_label"),
)


@st.composite
def match_fields(draw: st.DrawFn) -> Match:
    """A match of few values, so that two of them have something in common now and then."""
    given: dict[str, Any] = dict(draw(st.sampled_from(PREREQUISITES)))
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True)):
        field = FIELDS[name]
        if any(given.get(need) not in values for need, values in field.needs if values):
            continue
        value = draw(st.integers(0, 3)) | draw(st.sampled_from((0, 1 << field.bits - 1)))
        mask = draw(st.sampled_from((1, 2, 3, 1 << field.bits - 1, field.full_mask)))
        is_exact = not field.maskable or draw(st.booleans())
        given[name] = value if is_exact else (value & mask, mask)
    return Match(**given)


def a_packet(one: Match, other: Match) -> dict[str, int]:
    """The packet that has what either asks for, and nothing else."""
    packet: dict[str, int] = {}
    for item in (*one, *other):
        packet[item.field.name] = packet.get(item.field.name, 0) | item.value
    return packet


@given(match_fields(), match_fields())
def test_matches_overlap_when_a_packet_has_what_both_want_and_only_then(
    one: Match, other: Match
) -> None:
    # If any packet does, the one with no other bits set does.
    packet = a_packet(one, other)
    assert overlap(one, other) == (matches(one, packet) and matches(other, packet))
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one)


@given(match_fields(), match_fields(), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)))
def test_what_two_matches_share_is_what_both_want(
    one: Match, other: Match, packet: dict[str, int]
) -> None:
    if not overlap(one, other):
        return
    both = shared(one, other)
    for candidate in (packet, a_packet(one, other), a_packet(one, both)):
        wanted = matches(one, candidate) and matches(other, candidate)
        assert matches(both, candidate) == wanted


@given(match_fields())
def test_a_match_is_read_from_its_wire_as_from_its_items(match: Match) -> None:
    bits = bits_of(match)
    masks = [i.field.full_mask if i.mask is None else i.mask for i in match]
    assert bits.mask.bit_count() == sum(mask.bit_count() for mask in masks)
    assert bits.value.bit_count() == sum(item.value.bit_count() for item in match)


def test_a_field_that_is_not_known_here_sets_no_packets_apart() -> None:
    odd = field_on_wire(0x1234, 5, None, 4)
    apart = [Match.of_items([MatchItem(odd, number, None)]) for number in (1, 2)]
    assert overlap(*apart)


def flow(match: Match, port: int, priority: int = 7) -> Flow:
    effect = (ApplyActions((Output(port),)),)
    return Flow("functions", priority, match, effect, Layer.FUNCTION, f"f{port}", f"to {port}")


FLOWS = st.lists(st.builds(flow, match_fields(), st.integers(1, 2), st.integers(7, 8)), max_size=8)


def rivalling(one: Flow, other: Flow) -> bool:
    if one.priority != other.priority:
        return False
    return one.match == other.match or (
        overlap(one.match, other.match) and not same_effect(one, other)
    )


@given(FLOWS, FLOWS)
def test_the_index_finds_what_comparing_each_with_each_finds(
    first: list[Flow], second: list[Flow]
) -> None:
    """After whatever has come and gone."""
    index = Rivals()
    held: list[Flow] = []
    for one in first:
        if any(rivalling(one, other) for other in held):
            with pytest.raises(PipelineError):
                index.add([one])
        else:
            index.add([one])
            held.append(one)
    index.remove(held[::2])
    held = held[1::2]
    for one in second:
        if any(rivalling(one, other) for other in held):
            with pytest.raises(PipelineError):
                index.add([one])
        else:
            index.add([one])
            held.append(one)


def test_flows_are_taken_in_all_or_none() -> None:
    index = Rivals([flow(Match(in_port=1), 1)])
    other = flow(Match(in_port=2), 2)
    with pytest.raises(PipelineError, match="f2 and f1 want the same packets"):
        index.add([other, flow(Match(reg0=2), 2)])
    index.add([other])


def test_the_error_names_both_what_they_share_and_what_to_do() -> None:
    one = flow(Match(eth_type=0x800, ip_proto=6, tcp_dst=8080), 1)
    other = flow(Match(eth_type=0x800, ipv4_src="10.0.0.0/8"), 2)
    with pytest.raises(PipelineError) as refused:
        require_agreement([one, other])
    for words in ("f1", "f2", "to 1", "to 2", "tcp", "nw_src=10.0.0.0/8", "tp_dst=8080"):
        assert words in refused.value.message
    assert "priority" in (refused.value.remedy or "")


def test_another_meter_is_another_effect() -> None:
    one, other = (
        Flow("rates", 7, match, (Meter(number),), Layer.SECURITY, "a", "b")
        for number, match in enumerate((Match(in_port=1), Match(reg0=1)))
    )
    with pytest.raises(PipelineError):
        require_agreement([one, other])


@pytest.mark.parametrize("hops", HOP_SETS)
def test_no_two_flows_of_a_bridge_are_rivals(hops: str) -> None:
    one = compiled(**HOP_SETS[hops], **MESH, openflow={"function_routing": FUNCTIONS})
    Rivals(one.program.flows)
    plain = compiled(**SEED_SECTIONS, **MESH, openflow={"enable_security_flows": False})
    Rivals(plain.program.flows)
