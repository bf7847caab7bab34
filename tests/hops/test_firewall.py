"""The rules of the hops, as far as their order matters."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from privacy_router.hops import firewall, settings
from privacy_router.hops.gateway import firewall as gateway
from privacy_router.hops.xray import firewall as xray
from privacy_router.hops.xray.settings import DNS_HELD_S, UDP_HELD_S

CLIENTS = (ip_network("10.101.0.0/24"), ip_network("fd70:7276:6174:1::/64"))
GATEWAY = gateway.ruleset("wg100", "pr0", CLIENTS)


def counted(rule: dict[str, Any]) -> dict[str, Any] | None:
    """What is counted for each sender, and how much of it is allowed, of a rule that does so."""
    return next((one["meter"] for one in rule["expr"] if "meter" in one), None)


def forwarding(kind: str) -> list[dict[str, Any]]:
    """The gateway's rules for what it forwards, as far as a client of that family is concerned."""
    rules = [item["rule"] for item in GATEWAY if "rule" in item]
    return [
        rule
        for rule in rules
        if rule["chain"] == "forward" and f"'protocol': '{kind}'" in f"{rule}"
    ]


def matches(rule: dict[str, Any]) -> list[tuple[Any, Any]]:
    """What a rule compares, and with what."""
    compared = [one["match"] for one in rule["expr"] if "match" in one]
    return [(one["left"], one["right"]) for one in compared]


ASKS_DNS = ({"payload": {"protocol": "udp", "field": "dport"}}, 53)


@pytest.mark.parametrize("kind", ["ip", "ip6"])
def test_a_clients_connections_are_counted_before_any_is_let_through(kind: str) -> None:
    *dns, tcp, udp, all_else, back = forwarding(kind)
    for begins, protocol in ((tcp, "tcp"), (udp, "udp")):
        assert ({"meta": {"key": "l4proto"}}, protocol) in matches(begins)
        meter = counted(begins)
        assert meter is not None
        assert meter["stmt"] == {"ct count": {"val": 1024, "inv": True}}
        assert firewall.DROP in begins["expr"]
    assert firewall.ACCEPT in all_else["expr"]
    assert "saddr" in f"{matches(all_else)}"
    assert "daddr" in f"{matches(back)}"
    assert all(ASKS_DNS in matches(rule) for rule in dns)
    # each count has a name of its own, else two rules would share it
    names = [meter["name"] for rule in forwarding(kind) if (meter := counted(rule))]
    assert len(set(names)) == 3


@pytest.mark.parametrize(("kind", "version"), [("ip", 4), ("ip6", 6)])
def test_dns_from_new_ports_is_bounded_and_that_of_known_ones_is_not(
    kind: str, version: int
) -> None:
    """What XRay holds is a session for each port, however often that asks."""
    too_fast, known, full, *_ = forwarding(kind)
    port = {
        "concat": [
            {"payload": {"protocol": kind, "field": "saddr"}},
            {"payload": {"protocol": "udp", "field": "sport"}},
        ]
    }
    assert (port, f"@dns{version}") in matches(too_fast)
    meter = counted(too_fast)
    assert meter is not None
    assert meter["stmt"] == {"limit": {"rate": 64, "burst": 256, "per": "second", "inv": True}}
    assert known["expr"][-2:] == [
        {"set": {"op": "update", "elem": port, "set": f"@dns{version}"}},
        firewall.ACCEPT,
    ]
    for drops in (too_fast, full):
        assert drops["expr"][-1] == firewall.DROP
    sets = {one["set"]["name"]: one["set"] for one in GATEWAY if "set" in one}
    assert sets[f"dns{version}"]["type"] == [f"ipv{version}_addr", "inet_service"]
    assert sets[f"dns{version}"]["timeout"] >= DNS_HELD_S


def test_what_xray_holds_of_a_clients_dns_is_bounded_as_its_connections_are() -> None:
    later = gateway.DNS_PORTS_OF_A_CLIENT_PER_S * DNS_HELD_S
    assert gateway.DNS_PORTS_OF_A_CLIENT_AT_ONCE + later <= gateway.CONNECTIONS_OF_A_CLIENT


def test_no_hop_forgets_a_clients_udp_before_xray_does() -> None:
    for forwards in (True, False):
        wanted = settings.of_namespace(forwards)
        for name in ("udp_timeout", "udp_timeout_stream"):
            assert int(wanted[f"netfilter/nf_conntrack_{name}"]) > UDP_HELD_S > 120


def test_each_door_of_xray_has_what_it_is_for() -> None:
    """By the first rule that takes a packet: where XRay listens, DNS apart from all else."""
    rules = [
        item["rule"]["expr"]
        for item in xray.ruleset("pr0", 12345, 12346, CLIENTS, 443, ())
        if item.get("rule", {}).get("chain") == "prerouting"
    ]
    doors = [next(one["tproxy"] for one in expr if "tproxy" in one) for expr in rules]
    assert [(door["addr"], door["port"]) for door in doors] == [
        (address, port) for address in ("127.0.0.1", "::1") for port in (12346, 12345, 12345)
    ]
    whats = [[one["match"]["right"] for one in expr if "match" in one][-1] for expr in rules]
    assert whats == [53, "tcp", "udp"] * 2
    assert all(expr[-1] == firewall.ACCEPT for expr in rules)
