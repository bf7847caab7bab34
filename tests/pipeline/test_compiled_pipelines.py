"""What the compiled tables do with packets: the chain and nothing but the chain, for every set of
hops; the mesh apart from it; and what is wrong is refused before a switch sees it."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.openflow import ApplyActions, GotoTable, Match, Meter, Output, PortNumber
from privacy_router.pipeline.allocation import Layer, cookie, layer_of, port_of
from privacy_router.pipeline.checks import check
from privacy_router.pipeline.flow import Flow, Program, join
from privacy_router.pipeline.notation import FlowRefusedError
from privacy_router.pipeline.rivals import PipelineError
from privacy_router.pipeline.tables import TABLES, number_of, table_of
from privacy_router.pipeline.trace.packet import parse_packet, with_defaults
from privacy_router.pipeline.trace.walk import Dropped, Sent, Walk, own_mac, walk
from tests.pipeline.compiled_pipelines import (
    FUNCTIONS,
    HOP_SETS,
    MESH,
    SEED_SECTIONS,
    Compiled,
    compiled,
)

CLIENT, SITE, VPS_ADDRESS = "10.101.0.2", "203.0.113.7", "192.0.2.9"
CLIENT6, SITE6 = "fd70:7276:6174:1::2", "2001:db8::7"
XRAY = "10.102.0.3"


def send(one: Compiled, text: str, *states: str) -> Walk:
    """Walk a packet; the sender's MAC is its port's where the text has none."""
    numbers = {name: one.number(name) for name in _all_ports(one)}
    packet = parse_packet(text, numbers.get)
    flows = one.program.flows
    mac = own_mac(flows, packet["in_port"])
    begins = not states or states[0] == "new"
    return walk(
        flows,
        with_defaults(packet, source_mac=mac, begins=begins),
        ct_states=states or ("new",),
    )


def _all_ports(one: Compiled) -> list[str]:
    return [station.port for station in one.segment.stations] + list(one.ports)


def leaves_by(one: Compiled, found: Walk) -> str | None:
    """The port that the packet leaves by, None when it is dropped."""
    if isinstance(found.verdict, Dropped):
        return None
    (number,) = found.verdict.ports
    return next(name for name in _all_ports(one) if one.number(name) == number)


def reason(found: Walk) -> str:
    """Why it was dropped."""
    assert isinstance(found.verdict, Dropped)
    assert found.verdict.flow is not None
    return found.verdict.flow.reason


# --- the chain ----------------------------------------------------------------------------------

PATHS = {
    "gateway-warp-xray": [
        ("internal_100", CLIENT, SITE, "new", "warp0"),
        ("warp0", CLIENT, SITE, "new", "internal_101"),
        ("internal_101", SITE, CLIENT, "est,rpl", "warp0"),
        ("warp0", SITE, CLIENT, "est,rpl", "internal_100"),
        ("internal_101", XRAY, VPS_ADDRESS, "new", "warp0"),
        ("warp0", VPS_ADDRESS, XRAY, "est,rpl", "internal_101"),
    ],
    "gateway-warp": [
        ("internal_100", CLIENT, SITE, "new", "warp0"),
        ("warp0", SITE, CLIENT, "est,rpl", "internal_100"),
    ],
    "gateway-xray": [
        ("internal_100", CLIENT, SITE, "new", "internal_101"),
        ("internal_101", SITE, CLIENT, "est,rpl", "internal_100"),
        ("internal_101", XRAY, VPS_ADDRESS, "new", "pr-exit"),
        ("pr-exit", VPS_ADDRESS, XRAY, "est,rpl", "internal_101"),
    ],
    "warp-xray": [
        ("internal_101", XRAY, VPS_ADDRESS, "new", "warp0"),
        ("warp0", VPS_ADDRESS, XRAY, "est,rpl", "internal_101"),
    ],
}


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("secure", [True, False], ids=["secure", "open"])
@pytest.mark.parametrize("hops", PATHS)
def test_packets_go_from_hop_to_hop(hops: str, secure: bool, level: int) -> None:
    openflow = {"enable_security_flows": secure, "obfuscation_level": level}
    one = compiled(**HOP_SETS[hops], openflow=openflow)
    for port, source, target, state, onward in PATHS[hops]:
        text = f"in_port={port},udp,nw_src={source},nw_dst={target},udp_dst=443,nw_ttl=9"
        found = send(one, text, state)
        assert leaves_by(one, found) == onward, (port, source, target)
        assert found.steps[-1].packet["nw_ttl"] == (64 if level else 9)


@pytest.mark.parametrize("secure", [True, False], ids=["secure", "open"])
@pytest.mark.parametrize("hops", PATHS)
def test_a_closed_tunnel_carries_nothing_of_any_chain_and_the_mesh_works_on(
    hops: str, secure: bool
) -> None:
    openflow = {"enable_security_flows": secure}
    one = compiled(**HOP_SETS[hops], **MESH, openflow=openflow)
    ports = [one.pipeline.of_port(port, one.ports) for port in one.ports.values()]
    shut = dataclasses.replace(one, program=join((one.pipeline.closed, *ports)))
    for port, source, target, state, _ in PATHS[hops]:
        text = f"in_port={port},udp,nw_src={source},nw_dst={target},udp_dst=443"
        assert "closed" in reason(send(shut, text, state))
    for number in one.segment.reserved_numbers:
        text = f"in_port={number},udp,nw_src={CLIENT},nw_dst={SITE},udp_dst=443"
        packet = with_defaults(parse_packet(text), source_mac=None, begins=True)
        assert isinstance(walk(shut.program.flows, packet, ct_states=("new",)).verdict, Dropped)
    opened = set(one.program.flows)
    assert {flow.table for flow in set(shut.program.flows) - opened} == {"classify"}
    assert opened <= set(shut.program.flows)


def test_ipv6_takes_the_same_way() -> None:
    one = compiled(**SEED_SECTIONS)
    text = f"in_port=internal_100,udp6,ipv6_src={CLIENT6},ipv6_dst={SITE6},udp_dst=443"
    assert leaves_by(one, send(one, text)) == "warp0"
    text = f"in_port=warp0,udp6,ipv6_src={SITE6},ipv6_dst={CLIENT6},udp_src=443,nw_ttl=3"
    found = send(one, text, "est,rpl")
    assert leaves_by(one, found) == "internal_100"
    assert found.steps[-1].packet["nw_ttl"] == 64


def test_the_uniform_ttl_is_the_configured_one() -> None:
    one = compiled(**SEED_SECTIONS, openflow={"normal_ttl": 128})
    text = f"in_port=internal_100,udp,nw_src={CLIENT},nw_dst={SITE},udp_dst=443,nw_ttl=9"
    assert send(one, text).steps[-1].packet["nw_ttl"] == 128


@pytest.mark.parametrize(
    ("text", "state", "why"),
    [
        (f"in_port=warp0,icmp,nw_src={SITE},nw_dst={CLIENT}", "new", "drop on a miss"),
        (f"in_port=warp0,udp,nw_src={SITE},nw_dst={XRAY}", "new", "drop on a miss"),
        (f"in_port=internal_101,udp,nw_src={SITE},nw_dst={SITE}", "new", "drop on a miss"),
        (f"in_port=internal_100,udp,nw_src={CLIENT},nw_dst={SITE}", "inv", "invalid"),
        (f"in_port=internal_100,udp,nw_src={SITE},nw_dst={SITE}", "new", "not from a client"),
        (f"in_port=internal_101,udp,nw_src={CLIENT},nw_dst={SITE}", "new", "address of a client"),
        (f"in_port=warp0,udp,nw_src={XRAY},nw_dst={CLIENT}", "new", "the address of xray"),
        (f"in_port=internal_100,udp,nw_src={CLIENT},nw_dst={SITE},nw_ttl=1", "new", "TTL 1"),
        (f"in_port=internal_100,ip,nw_src={CLIENT},nw_dst=224.0.0.251", "new", "reserved"),
        (f"in_port=internal_100,ip,nw_src={CLIENT},nw_dst={SITE},nw_frag=later", "new", "fragment"),
    ],
)
def test_what_has_no_business_on_the_chain_is_dropped_with_a_reason(
    text: str, state: str, why: str
) -> None:
    assert why in reason(send(compiled(**SEED_SECTIONS), text, state))


def test_tcp_goes_on_when_the_switch_has_forgotten_it() -> None:
    one = compiled(**SEED_SECTIONS)
    text = f"in_port=warp0,tcp,nw_src={SITE},nw_dst={CLIENT},tcp_src=443,tcp_flags="
    assert leaves_by(one, send(one, text + "ack", "new")) == "internal_100"
    assert leaves_by(one, send(one, text + "syn|ack", "new")) is None
    assert leaves_by(one, send(one, text + "syn", "new")) is None


def test_without_flows_there_is_nothing() -> None:
    assert compiled(**SEED_SECTIONS, **MESH, openflow={"enabled": False}).program == Program()


def test_reassembled_fragments_pass_the_checks_for_flags() -> None:
    one = compiled(**SEED_SECTIONS, openflow={"fragments": "reassemble"})
    text = f"in_port=internal_100,ip,nw_src={CLIENT},nw_dst={SITE},nw_proto=6,nw_frag=later"
    assert leaves_by(one, send(one, text)) == "warp0"


# --- the mesh -----------------------------------------------------------------------------------


def mesh(**openflow: Any) -> Compiled:
    return compiled(**SEED_SECTIONS, **MESH, openflow={"function_routing": FUNCTIONS, **openflow})


def asks(port: str, source: str, target: str, dport: int, to: str = "nm-privacy") -> str:
    mac = mesh().mac(to)
    return f"in_port={port},tcp,nw_src={source},nw_dst={target},tcp_dst={dport},eth_dst={mac}"


@pytest.mark.parametrize(
    ("text", "onward"),
    [
        (asks("nm-privacy", "10.44.0.7", "10.103.0.200", 8080), "internal_200"),
        (asks("nm-privacy", "10.44.0.7", "10.103.0.1", 8080), "internal_200"),
        (asks("internal_201", "10.103.0.201", "10.103.0.1", 8080), "internal_200"),
        (asks("internal_200", "10.103.0.200", "10.44.0.7", 8080), "nm-privacy"),
        (asks("internal_201", "10.103.0.201", "10.44.0.7", 443), "nm-privacy"),
        (asks("nm-privacy", "10.44.0.7", "10.103.0.200", 22), None),
        (asks("internal_201", "10.103.0.201", "10.103.0.200", 22, "internal_200"), None),
    ],
    ids=[
        "from the mesh",
        "by the node's address",
        "from a container",
        "the function's own container asks the mesh",
        "a container asks the mesh",
        "the mesh asks for no function",
        "a container asks another",
    ],
)
def test_new_connections_go_by_function(text: str, onward: str | None) -> None:
    one = mesh()
    assert leaves_by(one, send(one, text)) == onward


def test_a_function_is_translated_to_its_container() -> None:
    found = send(mesh(), asks("internal_201", "10.103.0.201", "10.103.0.1", 8080))
    assert found.steps[-1].flow is not None
    assert found.steps[-1].flow.origin == "openflow.function_routing[0]"
    actions = found.steps[-1].flow.instructions[0]
    assert isinstance(actions, ApplyActions)
    assert "10.103.0.200" in repr(actions)
    assert str(mesh().mac("internal_200").replace(":", ""))[-1] in repr(actions)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("in_port=internal_201,arp,arp_op=1,arp_spa=10.103.0.200,arp_tpa=10.103.0.1", "another's"),
        ("in_port=internal_201,udp,nw_src=10.103.0.200,nw_dst=10.44.0.7", "not its own address"),
        ("in_port=nm-privacy,udp,nw_src=10.103.0.200,nw_dst=10.103.0.201", "address of this node"),
        ("in_port=nm-privacy,udp,nw_src=10.101.0.2,nw_dst=10.103.0.201", "address of this node"),
        ("in_port=internal_201,udp,eth_src=02:00:00:00:00:09,nw_src=10.103.0.201", "another's MAC"),
        ("in_port=internal_201,udp,dl_vlan=5,nw_src=10.103.0.201,nw_dst=10.44.0.7", "VLAN tag"),
        ("in_port=internal_201,arp,dl_vlan=0,arp_spa=10.103.0.201", "VLAN tag"),
        ("in_port=internal_100,udp,dl_vlan=5,nw_src=10.101.0.2,nw_dst=203.0.113.7", "VLAN tag"),
        ("in_port=warp0,tcp6,dl_vlan=4095,ipv6_dst=fd70:7276:6174:1::2", "VLAN tag"),
        ("in_port=internal_201,dl_type=0x8847", "speaks something else"),
        ("in_port=internal_100,arp", "speaks something else"),
    ],
)
def test_who_speaks_in_anothers_name_is_dropped(text: str, why: str) -> None:
    assert why in reason(send(mesh(), text))


def test_arp_is_answered_and_not_flooded() -> None:
    one = mesh()
    mac = one.mac("internal_201")
    text = (
        "in_port=internal_201,arp,arp_op=1,arp_spa=10.103.0.201,arp_tpa=10.103.0.200,"
        f"arp_sha={mac},eth_dst=ff:ff:ff:ff:ff:ff"
    )
    found = send(one, text)
    assert isinstance(found.verdict, Sent)
    assert found.verdict.ports in ((PortNumber.IN_PORT,), (one.number("internal_201"),))


ADDRESSES = st.sampled_from(
    [CLIENT, SITE, XRAY, "10.102.0.1", "10.102.0.2", "10.103.0.1", "10.103.0.200", "10.103.0.201"]
) | st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
STATES = st.sampled_from(["new", "est", "est,rpl", "rel", "inv", "rel,rpl"])
ONE = mesh(
    flow_policies=[
        {
            "name": "ssh",
            "selector": "container:*",
            "template": {
                "match_fields": {"tcp_dst": 22, "in_port": "nm-privacy"},
                "actions": ["output:{port_name}"],
            },
        }
    ]
)


@given(
    port=st.sampled_from(_all_ports(ONE)),
    source=ADDRESSES,
    target=ADDRESSES,
    to=st.sampled_from(_all_ports(ONE)),
    protocol=st.sampled_from(["tcp", "udp"]),
    dport=st.sampled_from([22, 53, 80, 443, 1080, 8080, 9000]),
    flags=st.integers(0, 0x3F),
    ttl=st.integers(0, 255),
    state=STATES,
)
def test_no_packet_ever_changes_between_tunnel_and_mesh(
    port: str,
    source: str,
    target: str,
    to: str,
    protocol: str,
    dport: int,
    flags: int,
    ttl: int,
    state: str,
) -> None:
    text = (
        f"in_port={port},{protocol},nw_src={source},nw_dst={target},{protocol}_dst={dport},"
        f"nw_ttl={ttl},eth_dst={ONE.mac(to)}" + (f",tcp_flags={flags}" * (protocol == "tcp"))
    )
    onward = leaves_by(ONE, send(ONE, text, state))
    hops = {station.port for station in ONE.segment.stations}
    if onward is not None:
        assert (onward in hops) == (port in hops)
        assert onward != port
    if onward in hops:
        stations = {station.port: station for station in ONE.segment.stations}
        assert (stations[port], stations[onward]) in ONE.segment.edges


# --- what the user writes -----------------------------------------------------------------------


def flow(**given: Any) -> dict[str, Any]:
    usual = {"match_fields": {"in_port": "internal_100"}, "actions": ["output:warp0"]}
    return {**usual, **given}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (flow(actions=["output:internal_101"]), "off the chain"),
        (flow(match_fields={"tcp_dst": 80}), "which hop it comes from"),
        (flow(priority=65535), "no room for the answers"),
        (flow(actions=["resubmit(,1)"]), "resubmit"),
        (flow(actions=["mod_dl_dst:02:00:00:00:00:01", "output:warp0"]), "mod_dl_dst"),
        (flow(match_fields={"in_port": "internal_100", "tp_dst": 80}), "unknown protocol"),
        (flow(match_fields={"in_port": "internal_100", "reg0": 2}), "reg0"),
    ],
)
def test_a_flow_that_would_bypass_a_hop_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(FlowRefusedError, match=words) as refused:
        compiled(**SEED_SECTIONS, openflow={"privacy_flows": [given]})
    assert "privacy_flows[0]" in str(refused.value)


def test_own_flows_may_drop_and_rewrite() -> None:
    own = [
        flow(priority=300, actions=["drop"], description="no mail",
             match_fields={"in_port": "internal_100", "tp_dst": 25, "nw_proto": "tcp"}),
        flow(priority=200, match_fields={"in_port": "internal_100", "nw_dst": "203.0.113.0/24"},
             actions=["mod_nw_ttl:99", "output:warp0"]),
        flow(),
        flow(match_fields={"in_port": "warp0"}, actions=["output:internal_101"]),
        flow(match_fields={"in_port": "internal_101"}),
    ]  # fmt: skip
    one = compiled(**SEED_SECTIONS, openflow={"privacy_flows": own})
    base = f"in_port=internal_100,tcp,nw_src={CLIENT},nw_dst="
    assert "no mail" in reason(send(one, f"{base}{SITE},tcp_dst=25"))
    found = send(one, f"{base}{SITE},tcp_dst=443")
    assert leaves_by(one, found) == "warp0"
    assert found.steps[-1].flow is not None
    assert found.steps[-1].flow.origin == "openflow.privacy_flows[1]"
    back = f"in_port=warp0,tcp,nw_src={SITE},nw_dst={CLIENT},tcp_src=443,tcp_flags=ack"
    assert leaves_by(one, send(one, back, "est,rpl")) == "internal_100"


def policy(selector: str, **template: Any) -> dict[str, Any]:
    return {"name": "p", "selector": selector, "template": {"actions": ["drop"], **template}}


def test_a_policy_is_filled_in_for_each_port_it_selects() -> None:
    given = policy(
        "container:*", match_fields={"tcp_dst": 25}, description="{container_id}@{bridge}"
    )
    program = mesh(flow_policies=[given]).program
    found = [f for f in program.flows if f.origin == "openflow.flow_policies[0]"]
    where = {(f.table, f.reason.rpartition(": ")[2]) for f in found}
    assert where == {
        ("privacy", "100@ovsbr0"),
        ("privacy", "101@ovsbr0"),
        ("functions", "200@ovsbr0"),
        ("functions", "201@ovsbr0"),
    }


def test_a_policy_about_what_a_port_gets_leaves_the_hops_alone() -> None:
    given = policy(
        "container:*",
        match_fields={"in_port": "nm-privacy", "tcp_dst": 22},
        actions=["output:{port_name}"],
    )
    flows = mesh(flow_policies=[policy("container:200", **given["template"])]).program.flows
    assert {f.table for f in flows if f.origin.startswith("openflow.flow_policies")} == {
        "functions"
    }


def test_two_policies_that_want_the_same_are_told_of_each_other() -> None:
    policies = [
        {**policy("container:200", match_fields={"tcp_dst": 25}), "name": "one"},
        {**policy("container:200-299", match_fields={"tcp_dst": 25}), "name": "two"},
    ]
    with pytest.raises(PipelineError, match="flow_policies") as refused:
        mesh(flow_policies=policies)
    assert refused.value.remedy


# --- what holds for every program ---------------------------------------------------------------


@pytest.mark.parametrize("hops", HOP_SETS)
def test_every_flow_says_where_it_comes_from_and_whose_it_is(hops: str) -> None:
    one = compiled(**HOP_SETS[hops], **MESH, openflow={"function_routing": FUNCTIONS})
    for one_flow in one.program.flows:
        assert one_flow.origin
        assert one_flow.reason
        assert layer_of(one_flow.cookie) == one_flow.layer
        assert port_of(one_flow.cookie) == one_flow.port
    assert layer_of(0x1234) is None
    assert cookie(Layer.POLICY, 7) & 0xFFFFFFFF == 7


def test_a_port_brings_the_same_however_many_others_there_are() -> None:
    one = mesh()
    alone = {name: one.ports[name] for name in ("nm-privacy", "internal_200")}
    port = one.ports["internal_200"]
    assert one.pipeline.of_port(port, alone) == one.pipeline.of_port(port, one.ports)


def bad(table: str, *actions: Any, **given: Any) -> Flow:
    return Flow(
        table,
        given.get("priority", 7),
        Match(in_port=given.get("in_port", 3)),
        given.get("instructions", (ApplyActions(actions),)),
        Layer.BASE,
        given.get("origin", "test"),
        "for the test",
    )


@pytest.mark.parametrize(
    ("flows", "words"),
    [
        ([bad("privacy", Output(PortNumber.NORMAL))], "not of the zone privacy"),
        ([bad("privacy", Output(PortNumber.FLOOD))], "not of the zone privacy"),
        ([bad("privacy", Output(PortNumber.CONTROLLER))], "not of the zone privacy"),
        ([bad("privacy", Output(9))], "not of the zone privacy"),
        ([bad("functions", Output(1))], "not of the zone mesh"),
        ([bad("privacy", Output(PortNumber.IN_PORT))], "may not turn around"),
        ([bad("security", Output(1))], "may not leave from here"),
        ([bad("state", instructions=(GotoTable(0),))], "may not go on to classify"),
        ([bad("classify", instructions=(GotoTable(number_of("privacy")),))], "may not go on"),
        ([bad("rates", instructions=(Meter(99),))], "there is no meter 99"),
        ([dataclasses.replace(bad("sources"), port=9)], "packets of other ports too"),
    ],
)
def test_what_leaves_the_declared_tables_is_refused(flows: list[Flow], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        check(Program(tuple(flows)), {1: "privacy", 9: "mesh"})


def routed(*routes: dict[str, Any]) -> Compiled:
    """The mesh with these functions, given as what they differ in."""
    given = [
        {"function": f"f{place}", "target_socket": f"internal_{200 + place % 2}", **route}
        for place, route in enumerate(routes)
    ]
    return compiled(**SEED_SECTIONS, **MESH, openflow={"function_routing": given})


@pytest.mark.parametrize(
    "routes",
    [
        ({"match_fields": {"tcp_dst": 8080}}, {"match_fields": {"ip_proto": 6, "eth_type": 2048}}),
        (
            {"match_fields": {"tcp_dst": 8080}},
            {"match_fields": {"ipv4_src": "10.44.0.0/16"}},
        ),
        (  # the flow that keeps the first one's container from itself is one above it
            {"match_fields": {"tcp_dst": 8080}, "priority": 200},
            {"match_fields": {"tcp_dst": "8080"}, "priority": 201},
        ),
        ({"match_fields": {"tcp_dst": 8080}, "priority": 10},),
    ],
    ids=["protocol", "source", "own asking", "the mesh"],
)
def test_functions_that_want_overlapping_packets_are_refused(routes: Any) -> None:
    with pytest.raises(PipelineError, match="both want") as refused:
        routed(*routes)
    assert "function" in refused.value.message
    assert "priority" in (refused.value.remedy or "")


def test_functions_of_different_priorities_or_apart_may_be() -> None:
    routed(
        {"match_fields": {"tcp_dst": 8080}, "priority": 200},
        {"match_fields": {"ipv4_src": "10.44.0.0/16"}, "priority": 210},
        {"match_fields": {"udp_dst": 8080}, "priority": 200},
        {"match_fields": {"tcp_dst": 8081}, "priority": 200},
    )


def test_the_clients_stretch_remembers_what_began_before_the_switch() -> None:
    one = compiled(**SEED_SECTIONS)
    packet = f"in_port=warp0,tcp,nw_src={SITE},nw_dst={CLIENT},tcp_flags=ack"
    found = send(one, packet, "new")
    assert leaves_by(one, found) == "internal_100"
    assert not any("ambiguous" in note for step in found.steps for note in step.notes)
    assert "gateway" in next(s.flow.reason for s in found.steps if s.table == "state" and s.flow)


@pytest.mark.parametrize("way", [("internal_101", "warp0"), ("warp0", "internal_100")])
@pytest.mark.parametrize(
    "addresses", [f"udp,nw_src={SITE},nw_dst={CLIENT}", f"udp6,ipv6_src={SITE6},ipv6_dst={CLIENT6}"]
)
def test_an_answer_over_udp_finds_its_way_after_the_switch_forgot_the_question(
    way: tuple[str, str], addresses: str
) -> None:
    """Open vSwitch forgets after 30 s, RFC 4787 (REQ-5) wants 120 s; the gateway still knows."""
    one = compiled(**SEED_SECTIONS)
    came_in_by, leads_to = way
    assert leaves_by(one, send(one, f"in_port={came_in_by},{addresses}", "new")) == leads_to


def test_a_mesh_peer_does_not_begin_connections_with_itself() -> None:
    one = mesh()
    found = send(one, asks("nm-privacy", "10.44.0.7", "10.44.0.9", 443))
    assert reason(found) == "the mesh asks itself for no function"
    assert not any("remembered" in note for step in found.steps for note in step.notes)


def test_the_tables_lead_onward_only() -> None:
    for number, table in enumerate(TABLES):
        assert table_of(table.name) == table
        assert all(number_of(target) > number for target in table.onward)
        assert table.sends == (not table.onward)


def test_the_numbers_of_unknown_tables_are_kept() -> None:
    assert number_of("200") == 200
    with pytest.raises(ValueError, match="nowhere"):
        number_of("nowhere")


def test_rates_are_for_each_port_and_may_be_taken_away() -> None:
    usual = mesh().program
    assert {rate.packets_per_s for rate in usual.rates} == {100, 200, 500, 1000}
    none = mesh(rates=dict.fromkeys(("arp", "icmp", "syn", "dns"))).program
    assert none.rates == ()
    assert not [f for f in none.flows for i in f.instructions if isinstance(i, Meter)]
