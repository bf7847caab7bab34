"""The host's guard, and that a number or a zone is never used for another role."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.exit.hop import EXIT_PORT
from privacy_router.hops.warp.hop import WARP_ROLE, WARP_SOCKET_MARK
from privacy_router.pipeline.allocation import tracking_zone_between
from privacy_router.plan.guard import GUARD_PREFIX, host_guards, socket_guard
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer
from tests.plan.hop_sets import HOP_SETS, config_of

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig

ENDPOINT = (IPv4Address("192.0.2.1"), 2408)
WARP_GUARD = socket_guard(WARP_ROLE.name)


def rules_of(objects: list[dict[str, Any]], chain: str) -> list[str]:
    return [
        json.dumps(item["rule"]["expr"])
        for item in objects
        if "rule" in item and item["rule"]["chain"] == chain
    ]


def guard(config: PrivacyRouterConfig) -> tuple[str, list[Any]]:
    ((name, objects),) = guards_of(config, None).items()
    return name, objects


def guards_of(config: PrivacyRouterConfig, endpoint: Any) -> dict[str, list[Any]]:
    peer = WireGuardPeer("", (), endpoint)
    device = WireGuardConfig("", (peer,), firewall_mark=WARP_SOCKET_MARK)
    devices = {} if endpoint is None else {WARP_ROLE.name: device}
    return host_guards(config, CATALOGUE.segment(config), CATALOGUE, devices)


def test_no_source_of_the_tunnel_leaves_but_towards_the_exit(config: PrivacyRouterConfig) -> None:
    _, objects = guard(config)
    rules = rules_of(objects, "postrouting")
    accepted = [rule for rule in rules if "accept" in rule]
    assert len(accepted) == 3
    assert '"lo"' in accepted[0]
    assert EXIT_PORT in accepted[1]
    assert EXIT_PORT in accepted[2]
    assert "snat" in accepted[2]
    subnets = (
        *(config.wireguard.client_subnet, config.wireguard.client_subnet6),
        *(config.transit_subnet, config.transit_subnet6),
    )
    for subnet in subnets:
        assert sum(str(subnet.network_address) in rule for rule in rules) == 1
    assert rules[-1] == json.dumps(
        [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": EXIT_PORT}},
            {"drop": None},
        ]
    )


def test_what_leaves_has_an_address_of_its_device(config: PrivacyRouterConfig) -> None:
    rules = rules_of(guard(config)[1], "postrouting")
    foreign = next(i for i, rule in enumerate(rules) if '"fib"' in rule)
    assert "drop" in rules[foreign]
    assert EXIT_PORT in rules[foreign]
    assert foreign < next(i for i, rule in enumerate(rules) if "snat" in rule)


def test_warps_sockets_speak_to_its_endpoint_and_to_nothing_else(
    config: PrivacyRouterConfig,
) -> None:
    allowed, dropped = rules_of(guards_of(config, ENDPOINT)[WARP_GUARD], "output")
    assert str(WARP_SOCKET_MARK) in allowed
    assert "192.0.2.1" in allowed
    assert "2408" in allowed
    assert str(WARP_SOCKET_MARK) in dropped
    assert "drop" in dropped


def test_another_endpoint_is_another_content_of_one_table(config: PrivacyRouterConfig) -> None:
    """The old content must not hold up the first call to the new endpoint."""
    one, other = guards_of(config, ENDPOINT), guards_of(config, (IPv4Address("192.0.2.2"), 2408))
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == [WARP_GUARD]
    assert WARP_GUARD not in guards_of(config, None)
    assert not rules_of(guard(config)[1], "output")


def test_the_devices_of_the_hops_are_not_heard_in_the_host(config: PrivacyRouterConfig) -> None:
    _, objects = guard(config)
    for chain in ("input", "forward"):
        rules = rules_of(objects, chain)
        assert all("drop" in rule for rule in rules)
        for device in ("wg100", "wgcf", config.bridge_name):
            assert sum(f'"{device}"' in rule for rule in rules) == 1
        assert not any(EXIT_PORT in rule for rule in rules)


def test_another_guard_is_another_table_and_the_same_one_is_the_same() -> None:
    whole = config_of(**HOP_SETS["gateway warp xray"])
    moved = config_of(**HOP_SETS["gateway warp xray"], transit_subnet="10.202.0.0/24")
    name, objects = guard(whole)
    assert name.startswith(GUARD_PREFIX)
    assert {content["table"] for item in objects for content in item.values()} == {name}
    assert guard(whole) == (name, objects)
    assert guard(moved)[0] != name


def test_every_role_has_a_number_and_every_stretch_a_zone_of_its_own() -> None:
    numbers: dict[int, set[str]] = {}
    zones: dict[int, set[frozenset[str]]] = {}
    addresses: dict[object, set[str]] = {}
    for sections in HOP_SETS.values():
        segment = CATALOGUE.segment(config_of(**sections))
        for station in segment.stations:
            numbers.setdefault(station.ofport, set()).add(station.hop)
            addresses.setdefault(station.v4.ip, set()).add(station.hop)
        for source, target in segment.edges:
            zone = tracking_zone_between(source, target)
            zones.setdefault(zone, set()).add(frozenset({source.hop, target.hop}))
    sizes = {len(roles) for kind in (numbers, zones, addresses) for roles in kind.values()}
    assert sizes == {1}
    assert len(numbers) == 4
    assert set(segment.reserved_numbers) >= set(numbers)
