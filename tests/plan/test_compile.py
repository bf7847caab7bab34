"""What a node is to be: promises about leaks, checked on the plan of every chain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.chain import addresses
from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.exit.hop import EXIT_PORT
from privacy_router.hops.firewall import TABLE
from privacy_router.hops.gateway.hop import GATEWAY_TUNNEL
from privacy_router.hops.warp.hop import WARP_SOCKET_MARK, WARP_TUNNEL
from privacy_router.plan.compile import OVS_PROCESSES, compile_node
from privacy_router.plan.guard import GUARD_PREFIX
from privacy_router.values.bridges import mac_of
from privacy_router.values.items import HOST, Kind
from privacy_router.values.network import Device, DeviceKey
from privacy_router.values.rulesets import FirewallKey, TableRole
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue, Sysctl
from tests.plan.hop_sets import HOP_SETS, config_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.keys import NodeFacts, NodeKeys
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.wireguard import TunnelState


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
    segment = CATALOGUE.segment(config)
    stations = {interface.ip for s in segment.stations for interface in s.interfaces}
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
    settings = of_settings(state, "pr-xray")
    assert settings["ipv4/ip_forward"] == "0"
    assert {v for n, v in settings.items() if n.endswith("/forwarding")} == {"0"}


def of_settings(state: DesiredState, where: str) -> dict[str, str]:
    kinds = (Kind.SETTING, Kind.DEVICE_SETTING)
    return {n: v.text for kind in kinds for w, n, v in of_kind(state, kind) if w == where}


def test_what_forwards_does_so_by_each_of_its_devices(state: DesiredState) -> None:
    """Linux asks the device that a packet came in by, and not the switch for all of them."""
    for where, name, _ in of_kind(state, Kind.DEVICE):
        if where in ("pr-gateway", "pr-warp"):
            settings = of_settings(state, where)
            for protocol in ("ipv4", "ipv6"):
                assert settings[f"{protocol}/conf/{name}/forwarding"] == "1"


def test_every_setting_is_in_every_place_that_linux_asks(state: DesiredState) -> None:
    for where in namespaces(state):
        devices = {name for w, name, _ in of_kind(state, Kind.DEVICE) if w == where}
        places: dict[tuple[str, str], set[str]] = {}
        for name in of_settings(state, where):
            protocol, *rest = name.split("/")
            if rest[0] == "conf" and rest[2] not in ("addr_gen_mode", "mtu"):
                places.setdefault((protocol, rest[2]), set()).add(rest[1])
        assert len(places) > 30
        assert all(found == {"all", "default", *devices} for found in places.values())


def test_a_setting_without_which_addresses_are_refused_comes_before_them(
    state: DesiredState,
) -> None:
    places = [
        key.kind
        for key in state.items
        if key.kind in (Kind.SETTING, Kind.DEVICE_SETTING) and "disable_ipv6" in key.name
    ]
    assert places
    assert max(places) < Kind.ADDRESS


def test_every_firewall_drops_by_policy(state: DesiredState) -> None:
    rulesets = [item for item in of_kind(state, Kind.FIREWALL) if item[0] != HOST]
    assert {where for where, _, _ in rulesets} == namespaces(state)
    for _, _, ruleset in rulesets:
        policies = {
            item["chain"]["hook"]: item["chain"]["policy"]
            for item in ruleset.objects
            if "chain" in item and item["chain"]["type"] == "filter"
        }
        assert {policies[hook] for hook in ("input", "forward", "output")} == {"drop"}


def test_every_neighbour_is_known_in_advance(
    state: DesiredState, config: PrivacyRouterConfig
) -> None:
    chain = CATALOGUE.segment(config)
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
    assert DeviceSettingKey(HOST, Sysctl("ipv4", "forwarding", "eth0")) in state.items


def host_rules(state: DesiredState, chain: str) -> list[str]:
    (ruleset,) = [
        ruleset
        for where, name, ruleset in of_kind(state, Kind.FIREWALL)
        if (where, name) == (HOST, TABLE)
    ]
    return [
        json.dumps(item["rule"]["expr"])
        for item in ruleset.objects
        if "rule" in item and item["rule"]["chain"] == chain
    ]


def test_a_chain_with_warp_guards_the_host_and_leaves_it_alone_else(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    state = compile_node(make_config(xray={"vps_address": "192.0.2.9"}), keys, facts)
    ours = [key for key in state.items if key.where == HOST]
    assert len(ours) == 2
    guards = [key for key in ours if isinstance(key, FirewallKey) and key.role is TableRole.GUARD]
    assert guards == ours
    assert all(key.table.startswith(GUARD_PREFIX) for key in guards)


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


def tunnels(state: DesiredState) -> dict[str, TunnelState]:
    return {name: value for _, name, value in of_kind(state, Kind.TUNNEL)}


def test_warp_must_stay_where_it_is_and_clients_may_move(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    found = tunnels(compile_node(make_config(), keys, facts))
    (warp,) = found[WARP_TUNNEL].peers.values()
    (phone,) = found[GATEWAY_TUNNEL].peers.values()
    assert keys.warp is not None
    assert warp.endpoint == keys.warp.endpoint
    assert phone.endpoint is None


def test_only_what_warp_sends_is_marked(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    state = compile_node(make_config(), keys, facts)
    marks = {name: device.firewall_mark for name, device in state.tunnels.items()}
    assert marks == {WARP_TUNNEL: WARP_SOCKET_MARK, GATEWAY_TUNNEL: 0}
    assert {name: one.firewall_mark for name, one in tunnels(state).items()} == marks


def test_another_preshared_key_is_another_state(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    (client,) = keys.clients
    others = replace(keys, clients=(replace(client, preshared_key=client.public_key),))
    before, after = (tunnels(compile_node(make_config(), k, facts)) for k in (keys, others))
    assert before[WARP_TUNNEL] == after[WARP_TUNNEL]
    assert before[GATEWAY_TUNNEL] != after[GATEWAY_TUNNEL]


def test_a_changed_vps_restarts_xray_and_nothing_else(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    before = compile_node(make_config(xray={"vps_address": "192.0.2.9"}), keys, facts)
    after = compile_node(make_config(xray={"vps_address": "192.0.2.10"}), keys, facts)
    changed = {k.name for k in before.items if before.items[k] != after.items.get(k)}
    assert changed == {"xray"}


def client_mtu_bytes(config: PrivacyRouterConfig) -> int:
    return addresses.client_mtu_bytes(config, CATALOGUE.segment(config))


def test_client_mtu_follows_the_chain(make_config: Callable[..., PrivacyRouterConfig]) -> None:
    with_xray = make_config(xray={"vps_address": "192.0.2.9"})
    assert client_mtu_bytes(with_xray) == 1420
    assert client_mtu_bytes(make_config()) == 1280
    assert client_mtu_bytes(make_config(wireguard={"mtu": 1300})) == 1300


@pytest.mark.parametrize("hops", [hops for hops in HOP_SETS if "gateway" in hops])
def test_what_is_for_a_client_is_cut_for_the_clients_mtu_and_no_other(
    hops: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    """Cut for WARP's, UDP answers of more than 1,252 bytes became fragments, which are dropped."""
    config = config_of(**HOP_SETS[hops])
    state = compile_node(config, keys, facts)
    clients = CATALOGUE.segment(config).clients
    for where, _, route in of_kind(state, Kind.ROUTE):
        holds_a_client = any(
            route.destination.version == network.version and network.subnet_of(route.destination)
            for network in clients
        )
        if where != "pr-xray" or route.kind != "unicast" or not holds_a_client:
            continue
        is_for_clients = route.destination.prefixlen > 0
        warp = config.warp.mtu_bytes if "warp" in hops else None
        assert route.mtu_bytes == (client_mtu_bytes(config) if is_for_clients else warp)
    found = {r.destination for w, _, r in of_kind(state, Kind.ROUTE) if w == "pr-xray"}
    assert ("xray" in hops) == set(clients).issubset(found)


