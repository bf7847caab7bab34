"""A packet's way through small programs made by hand: it goes where a switch would send it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import (
    ApplyActions,
    Clone,
    Conjunction,
    Ct,
    CtFlag,
    CtState,
    DecNwTtl,
    GotoTable,
    Group,
    Load,
    Match,
    Meter,
    Move,
    Nat,
    NatFlag,
    Note,
    Output,
    PortNumber,
    PushVlan,
    Resubmit,
    SetFieldMasked,
    SetNwTtl,
    WriteActions,
    WriteMetadata,
    load,
    set_field,
    to_controller,
)
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.trace.packet import PacketError, parse_packet
from privacy_router.pipeline.trace.traverse import Rewrite, WalkError, matches
from privacy_router.pipeline.trace.walk import Dropped, Sent, own_mac, parse_ct_state, walk

if TYPE_CHECKING:
    from privacy_router.openflow import Action, Instruction

IPV4, IPV6 = {"eth_type": 0x0800}, {"eth_type": 0x86DD}
TCP = {**IPV4, "ip_proto": 6}
SYN = parse_packet(
    "in_port=1,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=443,nw_ttl=9,tcp_flags=syn"
)


def goto(table: str) -> GotoTable:
    return GotoTable(number_of(table))


def do(*actions: Action) -> ApplyActions:
    return ApplyActions(actions)


def flow(table: str, *instructions: Instruction, priority: int = 10, **fields: Any) -> Flow:
    match = Match(**fields)
    return Flow(table, priority, match, instructions, Layer.BASE, "test", f"{table} {priority}")


def test_a_packet_goes_from_table_to_table_and_out() -> None:
    flows = [
        flow("classify", do(load("reg0", 1)), goto("security"), in_port=1),
        flow("security", goto("rates"), priority=0),
        flow("security", priority=5, **IPV6),
        flow("rates", Meter(7), goto("privacy"), **TCP),
        flow("privacy", do(SetNwTtl(64), Output(2)), reg0=1, **IPV4),
    ]
    found = walk(flows, SYN)
    assert [step.table for step in found.steps] == ["classify", "security", "rates", "privacy"]
    assert [step.flow for step in found.steps] == [flows[0], flows[1], flows[3], flows[4]]
    assert found.verdict == Sent((2,))
    assert found.steps[0].rewrites == (Rewrite("reg0", 0, 1),)
    assert found.steps[3].rewrites == (Rewrite("nw_ttl", 9, 64),)
    assert any("meter 7" in note for note in found.steps[2].notes)
    assert found.packet == SYN
    assert found.passages[0].packet == {**SYN, "reg0": 1, "nw_ttl": 64}


def test_a_packet_that_no_flow_wants_is_dropped_there() -> None:
    found = walk([flow("classify", goto("privacy"))], SYN)
    assert found.verdict == Dropped("privacy", None)
    assert walk([], SYN).verdict == Dropped("classify", None)


def test_a_flow_without_instructions_drops() -> None:
    drop = flow("classify", in_port=1)
    assert walk([drop], SYN).verdict == Dropped("classify", drop)


def test_the_highest_priority_wins_whatever_the_order() -> None:
    low, high = flow("classify", do(Output(2)), priority=1), flow("classify", priority=2)
    for flows in ([low, high], [high, low]):
        assert walk(flows, SYN).verdict == Dropped("classify", high)


def test_what_the_switch_may_choose_between_is_said_and_always_chosen_alike() -> None:
    one = flow("classify", do(Output(2)), in_port=1)
    other = flow("classify", do(Output(3)), **TCP)
    first, second = walk([one, other], SYN), walk([other, one], SYN)
    assert first == second
    assert any("ambiguous" in note for note in first.steps[0].notes)
    assert len(first.steps[0].rivals) == 1


def test_it_does_not_matter_which_of_two_flows_drops() -> None:
    flows = [flow("classify", in_port=1), flow("classify", **TCP)]
    assert walk(flows, SYN).steps[0].notes == ()


MATCHES = [
    ({}, True),
    ({"in_port": 1}, True),
    ({"in_port": 2}, False),
    ({**IPV4, "ipv4_dst": "10.0.0.0/30"}, True),
    ({**IPV4, "ipv4_dst": "10.0.0.4/30"}, False),
    ({**IPV4, "ipv4_dst": ("10.0.0.2", "255.0.0.255")}, True),
    ({**TCP, "tcp_flags": "+syn-ack"}, True),
    ({**TCP, "tcp_flags": "+syn+fin"}, False),
    ({**TCP, "tcp_flags": 0}, False),
    ({**TCP, "tcp_dst": (0x1B8, 0xFFF8)}, True),
    ({**TCP, "tcp_dst": (0x1B0, 0xFFF8)}, False),
    ({"eth_src": ("01:00:00:00:00:00", "01:00:00:00:00:00")}, False),
    ({**IPV4, "nw_ttl": 9}, True),
    ({**IPV4, "ip_frag": "no"}, True),
    ({**IPV4, "ip_frag": "yes"}, False),
    ({"vlan_vid": 0}, True),
    ({"vlan_vid": (0x1000, 0x1000)}, False),
    ({"ct_state": "-trk"}, True),
    ({"ct_state": "+trk"}, False),
    ({"reg0": 0}, True),
    ({**IPV4, "ip_proto": 17, "udp_dst": 0}, False),
]


@pytest.mark.parametrize(("fields", "expected"), MATCHES, ids=str)
def test_a_match_is_about_the_bits_of_its_mask(fields: dict[str, Any], expected: bool) -> None:
    assert matches(Match(**fields), SYN) is expected


@given(
    value=st.integers(0, 0xFFFFFFFF),
    wanted=st.integers(0, 0xFFFFFFFF),
    mask=st.integers(0, 0xFFFFFFFF),
)
def test_a_masked_match_holds_exactly_where_the_masked_bits_agree(
    value: int, wanted: int, mask: int
) -> None:
    match = Match(reg0=(wanted & mask, mask))
    assert matches(match, {"in_port": 1, "reg0": value}) == (value & mask == wanted & mask)


FRAGMENTS = [("no", "no"), ("first", "yes"), ("first", "not_later"), ("later", "yes")]


@pytest.mark.parametrize(("fragment", "asked"), FRAGMENTS)
def test_fragments_are_known_by_their_two_bits(fragment: str, asked: str) -> None:
    packet = parse_packet(f"in_port=1,ip,nw_frag={fragment}")
    assert matches(Match(**IPV4, ip_frag=asked), packet)
    assert not matches(Match(**IPV4, ip_frag="later"), parse_packet("in_port=1,ip,nw_frag=first"))


# --- what flows do to a packet ------------------------------------------------------------------

REWRITES = [
    (set_field("ipv4_dst", "10.0.0.9"), "ipv4_dst", 0x0A000009),
    (SetFieldMasked("ipv4_dst", 0x00000900, 0x0000FF00), "ipv4_dst", 0x0A000902),
    (Load("reg0", 0x5, 4, 8), "reg0", 0x500),
    (load("reg0", 3), "reg0", 3),
    (Move("ipv4_src", "ipv4_dst", 32), "ipv4_dst", 0x0A000001),
    (Move("tcp_dst", "reg1", 8, 0, 16), "reg1", 0xBB0000),
    (Move("ipv4_src", "reg0", 8, 24, 0), "reg0", 0x0A),
    (SetNwTtl(64), "nw_ttl", 64),
    (DecNwTtl(), "nw_ttl", 8),
    (Note(b"letter"), "nw_ttl", 9),  # of whole words: padding would be odd in the name
]


@pytest.mark.parametrize(("action", "field", "expected"), REWRITES, ids=str)
def test_an_action_changes_the_bits_that_it_names(
    action: Action, field: str, expected: int
) -> None:
    found = walk([flow("classify", do(action, Output(2)), in_port=1)], SYN)
    assert found.passages[0].packet[field] == expected
    assert found.verdict == Sent((2,))


def test_an_arp_request_is_turned_into_its_answer() -> None:
    request = parse_packet(
        "in_port=1,arp,dl_src=aa:bb:cc:00:00:01,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,"
        "arp_sha=aa:bb:cc:00:00:01"
    )
    answer = do(
        Move("eth_src", "eth_dst", 48),
        set_field("eth_src", "aa:bb:cc:00:00:02"),
        set_field("arp_op", 2),
        Move("arp_sha", "arp_tha", 48),
        Output(PortNumber.IN_PORT),
    )
    found = walk([flow("classify", answer, eth_type=0x0806, arp_op=1)], request)
    assert found.verdict == Sent((1,))
    after = found.passages[0].packet
    assert after["eth_dst"] == after["arp_tha"] == 0xAABBCC000001
    assert (after["eth_src"], after["arp_op"]) == (0xAABBCC000002, 2)


def test_a_field_that_the_packet_has_not_is_not_written() -> None:
    flows = [flow("classify", do(set_field("udp_dst", 53), SetNwTtl(3), Output(2)))]
    found = walk(flows, parse_packet("in_port=1,arp"))
    assert found.passages[0].packet == parse_packet("in_port=1,arp")
    assert len(found.steps[0].notes) == 2


def test_a_later_fragment_has_no_ports_to_be_written() -> None:
    packet = parse_packet("in_port=1,tcp,nw_frag=later")
    found = walk([flow("classify", do(set_field("tcp_dst", 80)), **TCP)], packet)
    assert found.passages[0].packet == packet


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_ttl_that_cannot_be_counted_down_is_the_end(ttl: int) -> None:
    last = flow("classify", do(DecNwTtl()), goto("privacy"))
    flows = [last, flow("privacy", do(Output(2)))]
    found = walk(flows, {**SYN, "nw_ttl": ttl})
    assert found.verdict == Dropped("classify", last)
    assert any("TTL" in note for note in found.steps[0].notes)


@pytest.mark.parametrize(
    ("ports", "sent"),
    [
        ((2,), (2,)),
        ((2, 3), (2, 3)),
        ((PortNumber.LOCAL,), (PortNumber.LOCAL,)),
        ((PortNumber.IN_PORT,), (1,)),
        ((1, 2), (2,)),
    ],
)
def test_packets_go_back_only_by_in_port(ports: tuple[int, ...], sent: tuple[int, ...]) -> None:
    found = walk([flow("classify", do(*map(Output, ports)))], SYN)
    assert found.verdict == Sent(sent)


def test_a_packet_that_would_only_go_back_is_dropped() -> None:
    back = flow("classify", do(Output(1)))
    found = walk([back], SYN)
    assert found.verdict == Dropped("classify", back)
    assert "IN_PORT" in found.steps[0].notes[0]


# --- connection tracking ------------------------------------------------------------------------

LOOK_UP = flow("conntrack", do(Ct(zone=9, table_id=number_of("state"))))
TRACKED = [
    flow("classify", goto("conntrack")),
    LOOK_UP,
    flow("state", priority=40, ct_state="+inv+trk"),
    flow("state", goto("ttl"), priority=30, ct_state="+est+trk"),
    flow("state", goto("functions"), priority=25, ct_state="+rel+trk"),
    flow("state", do(Ct(CtFlag.COMMIT, 9)), goto("privacy"), priority=20, ct_state="+new+trk"),
    flow("ttl", do(Output(3)), ct_state="+est+trk", ct_zone=9),
    flow("privacy", do(Output(2)), ct_state="-trk"),
    flow("functions", do(Output(4))),
]


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ("new", Sent((2,))),
        ("est", Sent((3,))),
        ("est,rpl", Sent((3,))),
        ("rel", Sent((4,))),
        ("+trk+est", Sent((3,))),
        ("inv", Dropped("state", TRACKED[2])),
    ],
)
def test_a_tracked_packet_goes_on_in_the_state_that_is_assumed(
    state: str, end: Sent | Dropped
) -> None:
    found = walk(TRACKED, SYN, ct_states=[state])
    assert found.verdict == end
    first, second = found.passages
    assert [step.table for step in first.steps] == ["classify", "conntrack"]
    assert (first.state, second.state, second.zone) == (0, parse_ct_state(state), 9)
    assert second.steps[0].packet["ct_state"] == parse_ct_state(state)


def test_the_flow_that_looks_up_goes_on_with_the_untracked_packet() -> None:
    look = do(Ct(zone=9, table_id=number_of("state")), Output(5))
    flows = [flow("classify", look), flow("state", do(Output(2)), ct_state="+trk")]
    assert walk(flows, SYN).verdict == Sent((5, 2))


def test_each_time_it_is_tracked_a_packet_has_the_next_state() -> None:
    flows = [
        flow("classify", do(Ct(zone=1, table_id=number_of("conntrack")))),
        flow("conntrack", do(Ct(zone=2, table_id=number_of("state"))), ct_state="+new"),
        flow("state", do(Ct(zone=3, table_id=number_of("ttl"))), ct_state="+est", ct_zone=2),
        flow("ttl", do(Output(2)), ct_state="+est-rpl"),
    ]
    assert walk(flows, SYN, ct_states=["new", "est"]).verdict == Sent((2,))
    assert isinstance(walk(flows, SYN, ct_states=["new"]).verdict, Dropped)


def test_the_zone_may_be_in_a_register() -> None:
    look = Ct(zone=(4 << 6) | 7, table_id=number_of("state"), zone_field="reg0")
    flows = [flow("classify", do(load("reg0", 0xABC), look))]
    assert walk(flows, SYN).passages[1].zone == 0xAB


def test_address_translation_gives_the_first_of_its_range() -> None:
    nat = Nat(NatFlag.DST, IPv4Address("10.9.0.1"), IPv4Address("10.9.0.5"), 8080)
    look = Ct(CtFlag.COMMIT, 9, number_of("privacy"), (nat,))
    packet = walk([flow("classify", do(look))], SYN).passages[1].packet
    assert (packet["ipv4_dst"], packet["tcp_dst"]) == (0x0A090001, 8080)
    assert packet["ipv4_src"] == SYN["ipv4_src"]


def test_translating_back_is_taken_to_change_nothing_and_said() -> None:
    look = Ct(zone=9, table_id=number_of("privacy"), actions=(Nat(),))
    found = walk([flow("classify", do(look))], SYN)
    assert found.passages[1].packet["ipv4_dst"] == SYN["ipv4_dst"]
    assert any("translation" in note for note in found.steps[0].notes)


def test_a_packet_that_goes_round_is_an_error() -> None:
    back = flow("classify", do(Ct(zone=1, table_id=0)))
    with pytest.raises(WalkError, match="goes round"):
        walk([back], SYN)


@pytest.mark.parametrize("text", ["old", "new,est", "new,rpl", "inv,est"])
def test_states_that_connection_tracking_never_says_are_refused(text: str) -> None:
    with pytest.raises(PacketError) as caught:
        parse_ct_state(text)
    assert caught.value.remedy


def test_states_are_written_in_several_ways() -> None:
    both = CtState.TRK | CtState.EST | CtState.RPL
    assert {parse_ct_state(text) for text in ("est,rpl", "+est+rpl", "trk|est|rpl")} == {both}


# --- what is not modelled -----------------------------------------------------------------------

UNMODELLED: list[Instruction] = [
    do(Group(1)),
    do(Resubmit(3)),
    do(Clone((Output(2),))),
    do(Conjunction(1, 0, 2)),
    do(PushVlan()),
    do(to_controller()),
    do(Output(PortNumber.NORMAL)),
    do(Output(PortNumber.FLOOD)),
    do(set_field("xreg0", 1)),
    do(Ct(CtFlag.COMMIT, 1, actions=(load("ct_mark", 1),))),
    do(Ct(0, 1, number_of("state"), alg=21)),
    WriteActions((Output(2),)),
    WriteMetadata(1),
]


@pytest.mark.parametrize("instruction", UNMODELLED, ids=str)
def test_what_is_not_modelled_is_an_error_and_never_left_out(instruction: Instruction) -> None:
    with pytest.raises(WalkError, match="does not model") as caught:
        walk([flow("classify", instruction)], SYN)
    assert "classify" in caught.value.message
    assert caught.value.remedy


def test_a_match_that_is_not_modelled_is_an_error_where_it_decides() -> None:
    assert isinstance(walk([flow("classify", conj_id=1, in_port=2)], SYN).verdict, Dropped)
    with pytest.raises(WalkError, match="conj_id"):
        walk([flow("classify", conj_id=1, in_port=1)], SYN)


def test_tables_lead_onward_only() -> None:
    flows = [flow("classify", goto("privacy")), flow("privacy", goto("state"))]
    with pytest.raises(WalkError, match="leads from table privacy to state"):
        walk(flows, SYN)


def test_a_ports_own_mac_is_what_the_first_table_lets_it_use() -> None:
    flows = [
        flow("classify", in_port=1),
        flow("classify", eth_src=("01:00:00:00:00:00", "01:00:00:00:00:00")),
        flow("classify", in_port=2, eth_src="aa:bb:cc:00:00:02"),
        flow("security", in_port=1, eth_src="aa:bb:cc:00:00:03"),
        flow("classify", in_port=1, eth_src="aa:bb:cc:00:00:01"),
    ]
    assert own_mac(flows, 1) == 0xAABBCC000001
    assert own_mac(flows, 3) is None
