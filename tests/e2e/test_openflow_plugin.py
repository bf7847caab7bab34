"""The plugin openflow on a bridge of a real Open vSwitch, with packets through it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode, enforced
from privacy_router.errors import MissingPrerequisiteError, PrivacyRouterError
from privacy_router.plugins.openflow.switch import BridgeSwitchError
from tests.e2e.net_machine import net_machine, said
from tests.e2e.openflow_bridge import (
    BRIDGE,
    FORWARD,
    add_port,
    connect_neighbour,
    everything,
    flows,
    make_bridge,
    ofctl,
    pings,
    plan,
    plugin,
    put,
    remove_bridge,
    section,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e

NO_PING = {"priority": 200, "match_fields": {"nw_proto": "icmp"}, "actions": ["drop"]}
WHOLE: dict[str, Any] = {
    "flows": [
        *FORWARD,
        {"table": 3, "match_fields": {"in_port": "p1"}, "actions": ["meter:5", "group:7"]},
        {
            "table": 3,
            "match_fields": {"in_port": "p2", "nw_dst": "192.0.2.0/24"},
            "actions": ["mod_nw_ttl:64", "mod_nw_tos:32", "dec_ttl", "output:p1"],
        },
        {
            "table": 4,
            "match_fields": {"tcp_dst": 8080},
            "actions": ["mod_tp_dst:80", "push_vlan", "set_field:10->vlan_vid", "normal"],
        },
    ],
    "groups": {
        "7": {
            "type": "select",
            "buckets": [
                {"actions": ["output:p2"], "weight": 3},
                {"actions": ["mod_dl_dst:02:00:00:00:00:09", "output:eth1"]},
            ],
        },
        "8": {
            "type": "fast_failover",
            "buckets": [{"actions": ["output:p2"], "watch_port": "p2"}],
        },
        "9": {"type": "all", "buckets": [{"actions": ["output:p1"]}, {"actions": ["drop"]}]},
    },
    "meters": {"5": {"packets_per_s": 100}, "6": {"kbit_per_s": 1000, "burst": 5}},
    "policies": [
        {
            "name": "no-telnet",
            "selector": "port:p*",
            "template": {"priority": 300, "match_fields": {"tcp_dst": 23}, "actions": ["drop"]},
        },
        {
            "name": "of-tomorrow",
            "selector": "container:*",
            "template": {
                "match_fields": {"in_port": "eth1", "nw_dst": "192.0.2.9", "tcp_dst": 22},
                "actions": ["output:{port_name}"],
                "description": "{container_id} of {bridge}",
            },
        },
    ],
}


@pytest.fixture(scope="module")
def whole_machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        connect_neighbour(made)
        yield made


@pytest.fixture
def machine(whole_machine: NetMachine) -> Iterator[NetMachine]:
    make_bridge(whole_machine)
    yield whole_machine
    remove_bridge(whole_machine)


async def test_packets_do_as_declared_and_others_flows_stay(machine: NetMachine) -> None:
    ofctl(machine, "add-flow", "priority=7,arp,cookie=0xabc,actions=FLOOD")
    ofctl(machine, "add-group", "group_id=3,type=all,bucket=output:1")
    ofctl(machine, "add-meter", "meter=3,pktps,band=type=drop,rate=5")
    before = everything(machine)
    assert not pings(machine)
    checkpoint = await put(plugin(machine), section(flows=FORWARD))
    assert pings(machine)
    closing = await put(plugin(machine), section(flows=[*FORWARD, NO_PING]))
    assert not pings(machine)
    await plugin(machine).rollback(json.loads(json.dumps(closing)), said)
    assert pings(machine)
    await plugin(machine).rollback(json.loads(json.dumps(checkpoint)), said)
    assert everything(machine) == before


async def test_every_notation_is_read_back_as_it_was_set(machine: NetMachine) -> None:
    before = everything(machine)
    checkpoint = await put(plugin(machine), section(**WHOLE))
    assert (await plan(plugin(machine), section(**WHOLE)))[1] == []
    assert len(flows(machine, "table=3")) == 2
    assert "mod_nw_ttl:64,set_field:8->ip_dscp,dec_ttl" in flows(machine, "table=3,ip")[0]
    assert len(flows(machine, "tcp,tp_dst=23")) == 2
    assert flows(machine, "tcp,nw_dst=192.0.2.9") == []
    await plugin(machine).rollback(checkpoint, said)
    await plugin(machine).rollback(checkpoint, said)
    assert everything(machine) == before


async def test_going_back_brings_back_what_was_deleted(machine: NetMachine) -> None:
    await put(plugin(machine), section(**WHOLE))
    before = everything(machine)
    made = plugin(machine)
    desired = made.declare(section(flows=FORWARD))
    released = set(made.declare(section(**WHOLE)).resources) - desired.resources.keys()
    assert len(released) > 5
    checkpoint = await put(made, section(flows=FORWARD))
    assert len(flows(machine)) == len(FORWARD)
    await made.rollback(json.loads(json.dumps(checkpoint)), said)
    assert everything(machine) == before


@pytest.mark.parametrize(
    "damage",
    [
        ("del-flows", "in_port=1"),
        ("del-flows",),
        ("mod-flows", "actions=drop"),
        ("mod-flows", "table=253,actions=drop"),
        ("add-flow", "cookie=0x4f44000100000000,priority=9,udp,actions=drop"),
        ("del-groups",),
        ("del-groups", "group_id=7"),
        ("mod-group", "group_id=8,type=all,bucket=output:1"),
        ("del-meters",),
        ("del-meter", "meter=5"),
        ("mod-meter", "meter=6,pktps,band=type=drop,rate=1"),
    ],
    ids=" ".join,
)
async def test_drift_is_seen_and_put_right(machine: NetMachine, damage: tuple[str, ...]) -> None:
    made = plugin(machine)
    await put(made, section(**WHOLE))
    before = everything(machine)
    ofctl(machine, *damage)
    assert everything(machine) != before
    desired, changes = await plan(made, section(**WHOLE))
    assert enforced(changes) == changes != []
    await made.check(desired, changes)
    await made.apply(desired, changes, said)
    assert everything(machine) == before
    assert (await plan(made, section(**WHOLE)))[1] == []


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (
            ("add-flow", "cookie=0xabc,in_port=eth1,priority=100,actions=NORMAL"),
            ["bridges.vmbr0.flows[1]: another program has a flow", "cookie=0xabc", "NORMAL"],
        ),
        (
            ("add-flow", "in_port=p1,priority=300,tcp,tp_dst=23,actions=drop"),
            ["bridges.vmbr0.policies[0].template: another program has a flow", "actions=drop"],
        ),
        (
            ("add-group", "group_id=9,type=all,bucket=output:1"),
            ['bridges.vmbr0.groups["9"]: another program has a group 9'],
        ),
        (
            ("add-meter", "meter=5,pktps,band=type=drop,rate=5"),
            ['bridges.vmbr0.meters["5"]: another program has a meter 5'],
        ),
    ],
    ids=["flow", "flow-of-a-policy", "group", "meter"],
)
async def test_a_place_that_another_program_has_is_refused(
    machine: NetMachine, theirs: tuple[str, ...], words: list[str]
) -> None:
    ofctl(machine, *theirs)
    before = everything(machine)
    with pytest.raises(RefusedError) as caught:
        await put(plugin(machine), section(**WHOLE))
    assert all(word in caught.value.message for word in words), caught.value.message
    assert "another" in caught.value.remedy
    assert everything(machine) == before


async def test_a_place_that_is_taken_in_the_meantime_is_not_overwritten(
    machine: NetMachine,
) -> None:
    made = plugin(machine)
    desired, changes = await plan(made, section(flows=FORWARD))
    await made.check(desired, changes)
    checkpoint = await made.checkpoint(changes)
    await made.apply(desired, changes, said)
    ofctl(machine, "add-flow", "cookie=0xabc,in_port=eth1,priority=100,actions=NORMAL")
    before = everything(machine)
    _, left = await plan(made, section(flows=FORWARD))
    assert {one.mode for one in left if one.key.kind == "flow"} == {Mode.OBSERVE_ONLY}
    assert next(one.before for one in left if one.key.kind == "obstacles")
    await made.rollback(checkpoint, said)
    assert set(before[0]) - set(everything(machine)[0]) == {
        line for line in before[0] if "cookie=0x4f44" in line
    }


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ("priority=5,actions=group:7", "the group 7 of vmbr0 cannot go"),
        ("priority=5,actions=meter:5,output:1", "the meter 5 of vmbr0 cannot go"),
    ],
)
async def test_what_other_programs_flows_lead_to_stays(
    machine: NetMachine, theirs: str, words: str
) -> None:
    await put(plugin(machine), section(**WHOLE))
    ofctl(machine, "add-flow", theirs)
    before = everything(machine)
    with pytest.raises(RefusedError, match=words):
        await put(plugin(machine), section(flows=FORWARD))
    assert everything(machine) == before


async def test_a_bridge_that_is_not_there_is_an_obstacle_with_a_remedy(
    machine: NetMachine,
) -> None:
    made, declared = plugin(machine), section("vmbr9", flows=[NO_PING])
    desired, changes = await plan(made, declared)
    assert [(str(one.key), one.before) for one in enforced(changes)] == [
        ("openflow obstacles vmbr9", ["there is no bridge vmbr9"])
    ]
    await made.check(desired, changes)  # the plugin net may make it in the same run
    with pytest.raises(MissingPrerequisiteError, match="there is no bridge vmbr9") as caught:
        await made.apply(desired, enforced(changes), said)
    assert "ovs-vsctl add-br vmbr9" in caught.value.remedy


async def test_a_port_that_is_not_there_stops_only_what_names_it(machine: NetMachine) -> None:
    made = plugin(machine)
    lost = {"priority": 7, "match_fields": {"in_port": "p11"}, "actions": ["output:eth1"]}
    declared = section(flows=[*FORWARD, lost])
    desired, changes = await plan(made, declared)
    checkpoint = await made.checkpoint(changes)
    with pytest.raises(MissingPrerequisiteError) as caught:
        await made.apply(desired, enforced(changes), said)
    assert "bridges.vmbr0.flows[2]: vmbr0 has no port p11" in caught.value.message
    assert "did you mean p1?" in caught.value.remedy
    assert pings(machine)
    add_port(machine, "p11")
    await put(made, declared)
    assert len(flows(machine)) == 3
    machine.vsctl("del-port", "p11")
    desired, changes = await plan(made, declared)
    with pytest.raises(MissingPrerequisiteError, match="p11"):
        await made.apply(desired, enforced(changes), said)
    assert len(flows(machine)) == 2
    await made.rollback(checkpoint, said)
    assert flows(machine) == []


async def test_a_policy_follows_the_ports(machine: NetMachine) -> None:
    made, declared = plugin(machine), section(**WHOLE)
    await put(made, declared)
    add_port(machine, "internal_200")
    desired, changes = await plan(made, declared)
    assert [one.verb for one in changes] == ["add"]
    assert "nw_dst=192.0.2.9" in changes[0].key.name
    await made.apply(desired, changes, said)
    assert len(flows(machine, "tcp,nw_dst=192.0.2.9")) == 1
    machine.vsctl("del-port", "internal_200")
    desired, changes = await plan(made, declared)
    assert [one.verb for one in changes] == ["remove"]
    await made.apply(desired, changes, said)
    assert flows(machine, "tcp,nw_dst=192.0.2.9") == []


async def test_policies_that_contradict_each_other_on_a_port_are_refused(
    machine: NetMachine,
) -> None:
    def policy(name: str, **template: Any) -> dict[str, Any]:
        return {"name": name, "selector": "port:p1", "template": template}

    one = policy("one", match_fields={"tcp_dst": 25}, actions=["drop"])
    other = policy("other", match_fields={"nw_dst": "192.0.2.1"}, actions=["normal"])
    with pytest.raises(RefusedError, match=r"policies\[1\].*policies\[0\].*same packets"):
        await put(plugin(machine), section(policies=[one, other]))
    assert flows(machine) == []


async def test_the_privacy_routers_bridge_is_refused(machine: NetMachine) -> None:
    machine.vsctl("set", "bridge", BRIDGE, "external_ids:privacy-router=1")
    with pytest.raises(RefusedError, match="the privacy router's bridge") as caught:
        await put(plugin(machine), section(flows=FORWARD))
    assert "flow_policies" in caught.value.remedy
    assert flows(machine) == []


async def test_what_the_switch_refuses_leaves_all_as_it_was(machine: NetMachine) -> None:
    await put(plugin(machine), section(flows=FORWARD))
    limit = ("--", "--id=@limit", "create", "Flow_Table", "flow_limit=3")
    machine.vsctl("set", "bridge", BRIDGE, "flow_tables:0=@limit", *limit)
    before = everything(machine)
    more = [NO_PING, {"priority": 9, "match_fields": {"in_port": "p1"}, "actions": ["normal"]}]
    with pytest.raises(
        BridgeSwitchError, match=r"bridges\.vmbr0\.flows\[3\]: .*TABLE_FULL"
    ) as caught:
        await put(plugin(machine), section(**{**WHOLE, "flows": [*FORWARD, *more]}))
    assert "vswitchd's log" in caught.value.remedy
    assert everything(machine)[0] == before[0]


async def test_only_observed_is_reported_and_left(machine: NetMachine) -> None:
    made = plugin(machine)
    await put(made, section(**WHOLE))
    before = everything(machine)
    observed = section(mode="observe-only", flows=FORWARD[:1])
    _, changes = await plan(made, observed)
    assert {one.mode for one in changes} == {Mode.OBSERVE_ONLY}
    assert everything(machine) == before


async def test_a_meter_that_a_cut_short_run_left_is_taken_away(machine: NetMachine) -> None:
    made = plugin(machine)
    _, changes = await plan(made, section(**WHOLE))
    checkpoint = await made.checkpoint(changes)
    ofctl(machine, "add-meter", "meter=5,pktps,burst,stats,band=type=drop,rate=100,burst_size=100")
    await made.rollback(checkpoint, said)
    assert everything(machine) == [[], [], []]


async def test_what_was_taken_over_stays_when_that_is_undone(machine: NetMachine) -> None:
    """A group and a meter of another program that are as declared already."""
    made, meter = plugin(machine), "meter=6,kbps,burst,stats,band=type=drop,rate=1000,burst_size=5"
    ofctl(machine, "add-group", "group_id=9,type=all,bucket=output:2,bucket=drop")
    ofctl(machine, "add-meter", meter)
    before = everything(machine)
    checkpoint = await put(made, section(**WHOLE))
    await made.rollback(checkpoint, said)
    assert everything(machine) == before


async def test_a_switch_that_does_not_answer_is_an_error(machine: NetMachine) -> None:
    await put(plugin(machine), section(flows=FORWARD))
    machine.kill("ovs-vswitchd")
    try:
        with pytest.raises(PrivacyRouterError, match=r"vmbr0 does not do") as caught:
            await plan(plugin(machine), section(flows=FORWARD))
        assert caught.value.retryable
    finally:
        machine.start_vswitchd()
    await put(plugin(machine), section(flows=FORWARD))
