"""What Open vSwitch's ofproto/trace says, in samples of version 3.1, and where it differs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import (
    ApplyActions,
    Ct,
    CtFlag,
    DecNwTtl,
    GotoTable,
    Match,
    Meter,
    Output,
    PortNumber,
    SetNwTtl,
    load,
)
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.trace.ofproto_trace import (
    LiveTraceError,
    compare,
    parse_trace_untrusted,
    trace_arguments,
)
from privacy_router.pipeline.trace.packet import parse_packet
from privacy_router.pipeline.trace.walk import MAX_PASSAGES, walk

if TYPE_CHECKING:
    from privacy_router.openflow import Action, Instruction
    from privacy_router.pipeline.trace.ofproto_trace import LiveTrace

SAMPLES = {path.stem: path.read_text() for path in (Path(__file__).parent / "traces").iterdir()}
PORTS = {"p1": 1, "p2": 2}
IPV4 = {"eth_type": 0x0800}


def sample(name: str) -> LiveTrace:
    return parse_trace_untrusted(SAMPLES[name])


def test_a_tracked_packet_passes_the_tables_twice() -> None:
    first, second = sample("tracked").passages
    assert [(step.table, step.priority, step.match) for step in first.steps] == [
        (0, 100, "ip,in_port=1"),
        (2, 0, ""),
        (4, 1, ""),
        (5, 32768, "ip"),
    ]
    assert first.steps[0].cookie == 0x5052000100000001
    assert first.steps[3].actions == ("ct(table=6,zone=20563)",)
    assert [step.actions for step in second.steps] == [
        ("ct(commit,zone=20563)", "goto_table:7"),
        ("goto_table:8",),
        ("output:2",),
    ]
    assert (first.ports, second.ports) == ((), ("2",))
    assert (first.packet["reg0"], second.packet["nw_ttl"]) == (1, 64)
    assert second.datapath == "ct(commit,zone=20563),2"


ENDS = {
    "tracked": ("2",),
    "dropped": (),
    "missed": (),
    "answered": ("IN_PORT",),
    "expired": (),
    "not_sent": ("2", "LOCAL"),
    "no_such_port": (),
    "translated": ("IN_PORT",),
    "action_set": ("2",),
}


@pytest.mark.parametrize("name", ENDS)
def test_where_the_packet_leaves(name: str) -> None:
    assert sample(name).passages[-1].ports == ENDS[name]


def test_a_miss_has_no_flow() -> None:
    (step,) = sample("missed").passages[0].steps
    assert (step.table, step.priority, step.remarks) == (0, None, ("No match.",))


def test_what_did_not_come_of_an_action_is_kept() -> None:
    steps = [sample(name).passages[-1].steps[-1] for name in ("expired", "not_sent")]
    assert steps[0].remarks == ("IPv6 decrement TTL exception",)
    assert steps[1].remarks == ("skipping output to input port",)


def test_the_last_packet_is_what_the_flows_made_of_it() -> None:
    answer = sample("answered").passages[0].packet
    assert answer["arp_op"] == 2
    assert answer["eth_dst"] == answer["arp_tha"] == 0xAABBCC000001
    translated = sample("translated").passages[-1].packet
    assert (translated["ipv4_src"], translated["udp_src"]) == (0x01020304, 5)


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"action_set"}))
def test_names_and_line_ends_make_no_difference(name: str) -> None:
    text = SAMPLES[name]
    other = text.replace("in_port=1", 'in_port="p1"').replace("output:2", "output:p2")
    other = other.replace(" 8. ", " 8(last). ").replace("\n", "\r\n")
    assert parse_trace_untrusted(other, PORTS.get) == sample(name)


def test_a_translation_that_failed_sends_nothing() -> None:
    text = SAMPLES["not_sent"].replace("Datapath actions", "Translation failed (Recursion), was")
    assert all(passage.ports == () for passage in parse_trace_untrusted(text).passages)


CUT_OFF = SAMPLES["missed"][: SAMPLES["missed"].index("Megaflow")]


@pytest.mark.parametrize("text", ["", "br77: unknown bridge", "Flow: ip,in_port=1", CUT_OFF])
def test_what_is_not_understood_is_an_error_with_a_remedy(text: str) -> None:
    with pytest.raises(LiveTraceError) as caught:
        parse_trace_untrusted(text)
    assert caught.value.remedy


@given(
    name=st.sampled_from(sorted(SAMPLES)),
    start=st.integers(0, 3000),
    length=st.integers(0, 60),
    noise=st.text(alphabet="0123456789. ,=->()\nabfctinoprsuw_", max_size=20),
)
def test_no_answer_does_harm(name: str, start: int, length: int, noise: str) -> None:
    text = SAMPLES[name]
    with suppress(LiveTraceError):
        parse_trace_untrusted(text[:start] + noise + text[start + length :])


# --- the question -------------------------------------------------------------------------------


def test_the_switch_is_asked_to_assume_what_the_walk_assumes() -> None:
    packet = parse_packet("in_port=1,tcp,tp_dst=443")
    bridge, flow, *options = trace_arguments("ovsbr0", packet, ["new", "est,rpl"])
    assert (bridge, flow) == ("ovsbr0", "in_port=1,tcp,tcp_dst=443")
    assert options[:4] == ["--ct-next", "new,trk", "--ct-next", "est,rpl,trk"]
    assert options[1::2] == ["new,trk", *["est,rpl,trk"] * (MAX_PASSAGES - 1)]


# --- comparing ----------------------------------------------------------------------------------


def goto(table: str) -> GotoTable:
    return GotoTable(number_of(table))


def do(*actions: Action) -> ApplyActions:
    return ApplyActions(actions)


def flow(table: str, *instructions: Instruction, priority: int = 10, **fields: Any) -> Flow:
    return Flow(table, priority, Match(**fields), instructions, Layer.BASE, "test", "")


STATE, PRIVACY = number_of("state"), number_of("privacy")
OURS = f"{flow('classify').cookie:#x}"
COOKIE = f"cookie {OURS}"
LOOK_UP = f"ct(table={STATE},zone=7)"
PACKET = parse_packet("in_port=1,udp,nw_dst=198.18.0.1,nw_ttl=9")
FLOWS = [
    flow("classify", Meter(5), do(load("reg0", 1), Ct(zone=7, table_id=STATE)), in_port=1),
    flow("state", do(Ct(CtFlag.COMMIT, 7)), goto("privacy"), ct_state="+new+trk", **IPV4),
    flow("privacy", do(SetNwTtl(64), Output(2)), priority=100, reg0=1),
]
FIELDS = "in_port=1,vlan_tci=0x0000,dl_src=00:00:00:00:00:00,nw_dst=198.18.0.1,nw_ttl=9,tp_dst=0"
SAME = f"""\
Flow: udp,{FIELDS}

