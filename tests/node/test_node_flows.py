"""What is sent to the switch when ports come and go, and when another controller interferes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy_router.config import parse_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.gateway.hop import GATEWAY_ROLE
from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.node.flows.changes import between, flow_mods, items, meter_mods, zones_looked_up
from privacy_router.node.flows.desired import FlowPlan
from privacy_router.node.proxmox import container_mac, parse_mac
from privacy_router.openflow import (
    Difference,
    FlowMod,
    FlowModCommand,
    MeterCommand,
    MeterConfig,
)
from privacy_router.pipeline.allocation import port_of, tracking_zone
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.flow import RateLimit
from privacy_router.pipeline.tables import number_of
from privacy_router.values.bridges import PortRow

FUNCTION = {"function": "db", "target_socket": "internal_200", "match_fields": {"tcp_dst": 8080}}


def pipeline(**openflow: Any) -> Pipeline:
    section = {
        "netmaker": {"enabled": True},
        "containers": [{"id": 200, "name": "db", "container_type": "db"}],
        "openflow": {"function_routing": [FUNCTION], **openflow},
    }
    document = {"version": 1, "plugins": {"privacy_router": section}}
    config = parse_document(json.dumps(document), "test").config
    return Pipeline(config, CATALOGUE.segment(config))


def row(name: str, ofport: int | None, **given: Any) -> PortRow:
    mac = f"02:00:00:00:00:{ofport or 0:02x}"
    return PortRow(name, "internal", None, ofport, None, **{"mac_in_use": mac, **given})


def plan(*rows: PortRow, **openflow: Any) -> FlowPlan:
    made = FlowPlan(pipeline(**openflow), lambda _: None)
    made.set_rows(rows)
    return made


# --- ports --------------------------------------------------------------------------------------


def test_a_new_port_costs_its_own_flows_and_meters() -> None:
    kept = plan(row("nm-privacy", 8), row("internal_200", 9))
    before = len(kept.mods)
    assert kept.take_row("internal_201", row("internal_201", 10)) == {"internal_201"}
    changes = kept.recompile({"internal_201"})
    assert changes is not None
    assert len(changes.flows.added) == kept.size_of("internal_201") == len(kept.mods) - before
    assert not changes.flows.removed
    assert {mod.command for mod in changes.meters} == {MeterCommand.ADD}
    assert len(changes.meters) == 4
    assert changes.unused_meters == ()


def test_a_closed_tunnel_stays_closed_whatever_is_put_right_meanwhile() -> None:
    """A repair of one cookie alone must not take away the flows that close the tunnel."""
    kept = plan(row("nm-privacy", 8), row("internal_200", 9))
    opened = {mod.key(): mod for mod in kept.mods}
    kept.use(kept.pipeline, closed=True)
    closing = [mod for mod in kept.mods if mod.key() not in opened]
    assert len(closing) == len(kept.pipeline.segment.reserved_numbers)
    assert all(mod in kept.mods_under(mod.cookie) for mod in closing)
    wanted, _ = kept.base()
    assert all(mod in wanted[mod.cookie] for mod in closing)
    assert kept.take_row("internal_201", row("internal_201", 10)) == {"internal_201"}
    assert kept.recompile({"internal_201"}) is not None
    kept.set_rows([row("nm-privacy", 8)])  # all is compiled anew
    assert {mod.key() for mod in closing} <= {mod.key() for mod in kept.mods}
    kept.use(kept.pipeline, closed=False)
    assert not {mod.key() for mod in closing} & {mod.key() for mod in kept.mods}


def test_a_port_that_goes_takes_everything_along() -> None:
    kept = plan(row("nm-privacy", 8), row("internal_201", 10))
    size = kept.size_of("internal_201")
    assert kept.take_row("internal_201", None) == {"internal_201"}
    changes = kept.recompile({"internal_201"})
    assert changes is not None
    assert len(changes.flows.removed) == size
    assert {mod.options.command for mod in changes.flows.removed} == {FlowModCommand.DELETE_STRICT}
    assert len(changes.unused_meters) == 4
    assert kept.size_of("internal_201") == 0


def test_a_port_with_another_number_replaces_its_flows() -> None:
    kept = plan(row("internal_201", 10))
    kept.take_row("internal_201", row("internal_201", 11, mac_in_use="02:00:00:00:00:0a"))
    changes = kept.recompile({"internal_201"})
    assert changes is not None
    assert changes.flows.added
    assert changes.flows.removed
    assert kept.mods_under(next(iter(changes.flows.added)).cookie)


@pytest.mark.parametrize("new", ["internal_150", "internal_250"], ids=["before", "after"])
def test_a_port_that_gets_the_number_of_one_that_goes_owns_its_flows(new: str) -> None:
    kept = plan(row("nm-privacy", 8), row("internal_201", 10))
    kept.take_row("internal_201", None)
    kept.take_row(new, row(new, 10))
    changes = kept.recompile({"internal_201", new})
    assert changes is not None
    assert changes.unused_meters == ()
    mine = [mod for mod in kept.mods if port_of(mod.cookie) == 10]
    assert len(mine) == kept.size_of(new) > 0
    for cookie in {mod.cookie for mod in mine}:
        assert kept.mods_under(cookie) == [mod for mod in mine if mod.cookie == cookie]


def test_the_way_into_the_mesh_concerns_all() -> None:
    kept = plan(row("internal_200", 9))
    before = kept.size_of("internal_200")
    kept.take_row("nm-privacy", row("nm-privacy", 8))
    assert kept.recompile({"nm-privacy"}) is None
    assert kept.size_of("internal_200") > before, "it may ask the mesh for its own function now"


def test_a_port_that_left_for_a_namespace_keeps_its_mac() -> None:
    kept = plan(row("internal_200", 9))
    assert kept.loose_macs(["internal_200", "gone"]) == {"internal_200": "02:00:00:00:00:09"}
    assert kept.take_row("internal_200", row("internal_200", 9, mac_in_use=None)) == set()
    assert kept.mesh.ports["internal_200"].mac == "02:00:00:00:00:09"
    assert kept.loose_macs(["internal_200"]) == {}


def test_flows_are_found_by_their_cookie() -> None:
    kept = plan(row("nm-privacy", 8), row("internal_200", 9))
    for cookie in {mod.cookie for mod in kept.mods}:
        assert kept.mods_under(cookie) == [mod for mod in kept.mods if mod.cookie == cookie]
    for mod in kept.mods:
        assert kept.flow_of(mod).reason != "not of this configuration"
    assert kept.flow_of(FlowMod(table_id=77)).reason == "not of this configuration"


def test_a_port_whose_policy_may_not_be_is_left_out_and_the_others_are_served() -> None:
    bad = {
        "name": "late",
        "selector": "container:300",
        "template": {"match_fields": {"tp_dst": 1}, "actions": ["drop"]},
    }
    kept = plan(row("internal_200", 9), row("internal_300", 10), flow_policies=[bad])
    assert kept.size_of("internal_200")
    assert not kept.size_of("internal_300")
    assert "flow_policies[0]" in kept.mesh.left_out["internal_300"]


# --- what is sent -------------------------------------------------------------------------------


def test_of_two_ports_with_one_mac_the_first_is_served_until_it_goes() -> None:
    same = {"mac_in_use": "02:00:00:00:00:07"}
    kept = plan(row("internal_201", 9, **same), row("internal_202", 10, **same))
    assert kept.size_of("internal_201")
    assert not kept.size_of("internal_202")
    assert "internal_201" in kept.mesh.left_out["internal_202"]
    changed = kept.take_row("internal_201", None)
    assert kept.recompile(changed) is not None
    assert kept.size_of("internal_202")
    assert "internal_202" not in kept.mesh.left_out


def test_two_ports_that_exchange_their_macs_are_both_served() -> None:
    macs = [{"mac_in_use": f"02:00:00:00:00:0{number}"} for number in (7, 8)]
    kept = plan(row("internal_201", 9, **macs[0]), row("internal_202", 10, **macs[1]))
    changed = kept.take_row("internal_201", row("internal_201", 9, **macs[1]))
    changed |= kept.take_row("internal_202", row("internal_202", 10, **macs[0]))
    assert kept.recompile(changed) is not None
    assert not kept.mesh.left_out
    assert kept.size_of("internal_201") == kept.size_of("internal_202") > 0


def test_a_change_in_a_flow_is_sent_as_one_command() -> None:
    old = flow_mods(pipeline().base)
    new = flow_mods(pipeline(normal_ttl=128).base)
    changes = between(old, new, set(), [])
    assert len(changes.flows.changed) == 2
    assert not changes.flows.added
    assert not changes.flows.removed


def test_meters_are_added_changed_and_left_alone() -> None:
    def config(meter: RateLimit) -> MeterConfig:
        (mod,) = meter_mods([meter], {})
        return MeterConfig(mod.meter_id, mod.flags, mod.bands)

    same, other, new = (RateLimit(number, 100, "") for number in (1, 2, 3))
    present = {1: config(same), 2: config(RateLimit(2, 50, ""))}
    found = meter_mods([same, other, new], present)
    assert [(mod.meter_id, mod.command) for mod in found] == [
        (2, MeterCommand.MODIFY),
        (3, MeterCommand.ADD),
    ]


def test_changes_are_told_in_the_words_of_the_plan() -> None:
    kept = plan(row("internal_200", 9))
    kept.take_row("internal_200", None)
    changes = kept.recompile({"internal_200"})
    assert changes is not None
    told = items(changes, "ovsbr0", kept.flow_of)
    assert {change.verb for change in told} == {"remove"}
    assert {change.key.where for change in told} == {"ovsbr0"}


# --- Proxmox ------------------------------------------------------------------------------------

PCT = """arch: amd64
hostname: db
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth
net1: name=eth1,bridge=ovsbr0,hwaddr=BC:24:11:00:00:02,type=veth
net10: name=eth2,hwaddr=BC:24:11:00:00:10

