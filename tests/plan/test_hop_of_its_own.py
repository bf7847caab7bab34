"""A hop that is defined in tests alone gets plan, flows, guard, health, status and teardown."""

from __future__ import annotations

import json
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from privacy_router.chain.stations import Role, Task
from privacy_router.hops.catalogue import CATALOGUE, Catalogue
from privacy_router.hops.firewall import TABLE, closed, passing
from privacy_router.hops.hop import Hop
from privacy_router.hops.namespace import (
    FROM_CLIENTS,
    TO_CLIENTS,
    NamespaceItems,
    anywhere,
    networks_of,
)
from privacy_router.host import namespaces, processes
from privacy_router.node import observe, status, teardown
from privacy_router.node.counted import Sample, Tap, port_of, tunnel_of
from privacy_router.node.evidence import Evidence, State
from privacy_router.node.health import Told
from privacy_router.node.kinds.namespace import NAMESPACE as KIND_OF_NAMESPACES
from privacy_router.node.kinds.registry import Kinds
from privacy_router.node.outside import NOT_ASKED
from privacy_router.node.paths import NodePaths
from privacy_router.pipeline.allocation import tracking_zone_between
from privacy_router.pipeline.trace.packet import parse_packet, with_defaults
from privacy_router.pipeline.trace.walk import Dropped, Sent, own_mac, walk
from privacy_router.plan.compile import compile_node, plan_node
from privacy_router.plan.stages import in_stages
from privacy_router.values.items import HOST, Kind, diff
from privacy_router.values.network import (
    MAIN_TABLE,
    AddressKey,
    NamespaceKey,
    Route,
    RouteKey,
)
from privacy_router.values.processes import ProcessKey
from privacy_router.values.rulesets import FirewallKey, RulesetValue
from tests.plan.hop_sets import HOP_SETS, config_of
from tests.plan.node_keys import FACTS, KEYS
from tests.plan.relay_hop import NAMESPACE, PORT, PROGRAM, Relay

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Items

CLIENT, SITE, XRAY, VPS = "10.101.0.2", "198.51.100.7", "10.102.0.3", "192.0.2.9"
NUMBER = Relay.role.ofport
PLACES = [("gateway", hops) for hops in ("gateway warp xray", "gateway warp", "gateway xray")] + [
    ("warp", hops) for hops in ("gateway warp xray", "warp xray")
]
"""Behind which hop the relay is, of which chain."""

there = pytest.mark.parametrize(("behind", "hops"), PLACES)


def with_relay_behind(name: str) -> Catalogue:
    """All hops, and the relay behind the one of that name."""
    found: list[Hop] = []
    for hop in CATALOGUE.hops:
        found += [hop, Relay()] if hop.name == name else [hop]
    return Catalogue(tuple(found))


def node(behind: str = "gateway", hops: str = "gateway warp xray") -> DesiredState:
    return compile_node(config_of(**HOP_SETS[hops]), KEYS, FACTS, with_relay_behind(behind))


def chain_of(state: DesiredState) -> list[str]:
    return [station.hop for station in state.pipeline.segment.stations]


# --- plan ----------------------------------------------------------------------------------------


@there
def test_it_is_in_the_chain_at_its_place_and_in_the_plan(behind: str, hops: str) -> None:
    state = node(behind, hops)
    chain = chain_of(state)
    assert chain[chain.index(behind) + 1] == "relay"
    assert NamespaceKey(NAMESPACE) in state.items
    assert AddressKey(NAMESPACE, PORT, ip_interface("10.102.0.5/24")) in state.items
    assert ProcessKey(PROGRAM) in state.items
    (port,) = [port for port in state.bridge.ports if port.name == PORT]
    assert port.ofport == NUMBER


@there
def test_all_others_know_where_it_is(behind: str, hops: str) -> None:
    state = node(behind, hops)
    knowing = {key.where for key in state.items if "10.102.0.5 on" in key.name}
    others = [one for one in state.pipeline.segment.stations if one.hop != "relay"]
    assert knowing == {one.namespace or HOST for one in others}