bridge("ovsbr0")
----------------
 0. in_port=1, priority 10, {COOKIE}
    meter:5
    load:0x1->NXM_NX_REG0[]
    {LOOK_UP}
    drop
     -> A clone of the packet is forked to recirculate.

Final flow: udp,reg0=0x1,{FIELDS}
Megaflow: recirc_id=0
Datapath actions: meter(0),ct(zone=7),recirc(0x1)

recirc(0x1) - resume conntrack with ct_state=new|trk

Flow: recirc_id=0x1,ct_state=new|trk,ct_zone=7,udp,reg0=0x1,{FIELDS}

bridge("ovsbr0")
----------------
    thaw
        Resuming from table {STATE}
 {STATE}. ct_state=+new+trk,ip, priority 10, {COOKIE}
    ct(commit,zone=7)
    drop
    goto_table:{PRIVACY}
 {PRIVACY}. reg0=0x1, priority 100, {COOKIE}
    mod_nw_ttl:64
    output:2

Final flow: udp,reg0=0x1,{FIELDS.replace("nw_ttl=9", "nw_ttl=64")}
Megaflow: recirc_id=0x1
Datapath actions: ct(commit,zone=7),set(ipv4(ttl=64)),2
"""


def differences(flows: list[Flow], text: str) -> list[str]:
    return compare(walk(flows, PACKET), parse_trace_untrusted(text))


def test_a_switch_that_does_the_same_differs_nowhere() -> None:
    assert differences(FLOWS, SAME) == []


END = "the compiled pipeline sends the packet out of 2, the switch"
BY_FLOW = "the compiled pipeline sends it out by «reg0=0x1» of priority 100, the switch"
COMMIT = "ct(commit,zone=7)"
FIRST = "table classify: «in_port=1» of priority 10"
LAST = "«reg0=0x1» of priority 100"
TRACKED = "table state: «ct_state=+new+trk,ip» of priority 10"
ONWARD = f"goto_table:{PRIVACY}"
LAST_STEP = f" {PRIVACY}. reg0=0x1, priority 100, {COOKIE}\n    mod_nw_ttl:64\n    output:2\n"
# what is otherwise: in the switch's answer, with what instead, and how that is put
CHANGES = {
    "another flow": (
        "reg0=0x1, priority 100",
        "ip,reg0=0x1, priority 200",
        [f"table privacy: {BY_FLOW} sends it out by «ip,reg0=0x1» of priority 200"],
    ),
    "a flow is gone": (
        LAST_STEP,
        f" {PRIVACY}. No match.\n    drop\n",
        [f"table privacy: {BY_FLOW} drops it (No match.)", f"{END} drops the packet"],
    ),
    "another owner": (
        f"priority 100, {COOKIE}",
        "priority 100, cookie 0x7",
        [f"table privacy: {LAST} has the cookie 0x7 on the switch, not ours ({OURS})"],
    ),
    "another port": (
        "output:2",
        "output:3",
        [
            f"table privacy: {LAST} does output:2 as compiled, output:3 on the switch",
            f"{END} sends the packet out of 3",
        ],
    ),
    "an action more": (
        "output:2",
        "output:2\n    NORMAL",
        [f"table privacy: {LAST} does output:2 as compiled, output:2,NORMAL on the switch"],
    ),
    "no such port": (
        "output:2",
        "output:2\n     >> Nonexistent output port",
        [f"{END} drops the packet"],
    ),
    "another TTL": (
        "nw_ttl=64",
        "nw_ttl=63",
        ["after table privacy: nw_ttl is 64 as compiled, 63 on the switch"],
    ),
    "another register": (
        "udp,reg0=0x1,",
        "udp,",
        [
            "after table classify: reg0 is 0x1 as compiled, 0 on the switch",
            "after table privacy: reg0 is 0x1 as compiled, 0 on the switch",
        ],
    ),
    "not limited": (
        "    meter:5\n",
        "",
        [f"{FIRST} does meter:5,{LOOK_UP} as compiled, {LOOK_UP} on the switch"],
    ),
    "not remembered": (
        "    ct(commit,zone=7)\n    drop\n",
        "",
        [f"{TRACKED} does {COMMIT},{ONWARD} as compiled, {ONWARD} on the switch"],
    ),
    "a table less": (
        f"    {ONWARD}\n{LAST_STEP}",
        "",
        [
            f"{TRACKED} does {COMMIT},{ONWARD} as compiled, {COMMIT} on the switch",
            f"{END} drops the packet",
        ],
    ),
}


@pytest.mark.parametrize(("before", "after", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_the_switch_does_differently_is_named(
    before: str, after: str, expected: list[str]
) -> None:
    assert before in SAME
    assert differences(FLOWS, SAME.replace(before, after)) == expected


def test_ports_are_named_where_they_have_names() -> None:
    live = parse_trace_untrusted(SAME.replace("output:2", "output:3").replace("meter:5", "meter:2"))
    first = flow("classify", in_port=1)
    names = {1: "p1", 2: "p2"}
    assert compare(walk(FLOWS, PACKET), live, names.get)[1:] == [
        "the compiled pipeline sends the packet out of p2, the switch sends the packet out of 3"
    ]
    assert "«in_port=p1»" in compare(walk([first], PACKET), live, names.get)[0]


def test_a_packet_that_the_switch_keeps_for_itself_is_named() -> None:
    alone = SAME[: SAME.index("recirc(0x1) - ")]
    assert differences(FLOWS, alone) == [
        "the switch does not bring the packet back from connection tracking",
        "the compiled pipeline sends the packet out of 2, the switch drops the packet",
    ]


def test_which_of_two_equal_flows_is_taken_does_not_matter() -> None:
    missed = SAMPLES["missed"]
    drop = missed.replace("No match.", f"ip, priority 10, {COOKIE}").replace(
        "in_port=2", "in_port=1"
    )
    rivals = [flow("classify", in_port=1), flow("classify", **IPV4)]
    packet = parse_packet("in_port=1,ip")
    assert compare(walk(rivals, packet), parse_trace_untrusted(drop)) == []
    assert compare(walk(rivals[:1], packet), parse_trace_untrusted(drop)) != []


def test_a_ttl_that_ends_is_the_same_end() -> None:
    flows = [
        flow("classify", do(DecNwTtl()), goto("privacy"), in_port=1),
        flow("privacy", do(Output(PortNumber.LOCAL))),
    ]
    text = SAMPLES["missed"].replace(
        "No match.\n    drop",
        f"in_port=1, priority 10, {COOKIE}\n    dec_ttl\n     >> IPv4 decrement TTL exception",
    )
    packet = parse_packet("in_port=1,ip,nw_ttl=0")
    assert compare(walk(flows, packet), parse_trace_untrusted(text.replace("=2", "=1"))) == []
