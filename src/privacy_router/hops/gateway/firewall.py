"""The gateway's rules: who of the clients may send what, and how much of it (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.hops.firewall import (
    ACCEPT,
    DNS_PORT,
    DROP,
    TABLE,
    came_in_by,
    carries,
    closed,
    destination_port,
    from_,
    goes_out_by,
    is_echo_request,
    is_reply,
    match,
    rule,
    to,
)
from privacy_router.hops.xray.settings import DNS_HELD_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.hops.firewall import Expression
    from privacy_router.values.network import Network
    from privacy_router.values.rulesets import Ruleset

CONNECTIONS_OF_A_CLIENT = 1024
"""How many TCP connections an address of a client may have at a time, and how many UDP ones beside
them. Each costs XRay about 80 KB."""
DNS_PORTS_OF_A_CLIENT_PER_S = 64
DNS_PORTS_OF_A_CLIENT_AT_ONCE = 256
"""From how many new ports an address of a client may send DNS, and from how many at once. With what
XRay holds for `DNS_HELD_S` these are 1,024 sessions at a time. Connection tracking remembers DNS
for longer than that, so that it is not counted there."""

_COUNTED_CLIENTS = 65535
_COUNTED_PORTS = 65535


def _for_each_sender(name: str, version: int, statement: Expression) -> Expression:
    """The statement, counted for each sender of that IP version; `name` is the count's own."""
    sender = {"payload": {"protocol": "ip" if version == 4 else "ip6", "field": "saddr"}}
    each = {"name": f"{name}{version}", "size": _COUNTED_CLIENTS, "key": sender}
    return {"meter": {**each, "stmt": statement}}


def _begins_too_many(protocol: str, version: int) -> list[Expression]:
    """The packet begins a connection, and its sender has as many as it may have already."""
    count = {"ct count": {"val": CONNECTIONS_OF_A_CLIENT, "inv": True}}
    return [
        carries(protocol),
        match({"ct": {"key": "state"}}, "new", "in"),
        _for_each_sender(protocol, version, count),
    ]


def _dns_set(version: int) -> str:
    return f"dns{version}"


def _dns_ports(version: int) -> dict[str, Any]:
    """The set of those (client, port) that have sent DNS while XRay may still hold it."""
    return {
        "set": {
            "family": "inet",
            "table": TABLE,
            "name": _dns_set(version),
            "type": [f"ipv{version}_addr", "inet_service"],
            "size": _COUNTED_PORTS,
            "flags": ["timeout"],
            "timeout": DNS_HELD_S,
        }
    }


def _dns_of_clients(version: int, way: list[Expression]) -> list[dict[str, Any]]:
    """Let DNS go that `way` while its sender does not use new ports faster than it may."""
    protocol = "ip" if version == 4 else "ip6"
    sender = {"payload": {"protocol": protocol, "field": "saddr"}}
    port = {"concat": [sender, {"payload": {"protocol": "udp", "field": "sport"}}]}
    rate = {"rate": DNS_PORTS_OF_A_CLIENT_PER_S, "burst": DNS_PORTS_OF_A_CLIENT_AT_ONCE}
    too_fast = {"limit": {**rate, "per": "second", "inv": True}}
    ours = f"@{_dns_set(version)}"
    is_new = [match(port, ours, "!="), _for_each_sender("asking", version, too_fast)]
    dns = [*way, destination_port("udp", DNS_PORT)]
    return [
        rule("forward", *dns, *is_new, DROP),
        rule("forward", *dns, {"set": {"op": "update", "elem": port, "set": ours}}, ACCEPT),
        rule("forward", *dns, DROP),  # the set is full
    ]


def ruleset(tunnel: str, port: str, clients: Iterable[Network]) -> Ruleset:
    """The gateway: clients to the chain and the chain's answers back to them, and of each address
    of a client no more connections at a time than `CONNECTIONS_OF_A_CLIENT`, and DNS from no more
    new ports than `DNS_PORTS_OF_A_CLIENT_PER_S`."""
    objects = [
        *closed(),
        rule("input", came_in_by("lo"), ACCEPT),
        rule("input", came_in_by(tunnel), is_reply(), ACCEPT),
        rule("output", goes_out_by("lo"), ACCEPT),
        rule("output", goes_out_by(tunnel), ACCEPT),
    ]
    for network in clients:
        from_client = [came_in_by(tunnel), goes_out_by(port), from_(network)]
        version = network.version
        objects += [
            rule("input", came_in_by(tunnel), is_echo_request(version), ACCEPT),
            _dns_ports(version),
            *_dns_of_clients(version, from_client),
            rule("forward", came_in_by(tunnel), *_begins_too_many("tcp", version), DROP),
            rule("forward", came_in_by(tunnel), *_begins_too_many("udp", version), DROP),
            rule("forward", *from_client, ACCEPT),
            rule("forward", came_in_by(port), goes_out_by(tunnel), to(network), is_reply(), ACCEPT),
        ]
    return objects
