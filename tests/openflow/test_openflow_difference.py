"""Comparing bytes finds what comparing flows would, whatever order and parts they come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import (
    ApplyActions,
    DecodeError,
    FlowMod,
    FlowModCommand,
    FlowOptions,
    FlowStats,
    GotoTable,
    Instruction,
    Match,
    Meter,
    Output,
    SetFieldMasked,
    WriteMetadata,
)
from privacy_router.openflow.difference import Difference, difference_untrusted
from privacy_router.openflow.flows import FlowKey

MATCHES = [Match(), Match(in_port=1), Match(eth_type=0x800, ipv4_dst="10.0.0.0/8"), Match(reg0=5)]
INSTRUCTIONS: list[tuple[Instruction, ...]] = [
    (),
    (GotoTable(3), ApplyActions((Output(1),))),  # out of order: a switch gives it back in order
    (ApplyActions((Output(1),)), GotoTable(3)),
    (ApplyActions(()), Meter(1)),
    (WriteMetadata(1, 3), GotoTable(9)),
    (ApplyActions((SetFieldMasked("reg0", 1, 3), Output(2))),),
]
FLOWS = st.builds(
    FlowMod,
    match=st.sampled_from(MATCHES),
    instructions=st.sampled_from(INSTRUCTIONS),
    table_id=st.integers(0, 1),
    priority=st.integers(1, 2),
    cookie=st.sampled_from([0, 5 << 48]),
    options=st.builds(
        FlowOptions,
        idle_timeout_s=st.sampled_from([0, 0, 30]),
        flags=st.sampled_from([0, 0, 1]),
    ),
)


def as_read_back(flow: FlowMod, age_s: int = 7) -> FlowStats:
    content = flow.content()
    return FlowStats(
        *flow.key(),
        content.instructions,
        flow.cookie,
        *(packet := 3, 60 * packet),
        *(flow.options.idle_timeout_s, flow.options.hard_timeout_s, flow.options.flags, age_s),
    )


Keys = set[FlowKey]


def parts_of(flows: list[FlowStats], size: int) -> list[bytes]:
    encoded = [flow.encode() for flow in flows]
    return [b"".join(encoded[i : i + size]) for i in range(0, len(encoded), size)]


def by_objects(desired: list[FlowMod], observed: list[FlowStats]) -> tuple[Keys, Keys, Keys, int]:
    """The same, slowly: keys of what is to be added, changed and removed; how many stay."""
    wanted = {flow.key(): flow.content() for flow in desired}
    there = {flow.key(): flow.content() for flow in observed}
    changed = {key for key in wanted.keys() & there.keys() if wanted[key] != there[key]}
    same = len(wanted.keys() & there.keys()) - len(changed)
    return wanted.keys() - there.keys(), changed, there.keys() - wanted.keys(), same


def keys(flows: tuple[FlowMod, ...]) -> Keys:
    return {flow.key() for flow in flows}


@given(st.lists(FLOWS, max_size=12), st.lists(FLOWS, max_size=12), st.integers(1, 5))
def test_comparing_bytes_is_comparing_flows(
    desired: list[FlowMod], before: list[FlowMod], size: int
) -> None:
    installed = {flow.key(): as_read_back(flow) for flow in before}
    found = difference_untrusted(desired, parts_of(list(installed.values()), size))
    assert (
        keys(found.added),
        keys(found.changed),
        keys(found.removed),
        found.unchanged,
    ) == by_objects(desired, list(installed.values()))


@given(st.lists(FLOWS, max_size=12), st.lists(FLOWS, max_size=12))
def test_what_is_sent_brings_the_desired_flows_about(
    desired: list[FlowMod], before: list[FlowMod]
) -> None:
    switch = {flow.key(): as_read_back(flow) for flow in before}
    found = difference_untrusted(desired, parts_of(list(switch.values()), 3))
    for message in found.messages():
        if message.options.command == FlowModCommand.DELETE_STRICT:
            assert message.cookie == switch.pop(message.key()).cookie
            assert message.options.cookie_mask == 0xFFFFFFFFFFFFFFFF
        else:
            switch[message.key()] = as_read_back(message)
    contents = {key: flow.content() for key, flow in switch.items()}
    assert contents == {flow.key(): flow.content() for flow in desired}
    assert not difference_untrusted(desired, parts_of(list(switch.values()), 3))


def test_bytes_that_differ_and_mean_the_same_are_no_change() -> None:
    """A switch may mask a field with all its bits, which we would leave away."""
    flow = FlowMod(Match(reg0=5), (GotoTable(1),))
    plain = as_read_back(flow).encode()
    masked = bytes.fromhex("0001 0010 0001 01 08 00000005 ffffffff".replace(" ", ""))
    entry = bytearray(plain[:48] + masked + plain[-8:])
    entry[:2] = len(entry).to_bytes(2, "big")
    found = difference_untrusted([flow], [bytes(entry)])
    assert found == Difference(unchanged=1)
    assert not found


def test_of_equal_keys_the_last_counts() -> None:
    one, other = FlowMod(cookie=1), FlowMod(cookie=2)
    assert difference_untrusted([one, other], []).added == (other,)
    assert not difference_untrusted([one, other], [as_read_back(other).encode()])


@pytest.mark.parametrize("cut", [1, 2, 47, 48, 55])
def test_a_flow_that_is_cut_off_is_an_error(cut: int) -> None:
    data = as_read_back(FlowMod()).encode()
    with pytest.raises(DecodeError):
        difference_untrusted([], [data + data[:cut]])


@given(st.lists(st.binary(max_size=120), max_size=3), st.integers(0, 200), st.integers(0, 255))
def test_random_bytes_are_a_difference_or_an_error(
    blocks: list[bytes], position: int, value: int
) -> None:
    flow = FlowMod(MATCHES[2], INSTRUCTIONS[1])
    changed = bytearray(as_read_back(flow).encode())
    changed[position % len(changed)] = value
    for observed in (blocks, [bytes(changed)]):
        try:
            difference_untrusted([flow], observed)
        except DecodeError:
            continue