[snapshot]
net1: name=eth1,hwaddr=BC:24:11:00:00:99
net5: name=eth5,hwaddr=BC:24:11:00:00:55
"""


@pytest.mark.parametrize(
    ("index", "mac"),
    [
        (0, "bc:24:11:00:00:01"),
        (1, "bc:24:11:00:00:02"),
        (10, "bc:24:11:00:00:10"),
        (5, None),
        (7, None),
    ],
)
def test_the_mac_of_a_container_is_in_its_configuration(index: int, mac: str | None) -> None:
    assert parse_mac(PCT, index) == mac


def test_only_proxmox_ports_are_looked_up(tmp_path: Any) -> None:
    (tmp_path / "200.conf").write_text(PCT)
    assert container_mac("veth200i1", tmp_path) == "bc:24:11:00:00:02"
    assert container_mac("fwln200o0", tmp_path) == "bc:24:11:00:00:01"
    assert container_mac("internal_200", tmp_path) is None
    assert container_mac("veth201i0", tmp_path) is None
    assert container_mac("eth0", tmp_path) is None


# --- connection tracking ------------------------------------------------------------------------


def test_zones_are_forgotten_whose_packets_were_not_looked_up() -> None:
    """What passed meanwhile would be out of its window."""
    program = flow_mods(pipeline().base)
    lookups = [mod for mod in program if mod.table_id == number_of("conntrack")]
    others = [mod for mod in program if mod.table_id != number_of("conntrack")]
    zones = {tracking_zone(GATEWAY_ROLE, WARP_ROLE)}
    assert zones_looked_up(Difference(added=tuple(lookups))) == zones
    assert zones_looked_up(Difference(changed=tuple(lookups))) == zones
    assert zones_looked_up(Difference(removed=tuple(lookups), added=tuple(others))) == set()


def test_without_security_flows_there_is_no_zone_to_forget() -> None:
    program = flow_mods(pipeline(enable_security_flows=False).base)
    assert zones_looked_up(Difference(added=program)) == set()