def next_hop(
    state: DesiredState, where: str, destination: str = "0.0.0.0/0", table: int = MAIN_TABLE
) -> str:
    """The gateway of a route."""
    route = state.items[RouteKey(where, ip_network(destination), table)]
    assert isinstance(route, Route)
    return str(route.gateway)


def test_its_neighbours_hand_on_to_it_and_it_to_them() -> None:
    state = node()
    assert next_hop(state, "pr-gateway") == "10.102.0.5"
    assert next_hop(state, "pr-warp", table=101) == "10.102.0.5"
    assert next_hop(state, NAMESPACE, table=101) == "10.102.0.1"
    assert next_hop(state, NAMESPACE, table=102) == "10.102.0.2"


def test_a_way_out_answers_a_proxy_by_the_hop_between_them() -> None:
    state = node("warp")
    assert next_hop(state, "pr-warp", "10.102.0.3/32") == "10.102.0.5"
    assert next_hop(state, "pr-xray") == "10.102.0.5"
    ways = ("10.102.0.3", "10.102.0.1", "10.102.0.1", "10.102.0.3")  # each leg, there and back
    for table, way in enumerate(ways, 101):
        assert next_hop(state, NAMESPACE, table=table) == way, table


# --- fail closed ---------------------------------------------------------------------------------


@there
def test_its_firewall_drops_by_policy_and_the_hosts_guard_names_it(behind: str, hops: str) -> None:
    state = node(behind, hops)
    ruleset = state.items[FirewallKey(NAMESPACE, TABLE)]
    assert isinstance(ruleset, RulesetValue)
    own = ruleset.objects
    policies = {one["chain"]["hook"]: one["chain"]["policy"] for one in own if "chain" in one}
    assert policies == dict.fromkeys(("input", "forward", "output"), "drop")
    guard = json.dumps(
        [
            value.plain()
            for key, value in state.items.items()
            if key.where == HOST and "guard" in key.name
        ]
    )
    assert guard.count(f'\\"{PORT}\\"') == 2, "neither taken nor forwarded"


def test_its_namespace_refuses_what_has_no_way() -> None:
    items = node().items.items()
    routes = [v for k, v in items if isinstance(v, Route) and k.where == NAMESPACE]
    main = [route for route in routes if route.table == 254]
    assert {route.kind for route in main} == {"unreachable"}
    assert {route.destination.version for route in main} == {4, 6}


def test_it_joins_a_chain_behind_a_closed_tunnel() -> None:
    old = compile_node(config_of(**HOP_SETS["gateway warp xray"]), KEYS, FACTS)
    stages = in_stages(diff(node().items, old.items), with_relay_behind("gateway"))
    beside = {change.key.kind for change in stages.before if change.key.where == NAMESPACE}
    assert {Kind.NAMESPACE, Kind.FIREWALL, Kind.RULE} <= beside
    during = {(change.key.kind, change.key.where) for change in stages.during}
    assert (Kind.DEVICE, NAMESPACE) in during
    assert (Kind.ROUTE, "pr-gateway") in during


# --- flows ---------------------------------------------------------------------------------------


def sent_to(state: DesiredState, port: str, text: str, ct: str) -> str:
    """The port by which a packet of that hop leaves; empty where it is dropped."""
    stations = {station.port: station for station in state.pipeline.segment.stations}
    numbers = {name: station.ofport for name, station in stations.items()}
    packet = with_defaults(
        parse_packet(f"in_port={port},udp,udp_dst=443,{text}", numbers.get),
        source_mac=own_mac(state.pipeline.base.flows, numbers[port]),
        begins=ct == "new",
    )
    verdict = walk(state.pipeline.base.flows, packet, ct_states=(ct,)).verdict
    if isinstance(verdict, Dropped):
        return ""
    assert isinstance(verdict, Sent)
    return next(name for name, number in numbers.items() if (number,) == verdict.ports)


