"""The rules of the hops, as far as their order matters."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from privacy_router.hops.xray.settings import DNS_HELD_S, UDP_HELD_S
from privacy_router.plan import firewall, settings

CLIENTS = (ip_network("10.101.0.0/24"), ip_network("fd70:7276:6174:1::/64"))


def counted(rule: dict[str, Any]) -> dict[str, Any] | None:
    """What is counted for each sender, and how much of it is allowed, of a rule that does so."""
    return next((one["meter"] for one in rule["expr"] if "meter" in one), None)


def forwarding(kind: str) -> list[dict[str, Any]]:
    """The gateway's rules for what it forwards, as far as a client of that family is concerned."""
    rules = [item["rule"] for item in firewall.gateway("wg100", "pr0", CLIENTS) if "rule" in item]
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
    asking, dns, *begun, all_else, back = forwarding(kind)
    assert [counted(rule)["stmt"] for rule in (asking, *begun)] == [  # type: ignore[index]
        {"limit": {"rate": 64, "burst": 256, "per": "second", "inv": True}},
        *[{"ct count": {"val": 1024, "inv": True}}] * 2,
    ]
    assert all(firewall.DROP in rule["expr"] for rule in (asking, *begun))
    assert ASKS_DNS in matches(asking)
    assert [
        {right for left, right in matches(rule) if left == {"meta": {"key": "l4proto"}}}
        for rule in begun
    ] == [{"tcp"}, {"udp"}]
    for lets_out in (dns, all_else):
        assert firewall.ACCEPT in lets_out["expr"]
        assert "saddr" in f"{matches(lets_out)}"
    assert ASKS_DNS in matches(dns)
    assert "daddr" in f"{matches(back)}"
    # each count has a name of its own, else two rules would share it
    names = [meter["name"] for rule in forwarding(kind) if (meter := counted(rule))]
    assert len(set(names)) == 3


def test_what_xray_holds_of_a_clients_dns_is_bounded_as_its_connections_are() -> None:
    held = firewall.DNS_OF_A_CLIENT_AT_ONCE + firewall.DNS_OF_A_CLIENT_PER_S * DNS_HELD_S
    assert held <= firewall.CONNECTIONS_OF_A_CLIENT


def test_no_hop_forgets_a_clients_udp_before_xray_does() -> None:
    for forwards in (True, False):
        wanted = settings.of_namespace(forwards)
        for name in ("udp_timeout", "udp_timeout_stream"):
            assert int(wanted[f"netfilter/nf_conntrack_{name}"]) > UDP_HELD_S > 120


def test_each_door_of_xray_has_what_it_is_for() -> None:
    """By the first rule that takes a packet: where XRay listens, DNS apart from all else."""
    rules = [
        item["rule"]["expr"]
        for item in firewall.xray("pr0", 12345, 12346, CLIENTS, 443, ())
        if item.get("rule", {}).get("chain") == "prerouting"
    ]
    doors = [next(one["tproxy"] for one in expr if "tproxy" in one) for expr in rules]
    assert [(door["addr"], door["port"]) for door in doors] == [
        (address, port) for address in ("127.0.0.1", "::1") for port in (12346, 12345, 12345)
    ]
    whats = [[one["match"]["right"] for one in expr if "match" in one][-1] for expr in rules]
    assert whats == [53, "tcp", "udp"] * 2
    assert all(expr[-1] == firewall.ACCEPT for expr in rules)
