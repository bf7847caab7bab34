"""The rules of the hops, as far as their order matters."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from privacy_router.plan import firewall

CLIENTS = (ip_network("10.101.0.0/24"), ip_network("fd70:7276:6174:1::/64"))


def counted(expressions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What is counted for each sender, and how many are allowed, of a rule that does so."""
    return next((one["meter"] for one in expressions if "meter" in one), None)


def test_a_clients_connections_are_counted_before_any_is_let_through() -> None:
    rules = [item["rule"] for item in firewall.gateway("wg100", "pr0", CLIENTS) if "rule" in item]
    forward = [rule["expr"] for rule in rules if rule["chain"] == "forward"]
    for protocol in ("ip", "ip6"):
        (place,) = (
            place
            for place, one in enumerate(forward)
            if (meter := counted(one)) and meter["key"]["payload"]["protocol"] == protocol
        )
        meter = counted(forward[place])
        assert meter is not None
        assert meter["stmt"] == {"ct count": {"val": firewall.CONNECTIONS_OF_A_CLIENT, "inv": True}}
        assert firewall.DROP in forward[place]
        lets_clients_out = [
            number
            for number, one in enumerate(forward)
            if firewall.ACCEPT in one and f"'protocol': '{protocol}', 'field': 'saddr'" in f"{one}"
        ]
        assert lets_clients_out
        assert place < min(lets_clients_out)