OUT, BACK = f"nw_src={CLIENT},nw_dst={SITE}", f"nw_src={SITE},nw_dst={CLIENT}"
OWN, ANSWER = f"nw_src={XRAY},nw_dst={VPS}", f"nw_src={VPS},nw_dst={XRAY}"
PATHS = {
    ("gateway", "gateway warp xray"): [
        *(("internal_100", OUT, PORT), (PORT, OUT, "warp0"), ("warp0", OUT, "internal_101")),
        *(("internal_101", BACK, "warp0"), ("warp0", BACK, PORT), (PORT, BACK, "internal_100")),
        *(("internal_101", OWN, "warp0"), ("warp0", ANSWER, "internal_101")),
    ],
    ("gateway", "gateway warp"): [
        *(("internal_100", OUT, PORT), (PORT, OUT, "warp0")),
        *(("warp0", BACK, PORT), (PORT, BACK, "internal_100")),
    ],
    ("gateway", "gateway xray"): [
        *(("internal_100", OUT, PORT), (PORT, OUT, "internal_101")),
        *(("internal_101", BACK, PORT), (PORT, BACK, "internal_100")),
        *(("internal_101", OWN, "pr-exit"), ("pr-exit", ANSWER, "internal_101")),
    ],
    ("warp", "gateway warp xray"): [
        *(("internal_100", OUT, "warp0"), ("warp0", OUT, PORT), (PORT, OUT, "internal_101")),
        *(("internal_101", BACK, PORT), (PORT, BACK, "warp0"), ("warp0", BACK, "internal_100")),
        *(("internal_101", OWN, PORT), (PORT, OWN, "warp0")),
        *(("warp0", ANSWER, PORT), (PORT, ANSWER, "internal_101")),
    ],
    ("warp", "warp xray"): [
        *(("internal_101", OWN, PORT), (PORT, OWN, "warp0")),
        *(("warp0", ANSWER, PORT), (PORT, ANSWER, "internal_101")),
    ],
}


def require_path(state: DesiredState, steps: list[tuple[str, str, str]]) -> None:
    """Each packet that a port sends leaves by the port beside it."""
    for port, text, onward in steps:
        ct = "new" if text in (OUT, OWN) else "est,rpl"
        assert sent_to(state, port, text, ct) == onward, (port, text)


@there
def test_packets_go_from_hop_to_hop_through_it(behind: str, hops: str) -> None:
    require_path(node(behind, hops), PATHS[behind, hops])


@there
def test_nothing_begins_on_the_way_back_and_no_sender_is_spoofed(behind: str, hops: str) -> None:
    state = node(behind, hops)
    for port, text, _ in PATHS[behind, hops]:
        if text == ANSWER:
            assert not sent_to(state, port, text, "new"), (port, text)
    handed_on = {station for station, text, _ in PATHS[behind, hops] if text == OWN} - {PORT}
    for station in state.pipeline.segment.stations:
        if station.port not in {PORT, *(handed_on if behind == "warp" else ())}:
            spoofed = f"nw_src={station.v4.ip},nw_dst={SITE}"
            assert not sent_to(state, PORT, spoofed, "new"), station.hop


def test_a_closed_tunnel_is_closed_for_it_too() -> None:
    """Also in a node without it, while the old chain that had it is still there."""
    without = compile_node(config_of(), KEYS, FACTS)
    packet = parse_packet(f"in_port={NUMBER},udp,{OUT},udp_dst=443", lambda _: None)
    packet = with_defaults(packet, source_mac=None, begins=True)
    for state in (node(), without):
        verdict = walk(state.pipeline.closed.flows, packet, ct_states=("new",)).verdict
        assert isinstance(verdict, Dropped)
        assert verdict.flow is not None
        assert "closed" in verdict.flow.reason


def test_each_stretch_is_tracked_by_itself() -> None:
    zones: dict[int, set[frozenset[str]]] = {}
    for behind, hops in PLACES:
        for source, target in node(behind, hops).pipeline.segment.edges:
            pair = frozenset({source.hop, target.hop})
            zones.setdefault(tracking_zone_between(source, target), set()).add(pair)
    assert all(len(pairs) == 1 for pairs in zones.values())


