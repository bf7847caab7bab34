"""What a node is to be: promises about leaks, checked on the plan of every chain."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.plan import chain as chains
from privacy_router.plan.chain import EXIT_PORT
from privacy_router.plan.compile import compile_node
from privacy_router.plan.firewall import TABLE
from privacy_router.plan.guard import GUARD_PREFIX
from privacy_router.plan.state import HOST, DesiredState, Key, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.plan.keys import NodeFacts, NodeKeys


@pytest.fixture
def state(config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts) -> DesiredState:
    return compile_node(config, keys, facts)


def of_kind(state: DesiredState, kind: Kind) -> list[tuple[str, str, Any]]:
    return [(k.where, k.name, v) for k, v in state.items.items() if k.kind is kind]


def namespaces(state: DesiredState) -> set[str]:
    return {where for where, _, _ in of_kind(state, Kind.NAMESPACE)}


def test_the_plan_is_the_same_every_time(
    config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts
) -> None:
    first, second = (compile_node(config, keys, facts) for _ in range(2))
    assert first.items == second.items


def test_every_hop_refuses_what_it_has_no_way_for(state: DesiredState) -> None:
    routes = of_kind(state, Kind.ROUTE)
    for space in namespaces(state):
        refusals = {
            route.destination.version
            for where, _, route in routes
            if where == space and route.kind == "unreachable" and route.table == 254
        }
        assert refusals == {4, 6}


def test_default_routes_lead_to_the_next_station_or_into_the_warp_tunnel(
    state: DesiredState, config: PrivacyRouterConfig
) -> None:
    stations = {interface.ip for s in chains.build(config).stations for interface in s.interfaces}
    for where, _, route in of_kind(state, Kind.ROUTE):
        if route.kind != "unicast" or route.destination.prefixlen:
            continue
        if route.gateway is None:
            assert (where, route.device) == ("pr-warp", "wgcf")
        else:
            assert route.gateway in stations


def test_the_xray_hop_forwards_nothing(state: DesiredState) -> None:
    if "pr-xray" not in namespaces(state):
        return
    settings = {n: v for where, n, v in of_kind(state, Kind.SETTING) if where == "pr-xray"}
    assert settings["ipv4/ip_forward"] == "0"
    assert settings["ipv6/conf/all/forwarding"] == "0"


def test_every_firewall_drops_by_policy(state: DesiredState) -> None:
    rulesets = [item for item in of_kind(state, Kind.FIREWALL) if item[0] != HOST]
    assert {where for where, _, _ in rulesets} == namespaces(state)
    for _, _, text in rulesets:
        policies = {
            item["chain"]["hook"]: item["chain"]["policy"]
            for item in json.loads(text)
            if "chain" in item and item["chain"]["type"] == "filter"
        }
        assert {policies[hook] for hook in ("input", "forward", "output")} == {"drop"}


def test_every_neighbour_is_known_in_advance(
    state: DesiredState, config: PrivacyRouterConfig
) -> None:
    chain = chains.build(config)
    neighbours = [item for item in of_kind(state, Kind.NEIGHBOUR) if item[0] != HOST]
    found = {(where, n.address, n.mac) for where, _, n in neighbours}
    wanted = {
        (station.namespace, interface.ip, peer.mac)
        for station in chain.stations
        if station.namespace is not None
        for peer in chain.peers_of(station)
        for interface in peer.interfaces
    }
    assert found == wanted


def test_the_host_forwards_nothing_but_xray_to_its_vps(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    config = make_config(xray={"vps_address": "192.0.2.9"}, warp={"enabled": False})
    rules = host_rules(compile_node(config, keys, facts), "forward")
    accepted = [rule for rule in rules if "accept" in rule]
    assert len(accepted) == 3
    assert all("10.102.0.3" in rule and EXIT_PORT in rule for rule in accepted)
    assert sum('"right": 443' in rule and "10.102.0.3" in rule for rule in accepted) == 1
    assert sum('"right": 53' in rule and "1.1.1.1" in rule for rule in accepted) == 1
    assert sum("established" in rule for rule in accepted) == 1


@pytest.mark.parametrize("forwarded_before", [False, True])
def test_the_uplink_forwards_answers_to_xray_and_what_it_forwarded_before(
    make_config: Callable[..., PrivacyRouterConfig],
    keys: NodeKeys,
    facts: NodeFacts,
    *,
    forwarded_before: bool,
) -> None:
    """Without WARP the node was a router for its uplink: forwarding on, and nothing in the way."""
    config = make_config(xray={"vps_address": "192.0.2.9"}, warp={"enabled": False})
    machine = replace(facts, uplink="eth0", uplink_forwards=forwarded_before)
    state = compile_node(config, keys, machine)
    about_uplink = [rule for rule in host_rules(state, "forward") if '"eth0"' in rule]
    assert len(about_uplink) == (0 if forwarded_before else 1)
    assert all("drop" in rule for rule in about_uplink)
    assert Key(Kind.DEVICE_SETTING, HOST, "ipv4/conf/eth0/forwarding") in state.items


def host_rules(state: DesiredState, chain: str) -> list[str]:
    (text,) = [
        text
        for where, name, text in of_kind(state, Kind.FIREWALL)
        if (where, name) == (HOST, TABLE)
    ]
    return [
        json.dumps(item["rule"]["expr"])
        for item in json.loads(text)
        if "rule" in item and item["rule"]["chain"] == chain
    ]


def test_a_chain_with_warp_guards_the_host_and_leaves_it_alone_else(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    state = compile_node(make_config(xray={"vps_address": "192.0.2.9"}), keys, facts)
    (only,) = [key for key in state.items if key.where == HOST]
    assert only.name.startswith(GUARD_PREFIX)


def test_no_item_holds_a_secret(state: DesiredState, keys: NodeKeys) -> None:
    text = "\n".join(f"{key} {value}" for key, value in state.items.items())
    for secret in (
        keys.gateway_private_key,
        keys.warp.private_key if keys.warp else None,
        keys.xray.uuid if keys.xray else None,
        keys.xray.reality_private_key if keys.xray else None,
        *(client.preshared_key for client in keys.clients),
    ):
        assert secret is not None
        assert secret not in text
        assert secret not in repr(state)


def test_a_changed_vps_restarts_xray_and_nothing_else(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    before = compile_node(make_config(xray={"vps_address": "192.0.2.9"}), keys, facts)
    after = compile_node(make_config(xray={"vps_address": "192.0.2.10"}), keys, facts)
    changed = {k.name for k in before.items if before.items[k] != after.items.get(k)}
    assert changed == {"xray"}


def test_client_mtu_follows_the_chain(make_config: Callable[..., PrivacyRouterConfig]) -> None:
    with_xray = make_config(xray={"vps_address": "192.0.2.9"})
    assert chains.client_mtu_bytes(with_xray) == 1420
    assert chains.client_mtu_bytes(make_config()) == 1280
    assert chains.client_mtu_bytes(make_config(wireguard={"mtu": 1300})) == 1300


def test_macs_are_local_unicast_and_differ_between_bridges() -> None:
    first, second = (chains.mac_of(bridge, "warp0") for bridge in ("ovsbr0", "ovsbr1"))
    assert first != second
    assert first == chains.mac_of("ovsbr0", "warp0")
    assert int(first[:2], 16) & 0b11 == 0b10
