"""The plugin openflow, as far as no switch is needed: notation, plans, what is ours, going back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import parse_document
from privacy_router.config.models import Plugins
from privacy_router.engine.model import Desired, Mode, Observed, Resource
from privacy_router.errors import StorageError
from privacy_router.host.dbus import Bus
from privacy_router.openflow import (
    FlowMod,
    FlowStats,
    GroupDesc,
    GroupMod,
    Match,
    Message,
    MeterConfig,
    MeterMod,
    format_instructions,
)
from privacy_router.pipeline.allocation import DECLARED_OWNER, OWNER, OWNER_MASK, layer_of
from privacy_router.pipeline.notation import FlowRefusedError
from privacy_router.pipeline.rivals import PipelineError
from privacy_router.plugins.openflow import OpenflowPlugin
from privacy_router.plugins.openflow.actions import actions, instructions, read_actions
from privacy_router.plugins.openflow.apply import steps_to, target_for
from privacy_router.plugins.openflow.declare import Payload, declare, key
from privacy_router.plugins.openflow.observe import seen
from privacy_router.plugins.openflow.ownership import (
    Anchored,
    Mark,
    Part,
    anchor,
    cookie,
    is_ours,
    mark_of,
    part_of,
    policy_number,
)
from privacy_router.plugins.openflow.program import compile_bridge, nothing_on
from privacy_router.plugins.openflow.rollback import Claims, read_written, written_down
from privacy_router.plugins.openflow.survey import Survey, survey_of
from privacy_router.plugins.openflow.switch import SwitchState
from privacy_router.plugins.target import Machine

PORTS = {"vmbr0": 0xFFFFFFFE, "eth1": 1, "eth2": 2, "internal_200": 3}
DROP = {"priority": 200, "match_fields": {"tcp_dst": 25}, "actions": ["drop"]}


def section(**parts: Any) -> Any:
    return Plugins.model_validate({"openflow": {"bridges": {"vmbr0": parts}}}).openflow


def bridge(**parts: Any) -> Any:
    return section(**parts).bridges["vmbr0"]


def flow(*does: str, priority: int = 100, table: int = 0, **match: Any) -> dict[str, Any]:
    return {
        "match_fields": match,
        "actions": list(does),
        "priority": priority,
        "table": table,
    }


def policy(selector: str, *does: str, name: str = "one", **match: Any) -> dict[str, Any]:
    return {
        "name": name,
        "selector": selector,
        "template": {"match_fields": match, "actions": list(does)},
    }


# --- notation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "sent"),
    [
        (["drop"], "drop"),
        (["output:eth2"], "output:2"),
        (["in_port"], "IN_PORT"),
        (["local"], "LOCAL"),
        (["flood"], "FLOOD"),
        (["output:eth1", "output:eth2"], "output:1,output:2"),
        (["meter:5", "group:7"], "meter:5,group:7"),
        (["dec_ttl", "mod_nw_ttl:9", "mod_nw_tos:32", "normal"], None),
        (
            ["mod_dl_src:02:00:00:00:00:01", "mod_nw_dst:192.0.2.1", "mod_tp_dst:80", "all"],
            (
                "set_field:02:00:00:00:00:01->eth_src,set_field:192.0.2.1->ip_dst,"
                "set_field:80->tcp_dst,ALL"
            ),
        ),
        (
            ["push_vlan", "set_field:10->vlan_vid", "set_field:3->vlan_pcp", "output:eth1"],
            "push_vlan:0x8100,set_field:0x100a->vlan_vid,set_field:3->vlan_pcp,output:1",
        ),
        (["set_queue:3", "strip_vlan", "goto_table:9"], "set_queue:3,pop_vlan,goto_table:9"),
    ],
    ids=str,
)
def test_actions_say_what_is_sent(texts: list[str], sent: str | None) -> None:
    does = read_actions("here", texts, table=0)
    match = Match(eth_type=0x800, ip_proto=6)
    made = instructions(does, match, lambda name: PORTS[name])
    expected = sent or "dec_ttl,mod_nw_ttl:9,set_field:8->ip_dscp,NORMAL"
    assert format_instructions(made) == expected


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["drop", "normal"], "here[0]: drop: drop stands alone"),
        (["outptu:eth1"], "here[0]: outptu:eth1: no such action"),
        (["output:3"], "here[0]: output:3: a port is named after output:"),
        (["output:"], "a port is named after output:"),
        (["output:NORMAL"], "write normal alone"),
        (["normal", "meter:5"], "here[1]: meter:5: a meter comes first"),
        (["goto_table:3", "normal"], "here[0]: goto_table:3: another table comes last"),
        (["goto_table:2"], "a number from 3 to 252 is expected"),
        (["goto_table:253"], "a number from 3 to 252 is expected"),
        (["group:0"], "no such value"),
        (["group:x"], "no such value"),
        (["mod_nw_ttl:0"], "no such value"),
        (["mod_nw_tos:3"], "no such value"),
        (["mod_nw_dst:10.0.0.0/8"], "no such value"),
        (["set_field:1->reg0"], "reg0 is not a field to set"),
        (["set_field:1"], "set_field:VALUE->FIELD is expected"),
        (["controller"], "op-dbus is no controller"),
        (["resubmit:3"], "a pipeline of its own"),
        (["mod_vlan_vid:7"], "write push_vlan"),
        (["->"], "no action is written like that"),
    ],
    ids=str,
)
def test_an_action_that_is_none_names_its_place(texts: list[str], words: str) -> None:
    with pytest.raises(FlowRefusedError) as caught:
        read_actions("here", texts, table=2)
    assert caught.value.message.startswith("here[")
    assert words in caught.value.message
    assert "Use drop, or output:PORT" in caught.value.remedy


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)))
def test_any_text_is_actions_or_one_error(texts: list[str]) -> None:
    try:
        does = read_actions("here", texts, table=0)
        actions(does, None, lambda _: 1)
    except FlowRefusedError as error:
        assert error.message.startswith("here")


@given(
    st.sampled_from(["set_field", "mod_nw_dst", "mod_dl_src", "mod_tp_src", "meter", "group"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.sampled_from(["", "->eth_src", "->vlan_vid", "->ip_dscp", "->nw_ttl", "->arp_op"]),
)
def test_any_value_is_taken_or_one_error(word: str, value: str, end: str) -> None:
    try:
        read_actions("here", [f"{word}:{value}{end}"], table=0)
    except FlowRefusedError as error:
        assert error.message.startswith("here[0]")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"flows": [flow("drop", tpc_dst=25)]}, "flows[0].match_fields: there is no match field"),
        ({"flows": [flow("group:7")]}, "flows[0]: group:7 is not declared"),
        ({"flows": [flow("meter:7", "normal")]}, "flows[0]: meter:7 is not declared"),
        ({"flows": [flow("dec_ttl", "normal", dl_type="arp")]}, "only IP packets"),
        ({"flows": [flow("mod_nw_dst:192.0.2.1", "normal")]}, "need not have ipv4_dst to set"),
        ({"flows": [flow("mod_tp_dst:1", "normal")]}, "mod_tp_dst:1 is a port of an unknown"),
        ({"flows": [flow("set_field:1->vlan_vid", "normal")]}, "need not have vlan_vid to set"),
        ({"flows": [flow("drop", nw_proto="icmp", dl_type="ipv6")]}, "no packet is like that"),
        (
            {"groups": {"7": {"type": "all", "buckets": [{"actions": ["group:8"]}]}}},
            'groups["7"].buckets[0].actions[0]: group:8: a bucket leads to ports only',
        ),
        (
            {"policies": [policy("port:eth*", "outptu:{port_name}")]},
            "policies[0].template.actions[0]: outptu:internal_100: no such action",
        ),
    ],
)
def test_what_a_section_cannot_mean_names_its_key(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(FlowRefusedError) as caught:
        declare(section(**parts))
    assert caught.value.message.startswith("plugins.openflow.bridges.vmbr0.")
    assert words in caught.value.message
    assert caught.value.remedy


def test_flows_that_contradict_each_other_are_refused_with_both_keys() -> None:
    flows = [flow("drop", tcp_dst=25), flow("normal", nw_src="192.0.2.0/24")]
    with pytest.raises(PipelineError, match=r"flows\[1\] and .*flows\[0\] want the same packets"):
        declare(section(flows=flows))
    declare(section(flows=[flows[0], flow("normal", table=1, nw_src="192.0.2.0/24")]))


def test_what_is_declared_has_a_resource_each() -> None:
    desired = declare(
        section(
            flows=[flow("group:7", in_port="eth1")],
            groups={"7": {"type": "all", "buckets": []}},
            policies=[policy("port:*", "drop", tcp_dst=23)],
            mode="observe-only",
        )
    )
    assert [f"{one.kind} {one.name}" for one in desired.resources] == [
        "obstacles vmbr0",
        "flow vmbr0/000 00100 in_port=eth1",
        "group vmbr0/7",
        "policy vmbr0/one",
    ]
    assert {one.mode for one in desired.resources.values()} == {Mode.OBSERVE_ONLY}
    assert declare(None) == Desired(payload=Payload())


def test_the_example_compiles() -> None:
    text = (Path(__file__).parents[2] / "examples" / "bridge.json").read_text()
    declared = parse_document(text, "the example").plugins.openflow
    kinds = [one.kind for one in declare(declared).resources]
    assert [kinds.count(one) for one in ("flow", "group", "meter", "policy")] == [
        4,
        1,
        1,
        1,
    ]  # port 80 is two flows


# --- whose it is ----------------------------------------------------------------------------------


def test_cookies_differ_from_those_of_the_node() -> None:
    assert DECLARED_OWNER & OWNER_MASK != OWNER
    assert [is_ours(cookie(part)) for part in Part] == [True] * 3
    assert [layer_of(cookie(part)) for part in Part] == [None] * 3
    assert [part_of(cookie(part, 7)) for part in Part] == list(Part)
    assert part_of(DECLARED_OWNER) is None
    assert not is_ours(OWNER | 7)


@given(st.sampled_from(Anchored), st.integers(0, 0xFFFFFFFF))
def test_an_anchor_says_what_it_is_for(kind: Anchored, number: int) -> None:
    found = anchor(Mark(kind, number))
    assert mark_of(found) == Mark(kind, number)
    stranger = FlowMod(match=found.match, table_id=found.table_id, cookie=7)
    assert mark_of(stranger) is None


# --- a switch beside a section --------------------------------------------------------------------


def as_state(*messages: Message, ports: dict[str, int] = PORTS) -> SwitchState:
    """A switch that was sent these."""
    flows = [
        FlowStats(one.table_id, one.priority, one.match, one.instructions, one.cookie)
        for one in messages
        if isinstance(one, FlowMod)
    ]
    groups = [one for one in messages if isinstance(one, GroupMod)]
    meters = [one for one in messages if isinstance(one, MeterMod)]
    return SwitchState(
        ports,
        {one.key(): one for one in flows},
        {g.group_id: GroupDesc(g.group_id, g.group_type, g.buckets) for g in groups},
        {m.meter_id: MeterConfig(m.meter_id, m.flags, m.bands) for m in meters},
    )


WHOLE: dict[str, Any] = {
    "flows": [flow("meter:5", "group:7", in_port="eth1"), DROP],
    "groups": {"7": {"type": "select", "buckets": [{"actions": ["output:eth2"]}]}},
    "meters": {"5": {"packets_per_s": 10}},
    "policies": [policy("container:*", "output:{port_name}", in_port="eth2", tcp_dst=22)],
}


def survey(state: SwitchState | None = None, **parts: Any) -> Survey:
    found = as_state() if state is None else state
    return survey_of(compile_bridge("vmbr0", bridge(**parts), found.ports), found, {})


def made(**parts: Any) -> SwitchState:
    """A switch that has what is declared."""
    steps = steps_to(survey(**parts).target, as_state())
    return as_state(*steps.meters, *steps.bundle)


def test_what_is_made_leaves_nothing_to_do() -> None:
    state = made(**WHOLE)
    assert not steps_to(survey(state, **WHOLE).target, state)
    desired = declare(section(**WHOLE))
    found = seen([survey(state, **WHOLE)], desired, desired.payload.bridges)
    assert OpenflowPlugin(Machine(Bus(None))).diff(desired, found) == []


def test_meters_come_before_the_bundle_and_go_after_it() -> None:
    steps = steps_to(survey(**WHOLE).target, as_state())
    assert [type(one) for one in steps.meters] == [MeterMod]
    assert isinstance(steps.bundle[0], GroupMod)
    assert not any(isinstance(one, MeterMod) for one in steps.bundle)
    away = steps_to(survey_of(nothing_on("vmbr0", PORTS), made(**WHOLE), {}).target, made(**WHOLE))
    assert away.unused_meters == (5,)
    assert isinstance(away.bundle[-1], GroupMod)


def test_what_waits_is_reported_and_not_made() -> None:
    parts = {
        **WHOLE,
        "flows": [flow("group:7", in_port="eth1"), flow("output:eth9", priority=50, udp_dst=9)],
    }
    found = survey(**parts)
    assert [one.may_come for one in found.obstacles] == [True]
    assert "flows[1]: vmbr0 has no port eth9" in found.obstacles[0].text
    assert "did you mean eth2?" in found.obstacles[0].remedy
    desired = declare(section(**parts))
    looked = seen([found], desired, desired.payload.bridges)
    changes = OpenflowPlugin(Machine(Bus(None))).diff(desired, looked)
    waiting = [one.key.name for one in changes if one.note == "waits for the port eth9"]
    assert {one.mode for one in changes if one.note} == {Mode.OBSERVE_ONLY}
    assert waiting == ["vmbr0/000 00050 udp,tp_dst=9", "vmbr0/000 00050 udp6,tp_dst=9"]
    assert all(one.match.value("udp_dst") is None for one in found.target.flows.values())


def test_what_is_taken_over_is_what_waits_too() -> None:
    desired = declare(section(**WHOLE))
    found = survey_of(compile_bridge("vmbr0", bridge(**WHOLE), {}), None, {})
    looked = seen([found], desired, desired.payload.bridges)
    plugin = OpenflowPlugin(Machine(Bus(None)))
    changes = [one for one in plugin.diff(desired, looked) if one.mode is Mode.ENFORCE]
    assert [one.key for one in changes] == [key("obstacles", "vmbr0")]
    taken = plugin.takes(desired, looked, changes)
    assert taken.keys() == desired.resources.keys() - {key("obstacles", "vmbr0")}
    assert set(taken.values()) == {None}


def test_a_policy_that_needs_a_container_leaves_other_ports_out() -> None:
    found = survey(policies=[policy("port:*", "drop", tcp_dst="{container_id}")])
    assert len(found.program.policy_flows) == 2  # of internal_200, for either version of IP
    assert len(found.obstacles) == 2
    assert "{container_id} means nothing for the port eth1" in found.obstacles[0].text


def test_flows_of_ours_that_nothing_declares_are_taken_away() -> None:
    state = made(**WHOLE)
    desired = declare(section(flows=[DROP]))
    found = seen([survey(state, flows=[DROP])], desired, desired.payload.bridges)
    changes = OpenflowPlugin(Machine(Bus(None))).diff(desired, found)
    assert {one.verb for one in changes} == {"remove"}
    assert len(changes) == 1 + 2 + 3  # the first flow, the policy's, three anchors


def test_of_a_bridge_that_is_only_observed_no_more_goes_than_is_given_back() -> None:
    state = made(**WHOLE)
    observed = declare(section(mode="observe-only", flows=[DROP]))
    parts = {name: WHOLE[name] for name in ("groups", "meters")}
    gone = declare(section(**parts, flows=WHOLE["flows"][:1]))
    released = {one: Resource(None) for one in gone.resources}
    desired = Desired({**observed.resources, **released}, observed.payload)
    target = target_for(survey(state, mode="observe-only", flows=[DROP]), desired)
    assert (target.groups, target.meters) == ({}, {})
    left = {part_of(one.cookie) for one in target.flows.values()}
    assert left == {Part.FLOW, Part.POLICY, Part.ANCHOR}
    marks = [mark_of(one) for one in target.flows.values()]
    assert [one for one in marks if one] == [Mark(Anchored.POLICY, policy_number("one"))]


# --- going back -----------------------------------------------------------------------------------


def test_what_is_written_down_is_read_again_whole() -> None:
    state = made(**WHOLE)
    written = json.loads(json.dumps(written_down(state, {5, 6})))
    target, claims = read_written(written)
    assert not steps_to(target, state)
    assert claims == Claims(frozenset({6}))
    steps = steps_to(target, as_state())
    assert as_state(*steps.meters, *steps.bundle) == state


def test_what_others_had_stays_theirs() -> None:
    other = GroupMod(0, 7, 1, survey(**WHOLE).target.groups[7].buckets)
    written = written_down(as_state(other), set())
    target, claims = read_written(written)
    back = steps_to(target, made(**WHOLE), claims)
    assert not any(isinstance(one, GroupMod) for one in back.bundle)
    assert back.unused_meters == (5,)


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"messages": ["zz"], "new_meters": [], "others_groups": [], "others_meters": []},
        {"messages": ["04"], "new_meters": [], "others_groups": [], "others_meters": []},
        {"messages": [], "new_meters": ["x"], "others_groups": [], "others_meters": []},
    ],
)
def test_what_is_damaged_is_one_error(written: Any) -> None:
    with pytest.raises(StorageError, match="damaged"):
        read_written(written)


# --- the machine ----------------------------------------------------------------------------------


async def test_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    plugin = OpenflowPlugin(Machine(Bus(None), tmp_path))
    missing = await plugin.availability()
    assert not missing
    assert "apt-get install openvswitch-switch" in missing.remedy
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/ovs-vswitchd").touch(mode=0o755)
    assert await plugin.availability()


async def test_without_open_vswitch_there_are_no_bridges(tmp_path: Path) -> None:
    plugin = OpenflowPlugin(Machine(Bus(None), tmp_path))
    assert await plugin.query() == Observed()
    desired = plugin.declare(section(flows=[DROP]))
    found = await plugin.observe(desired)
    assert found.values == {key("obstacles", "vmbr0"): ["there is no bridge vmbr0"]}
    assert plugin.lost_of(desired.resources, desired, found) == sorted(desired.resources)