# --- health and status ---------------------------------------------------------------------------


def evidence(taps: dict[Any, Tap]) -> Evidence:
    roles = tuple(station.role for station in node().pipeline.segment.stations)
    found = Evidence(roles, keepalive=True, jitter=lambda: 0.5)
    found.note(Sample(0.0, dict.fromkeys(taps, Tap()), session_age_s=1.0))
    found.note(Sample(2.0, taps, session_age_s=1.0))
    return found


def taps(gateway: Tap, relay: Tap, warp: Tap) -> dict[Any, Tap]:
    roles = {hop.name: hop.role for hop in CATALOGUE.hops}
    return {
        tunnel_of(roles["gateway"]): Tap(10, 1000, gateway.rx_packets, gateway.rx_bytes),
        port_of(roles["gateway"]): gateway,
        port_of(Relay.role): relay,
        port_of(roles["warp"]): warp,
        tunnel_of(roles["warp"]): warp,
        port_of(roles["xray"]): warp,
    }


def test_answered_clients_prove_it_and_one_that_hands_nothing_on_is_named() -> None:
    good = Tap(10, 9000, 10, 9000)
    proven = evidence(taps(good, good, good)).verdict(2.0)
    assert proven["relay"].state is State.UP
    assert proven["relay"].rx_rate == 4500
    stuck = evidence(taps(Tap(0, 0, 10, 600), Tap(10, 600, 0, 0), Tap())).verdict(2.0)
    assert (stuck["relay"].state, stuck["relay"].reason) == (
        State.DOWN,
        "it takes packets and hands none on",
    )
    assert stuck["warp"].reason == "nothing passes: see relay"


def test_status_has_a_row_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    state = node()
    monkeypatch.setattr(status, "_counters", lambda station: (len(station.hop), 0))
    local = cast(
        "status.Local",
        SimpleNamespace(
            segment=state.pipeline.segment,
            machine=SimpleNamespace(hops=with_relay_behind("gateway")),
            changes=diff(state.items, {k: v for k, v in state.items.items() if k.name != PROGRAM}),
            devices={},
            flows=[{"table": "privacy", "match": f"in_port={PORT}", "actions": "output:warp0"}],
        ),
    )
    rows = {row.name: row for row in status._hops(local, Told(False, (), {}), NOT_ASKED)}
    assert list(rows) == ["gateway", "relay", "warp", "xray"]
    assert (rows["relay"].state, rows["relay"].detail) == ("down", f"process {PROGRAM} missing")
    assert rows["relay"].port == PORT
    assert rows["relay"].flows == [f"in_port={PORT} → output:warp0"]
    assert rows["warp"].state == State.QUIET


# --- observing and taking down -------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeHost:
    """One on which every namespace that is looked for is the node's."""
    found = SimpleNamespace(
        paths=NodePaths(state=tmp_path / "state", run=tmp_path),
        owner="owner",
        hops=with_relay_behind("gateway"),
    )
    monkeypatch.setattr("privacy_router.node.ownership.is_own_namespace", lambda *_: True)
    return cast("NodeHost", found)