def test_xray_gives_an_attempt_to_reach_the_vps_up_within_seconds(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    """It makes five, and holds what a client sent until the last has failed."""
    state = compile_node(make_config(xray={"vps_address": "192.0.2.9"}), keys, facts)
    retries = SettingKey("pr-xray", Sysctl("ipv4", "tcp_syn_retries"))
    assert state.items[retries] == SettingValue("1")


def test_macs_are_local_unicast_and_differ_between_bridges() -> None:
    first, second = (mac_of(bridge, "warp0") for bridge in ("ovsbr0", "ovsbr1"))
    assert first != second
    assert first == mac_of("ovsbr0", "warp0")
    assert int(first[:2], 16) & 0b11 == 0b10


def test_the_nodes_own_switch_runs_where_nothing_leads_out(
    config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts
) -> None:
    own = compile_node(config, keys, replace(facts, private_ovs=True))
    home = [(key.kind, key.name) for key in own.items if key.where == SWITCH_NAMESPACE]
    addressed = [name for kind, name in home if kind in (Kind.ADDRESS, Kind.NEIGHBOUR)]
    assert addressed == ["127.0.0.1/8 on lo"]
    assert [name for kind, name in home if kind is Kind.DEVICE] == ["lo"]
    routes = [v for w, _, v in of_kind(own, Kind.ROUTE) if w == SWITCH_NAMESPACE]
    assert {route.kind for route in routes} == {"unreachable"}
    for name in OVS_PROCESSES:
        assert own.processes[name].namespace == Path("/run/netns") / SWITCH_NAMESPACE


def test_the_systems_switch_stays_where_it_is(
    config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts
) -> None:
    systems = compile_node(config, keys, replace(facts, private_ovs=False))
    assert SWITCH_NAMESPACE not in namespaces(systems)
    assert not [key for key in systems.items if key.name.endswith(" of Open_vSwitch")]
    assert not systems.bridge.whole


@pytest.mark.parametrize(
    ("section", "mtu_bytes", "keepalive_s"),
    [({}, 1400, 7), ({"mtu": 1300, "persistent_keepalive": 0}, 1300, 0)],
    ids=["the profile's", "the configuration's"],
)
def test_what_the_profile_says_of_its_tunnel_is_in_force_unless_the_configuration_does(
    make_config: Callable[..., PrivacyRouterConfig],
    keys: NodeKeys,
    facts: NodeFacts,
    section: dict[str, int],
    mtu_bytes: int,
    keepalive_s: int,
) -> None:
    assert keys.warp is not None
    shared = "c2hhcmVk" * 5 + "c2g="
    profile = replace(keys.warp, mtu_bytes=1400, keepalive_s=7, preshared_key=shared)
    own = replace(keys, warp=profile)
    config = make_config(xray={"vps_address": "192.0.2.9"}, warp=section)
    state = compile_node(config, own, facts)
    assert state.items[DeviceKey("pr-warp", "wgcf")] == Device(None, mtu_bytes)
    routes = [route for where, _, route in of_kind(state, Kind.ROUTE) if where == "pr-xray"]
    ways_out = [route for route in routes if route.mtu_bytes and not route.destination.prefixlen]
    assert {route.mtu_bytes for route in ways_out} == {mtu_bytes}
    (peer,) = state.tunnels["wgcf"].peers
    assert (peer.keepalive_s, peer.preshared_key) == (keepalive_s, shared)
    assert state.pipeline.config.warp.keepalive_s == keepalive_s


def test_what_is_not_said_of_the_tunnel_has_a_default(
    make_config: Callable[..., PrivacyRouterConfig], keys: NodeKeys, facts: NodeFacts
) -> None:
    assert keys.warp is not None
    silent = replace(keys, warp=replace(keys.warp, mtu_bytes=None, keepalive_s=None))
    state = compile_node(make_config(), silent, facts)
    assert state.items[DeviceKey("pr-warp", "wgcf")] == Device(None, 1280)
    assert state.tunnels["wgcf"].peers[0].keepalive_s == 25


@pytest.mark.parametrize(("datapath", "by_driver"), [("netdev", False), ("system", None)])
def test_the_kernel_computes_checksums_where_open_vswitch_would_do_it_in_userspace(
    config: PrivacyRouterConfig,
    keys: NodeKeys,
    facts: NodeFacts,
    datapath: str,
    by_driver: bool | None,
) -> None:
    state = compile_node(config, keys, replace(facts, datapath_type=datapath))
    ports = {port.name for port in state.bridge.ports}
    found = {name: device for _, name, device in of_kind(state, Kind.DEVICE)}
    assert ports <= found.keys()
    assert {found[name].offloads_checksums for name in ports} == {by_driver}
    assert {found[name].offloads_checksums for name in found.keys() - ports} == {None}


@pytest.mark.parametrize(
    ("kernel", "programs"), [(False, {"wg100", "wgcf"}), (True, set())], ids=["userspace", "kernel"]
)
def test_wireguard_runs_as_a_program_only_where_the_kernel_has_none(
    make_config: Callable[..., PrivacyRouterConfig],
    keys: NodeKeys,
    facts: NodeFacts,
    kernel: bool,
    programs: set[str],
) -> None:
    config = make_config(xray={"vps_address": "192.0.2.9"})
    node = compile_node(config, keys, replace(facts, kernel_wireguard=kernel))
    assert set(node.processes) == {*OVS_PROCESSES, "xray", *programs}
    assert set(node.tunnels) == {"wg100", "wgcf"}
