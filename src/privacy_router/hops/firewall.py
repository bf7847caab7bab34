"""What the rulesets of all hops are written with: nftables, in libnftables' JSON (pure).

Each hop forwards only between the two devices that its place in the chain names; everything else
is dropped, by policy, before the first device is up. See docs/security.md for what may leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Address, Network
    from privacy_router.values.rulesets import Ruleset

TABLE = "privacy_router"
DNS_PORT = 53
FILTER_PRIORITY = 0
MANGLE_PRIORITY = -150
SOURCE_NAT_PRIORITY = 100
AFTER_SOURCE_NAT_PRIORITY = 300

Expression = dict[str, Any]


def chain(name: str, kind: str, hook: str, priority: int, policy: str) -> dict[str, Any]:
    """A base chain."""
    return {
        "chain": {
            "family": "inet",
            "table": TABLE,
            "name": name,
            "type": kind,
            "hook": hook,
            "prio": priority,
            "policy": policy,
        }
    }


def closed() -> Ruleset:
    """Nothing in, through or out."""
    hooks = ("input", "forward", "output")
    return [chain(hook, "filter", hook, FILTER_PRIORITY, "drop") for hook in hooks]


def rule(chain_name: str, *expressions: Expression) -> dict[str, Any]:
    """A rule at the end of a chain."""
    return {
        "rule": {"family": "inet", "table": TABLE, "chain": chain_name, "expr": list(expressions)}
    }


def match(left: Any, right: Any, operator: str = "==") -> Expression:
    """What is read of the packet is (`==`, `!=`, `in`) that."""
    return {"match": {"op": operator, "left": left, "right": right}}


def came_in_by(device: str) -> Expression:
    """The packet came in by this device."""
    return match({"meta": {"key": "iifname"}}, device)


def goes_out_by(device: str) -> Expression:
    """The packet goes out by this device."""
    return match({"meta": {"key": "oifname"}}, device)


def _address(side: str, network: Network) -> Expression:
    field = {"payload": {"protocol": "ip" if network.version == 4 else "ip6", "field": side}}
    if network.prefixlen == network.max_prefixlen:
        return match(field, str(network.network_address))
    prefix = {"addr": str(network.network_address), "len": network.prefixlen}
    return match(field, {"prefix": prefix})


def from_(network: Network) -> Expression:
    """The packet's source is in `network`."""
    return _address("saddr", network)


def to(network: Network) -> Expression:
    """The packet's destination is in `network`."""
    return _address("daddr", network)


def is_reply() -> Expression:
    """The packet belongs to a connection that the other side may answer."""
    return match({"ct": {"key": "state"}}, ["established", "related"], "in")


def destination_port(protocol: str, port: int) -> Expression:
    """The packet is TCP or UDP to that port."""
    return match({"payload": {"protocol": protocol, "field": "dport"}}, port)


def is_echo_request(version: int) -> Expression:
    """The packet is a ping."""
    protocol = "icmp" if version == 4 else "icmpv6"
    return match({"payload": {"protocol": protocol, "field": "type"}}, "echo-request")


def carries(protocol: str) -> Expression:
    """The packet's transport is `tcp` or `udp`."""
    return match({"meta": {"key": "l4proto"}}, protocol)


def is_source_translated() -> Expression:
    """The packet's connection leaves with another source address than it came with."""
    return match({"ct": {"key": "status"}}, "snat", "in")


def has_anothers_source() -> Expression:
    """The packet's source is no address of the device by which it leaves.

    Masquerading takes an address of another device for a connection that begins while the device
    by which it leaves has none, and the kernel keeps that as long as the connection goes on. A
    packet that is dropped here is not remembered, so that the next one is translated anew.
    """
    return match({"fib": {"result": "type", "flags": ["saddr", "oif"]}}, "local", "!=")


def is_marked(mark: int) -> Expression:
    """The packet carries that mark."""
    return match({"meta": {"key": "mark"}}, mark)


def passing(port: str, networks: Iterable[Network]) -> Ruleset:
    """Rules for what comes in by a bridge port and goes out by it again, from these networks and to
    them."""
    through = [came_in_by(port), goes_out_by(port)]
    return [
        rule("forward", *through, which(network), ACCEPT)
        for network in networks
        for which in (from_, to)
    ]


def in_table(table: str, objects: Ruleset) -> Ruleset:
    """The same chains and rules in another table."""
    return [
        {kind: {**content, "table": table} for kind, content in item.items()} for item in objects
    ]


ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
MASQUERADE: Expression = {"masquerade": None}


def is_for(address: Address) -> Expression:
    """The packet's destination is that address."""
    field = {"payload": {"protocol": "ip" if address.version == 4 else "ip6", "field": "daddr"}}
    return match(field, str(address))