def test_what_was_of_it_is_found_in_a_node_that_has_it_no_more(
    machine: NodeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = compile_node(config_of(), KEYS, FACTS)
    monkeypatch.setattr(namespaces, "exists", lambda _: True)
    monkeypatch.setattr(namespaces, "run_in", lambda _, work: work())
    found = observe.observe(without, machine, Kinds(of_node=(KIND_OF_NAMESPACES,), placed=()))
    assert NamespaceKey(NAMESPACE) in found
    assert NamespaceKey(NAMESPACE) not in without.items


def test_it_is_taken_down_with_its_files(
    machine: NodeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Link:
        def __init__(self, path: Path) -> None:
            """Of any namespace."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def delete_link(self, name: str) -> None:
            """There is none."""

    deleted: list[str] = []
    monkeypatch.setattr(teardown, "Netlink", Link)
    monkeypatch.setattr(processes, "running", lambda _: [])
    monkeypatch.setattr(teardown, "_our_bridges", lambda _: [])
    monkeypatch.setattr(teardown, "_delete_bridge", lambda *_: None)
    monkeypatch.setattr(teardown, "_clear_host", lambda *_: None)
    monkeypatch.setattr(teardown, "_remove_empty_directories", lambda: None)
    monkeypatch.setattr(namespaces, "delete", deleted.append)
    monkeypatch.setattr(namespaces, "remove_leftovers", lambda _: None)
    files = [machine.paths.run / "relay.json", machine.paths.logs / f"{PROGRAM}.log"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    teardown.tear_down(machine, "ovsbr0")
    assert NAMESPACE in deleted
    assert not any(file.exists() for file in files)


def test_a_plan_shows_it() -> None:
    keys = cast("Any", SimpleNamespace(**vars(KEYS), stand_ins={}))
    found = plan_node(config_of(), keys, FACTS, with_relay_behind("gateway"))
    assert NamespaceKey(NAMESPACE) in found.items


# --- a way out of its own -------------------------------------------------------------------------


class Masque(Hop):
    """Another way out in the place of WARP's; its tunnel is left out here."""

    role = Role("masque", 6, Task.WAY_OUT)

    def is_wanted(self, config: PrivacyRouterConfig, /) -> bool:
        return not config.warp.enabled

    def port(self, _: PrivacyRouterConfig, /) -> str:
        return "masque0"

    def items(self, context: HopContext, /) -> Items:
        station, segment = context.station, context.segment
        space = NamespaceItems("pr-masque", forwards=True)
        space.firewall([*closed(), *passing(station.port, networks_of(segment.hands_on(station)))])
        space.join_segment(station, segment, 1280)
        for leg in segment.client_legs(station):
            space.turn(leg, station)
        for table in (TO_CLIENTS, FROM_CLIENTS):
            space.refuse_the_rest(table)
        space.refuse_the_rest()
        return space.items


WITH_MASQUE = Catalogue((CATALOGUE.hops[0], Masque(), *CATALOGUE.hops[1:]))


@pytest.mark.parametrize("hops", ["gateway warp xray", "gateway xray"])
def test_a_way_out_of_its_own_takes_the_place_of_the_hosts(hops: str) -> None:
    """The host leads out only where no hop does."""
    state = compile_node(config_of(**HOP_SETS[hops]), KEYS, FACTS, WITH_MASQUE)
    way_out = "warp" if "warp" in hops else "masque"
    assert chain_of(state) == ["gateway", way_out, "xray"]
    ports = [port.name for port in state.bridge.ports]
    assert "pr-exit" not in ports
    assert ("masque0" in ports) == (way_out == "masque")


def test_packets_turn_at_a_way_out_of_its_own() -> None:
    state = compile_node(config_of(**HOP_SETS["gateway xray"]), KEYS, FACTS, WITH_MASQUE)
    require_path(
        state,
        [
            *(("internal_100", OUT, "masque0"), ("masque0", OUT, "internal_101")),
            *(("internal_101", BACK, "masque0"), ("masque0", BACK, "internal_100")),
            *(("internal_101", OWN, "masque0"), ("masque0", ANSWER, "internal_101")),
        ],
    )
    route = state.items[RouteKey("pr-masque", anywhere(4), 102)]
    assert isinstance(route, Route)
    assert str(route.gateway) == "10.102.0.3"


# --- what cannot be ------------------------------------------------------------------------------


def test_two_hops_with_one_number_and_a_chain_that_ends_in_the_clear_are_refused() -> None:
    with pytest.raises(ValueError, match="more than one hop has relay"):
        Catalogue((*with_relay_behind("xray").hops, Relay()))
    with pytest.raises(ValueError, match="from 1 to 7"):
        Role("relay", 8, Task.RELAY)
    config = config_of()
    ends_in_the_clear = [hop for hop in with_relay_behind("gateway").hops if hop.name != "warp"]
    with pytest.raises(ValueError, match="one way out"):
        Catalogue(tuple(ends_in_the_clear)).segment(config)
