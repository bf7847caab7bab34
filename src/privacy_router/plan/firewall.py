"""nftables rulesets of the hop namespaces, in libnftables' JSON (pure).

Each hop forwards only between the two devices that its place in the chain names; everything else
is dropped, by policy, before the first device is up. See docs/security.md for what may leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.chain.stations import EXIT_CONNECTION_MARK
from privacy_router.hops.xray.settings import DNS_HELD_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Address, Network
    from privacy_router.values.rulesets import Ruleset

TABLE = "privacy_router"
DNS_PORT = 53
TPROXY_MARK = 1
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
_FILTER_PRIORITY = 0
_MANGLE_PRIORITY = -150
_SOURCE_NAT_PRIORITY = 100
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
    return [chain(hook, "filter", hook, _FILTER_PRIORITY, "drop") for hook in hooks]


def rule(chain_name: str, *expressions: Expression) -> dict[str, Any]:
    """A rule at the end of a chain."""
    return {
        "rule": {"family": "inet", "table": TABLE, "chain": chain_name, "expr": list(expressions)}
    }


def _match(left: Any, right: Any, operator: str = "==") -> Expression:
    return {"match": {"op": operator, "left": left, "right": right}}


def came_in_by(device: str) -> Expression:
    """The packet came in by this device."""
    return _match({"meta": {"key": "iifname"}}, device)


def goes_out_by(device: str) -> Expression:
    """The packet goes out by this device."""
    return _match({"meta": {"key": "oifname"}}, device)


def _address(side: str, network: Network) -> Expression:
    field = {"payload": {"protocol": "ip" if network.version == 4 else "ip6", "field": side}}
    if network.prefixlen == network.max_prefixlen:
        return _match(field, str(network.network_address))
    prefix = {"addr": str(network.network_address), "len": network.prefixlen}
    return _match(field, {"prefix": prefix})


def from_(network: Network) -> Expression:
    """The packet's source is in `network`."""
    return _address("saddr", network)


def to(network: Network) -> Expression:
    """The packet's destination is in `network`."""
    return _address("daddr", network)


def is_reply() -> Expression:
    """The packet belongs to a connection that the other side may answer."""
    return _match({"ct": {"key": "state"}}, ["established", "related"], "in")


def destination_port(protocol: str, port: int) -> Expression:
    """The packet is TCP or UDP to that port."""
    return _match({"payload": {"protocol": protocol, "field": "dport"}}, port)


def is_echo_request(version: int) -> Expression:
    """The packet is a ping."""
    protocol = "icmp" if version == 4 else "icmpv6"
    return _match({"payload": {"protocol": protocol, "field": "type"}}, "echo-request")


def carries(protocol: str) -> Expression:
    """The packet's transport is `tcp` or `udp`."""
    return _match({"meta": {"key": "l4proto"}}, protocol)


def is_source_translated() -> Expression:
    """The packet's connection leaves with another source address than it came with."""
    return _match({"ct": {"key": "status"}}, "snat", "in")


def has_anothers_source() -> Expression:
    """The packet's source is no address of the device by which it leaves.

    Masquerading takes an address of another device for a connection that begins while the device
    by which it leaves has none, and the kernel keeps that as long as the connection goes on. A
    packet that is dropped here is not remembered, so that the next one is translated anew.
    """
    return _match({"fib": {"result": "type", "flags": ["saddr", "oif"]}}, "local", "!=")


def is_marked(mark: int) -> Expression:
    """The packet carries that mark."""
    return _match({"meta": {"key": "mark"}}, mark)


def in_table(table: str, objects: Ruleset) -> Ruleset:
    """The same chains and rules in another table."""
    return [
        {kind: {**content, "table": table} for kind, content in item.items()} for item in objects
    ]


ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
MASQUERADE: Expression = {"masquerade": None}


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
        _match({"ct": {"key": "state"}}, "new", "in"),
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
    is_new = [_match(port, ours, "!="), _for_each_sender("asking", version, too_fast)]
    dns = [*way, destination_port("udp", DNS_PORT)]
    return [
        rule("forward", *dns, *is_new, DROP),
        rule("forward", *dns, {"set": {"op": "update", "elem": port, "set": ours}}, ACCEPT),
        rule("forward", *dns, DROP),  # the set is full
    ]


def gateway(tunnel: str, port: str, clients: Iterable[Network]) -> Ruleset:
    """The gateway: clients to the chain and the chain's answers back to them, and of each address
    of a client no more connections at a time than `CONNECTIONS_OF_A_CLIENT`, and DNS from no more
    new ports than `DNS_PORTS_OF_A_CLIENT_PER_S`."""
    objects = [
        chain("input", "filter", "input", _FILTER_PRIORITY, "drop"),
        chain("forward", "filter", "forward", _FILTER_PRIORITY, "drop"),
        chain("output", "filter", "output", _FILTER_PRIORITY, "drop"),
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


def warp(
    port: str,
    tunnel: str,
    clients: Iterable[Network],
    senders: Iterable[Network],
    *,
    hairpin: bool,
) -> Ruleset:
    """The WARP hop: `senders` to Cloudflare, and the turn from the gateway to XRay and back.

    `senders` are those whose packets enter the tunnel: XRay, or the clients where there is none.
    """
    objects = [
        chain("input", "filter", "input", _FILTER_PRIORITY, "drop"),
        chain("forward", "filter", "forward", _FILTER_PRIORITY, "drop"),
        chain("output", "filter", "output", _FILTER_PRIORITY, "drop"),
        chain("postrouting", "nat", "postrouting", _SOURCE_NAT_PRIORITY, "accept"),
        chain("untranslated", "filter", "postrouting", AFTER_SOURCE_NAT_PRIORITY, "accept"),
        rule("input", came_in_by("lo"), ACCEPT),
        rule("input", came_in_by(tunnel), is_reply(), ACCEPT),
        rule("output", goes_out_by("lo"), ACCEPT),
        rule("output", goes_out_by(tunnel), ACCEPT),
        # "packet too big", without which whoever sends large packets waits for ever
        rule("output", goes_out_by(port), is_reply(), ACCEPT),
        rule("postrouting", goes_out_by(tunnel), MASQUERADE),
        rule("untranslated", goes_out_by(tunnel), has_anothers_source(), DROP),
        rule("forward", came_in_by(tunnel), goes_out_by(port), is_reply(), ACCEPT),
    ]
    objects += [
        rule("forward", came_in_by(port), goes_out_by(tunnel), from_(network), ACCEPT)
        for network in senders
    ]
    for network in clients if hairpin else ():
        objects += [
            rule("forward", came_in_by(port), goes_out_by(port), from_(network), ACCEPT),
            rule("forward", came_in_by(port), goes_out_by(port), to(network), ACCEPT),
        ]
    return objects


def xray(
    port: str,
    tproxy_port: int,
    dns_tproxy_port: int,
    clients: Iterable[Network],
    vps_port: int,
    resolvers: Iterable[Address],
) -> Ruleset:
    """The XRay hop: clients' TCP and UDP into XRay; out of it only the VPS and its name's lookup.

    XRay takes DNS at `dns_tproxy_port` and everything else at `tproxy_port`.
    It forwards nothing at all: a packet that XRay does not take ends here.
    """
    objects = [
        chain("input", "filter", "input", _FILTER_PRIORITY, "drop"),
        chain("forward", "filter", "forward", _FILTER_PRIORITY, "drop"),
        chain("output", "filter", "output", _FILTER_PRIORITY, "drop"),
        chain("prerouting", "filter", "prerouting", _MANGLE_PRIORITY, "accept"),
        rule("input", came_in_by("lo"), ACCEPT),
        rule("input", is_marked(TPROXY_MARK), ACCEPT),
        rule("input", came_in_by(port), is_reply(), ACCEPT),
        rule("output", goes_out_by("lo"), ACCEPT),
        rule("output", goes_out_by(port), destination_port("tcp", vps_port), ACCEPT),
    ]
    for network in clients:
        objects.append(rule("output", goes_out_by(port), to(network), ACCEPT))
        objects += [
            rule(
                "prerouting",
                came_in_by(port),
                from_(network),
                what,
                {"mangle": {"key": {"meta": {"key": "mark"}}, "value": TPROXY_MARK}},
                _tproxy(network.version, where),
                ACCEPT,  # else a later rule would choose another inbound
            )
            for what, where in (
                (destination_port("udp", DNS_PORT), dns_tproxy_port),
                (carries("tcp"), tproxy_port),
                (carries("udp"), tproxy_port),
            )
        ]
    objects += [
        rule(
            "output", goes_out_by(port), is_for(resolver), destination_port("udp", DNS_PORT), ACCEPT
        )
        for resolver in resolvers
    ]
    return objects


def exit_of_host(
    port: str,
    xray: Network,
    vps_port: int,
    resolvers: Iterable[Address],
    *,
    closed_uplink: str | None,
) -> Ruleset:
    """The host's share where there is no WARP: XRay to its VPS and its name's lookup, else nothing.

    `closed_uplink` is the uplink if the machine did not forward what comes in by it before: then it
    forwards the answers to XRay and nothing else. Otherwise these chains accept by policy: what
    does not concern the exit port is the host's own business.
    """
    mark = {"mangle": {"key": {"ct": {"key": "mark"}}, "value": EXIT_CONNECTION_MARK}}
    allowed = [[destination_port("tcp", vps_port)]]
    allowed += [[is_for(resolver), destination_port("udp", 53)] for resolver in resolvers]
    objects = [
        chain("input", "filter", "input", _FILTER_PRIORITY, "accept"),
        chain("forward", "filter", "forward", _FILTER_PRIORITY, "accept"),
        chain("postrouting", "nat", "postrouting", _SOURCE_NAT_PRIORITY, "accept"),
        rule("input", came_in_by(port), DROP),
        rule("postrouting", came_in_by(port), from_(xray), MASQUERADE),
        *(rule("forward", came_in_by(port), from_(xray), *what, mark, ACCEPT) for what in allowed),
        rule("forward", came_in_by(port), DROP),
        rule("forward", goes_out_by(port), to(xray), is_reply(), ACCEPT),
        rule("forward", goes_out_by(port), DROP),
    ]
    if closed_uplink is not None:
        objects.append(rule("forward", came_in_by(closed_uplink), DROP))
    return objects


def is_for(address: Address) -> Expression:
    """The packet's destination is that address."""
    field = {"payload": {"protocol": "ip" if address.version == 4 else "ip6", "field": "daddr"}}
    return _match(field, str(address))


def _tproxy(version: int, port: int) -> Expression:
    address = "127.0.0.1" if version == 4 else "::1"
    return {"tproxy": {"family": "ip" if version == 4 else "ip6", "addr": address, "port": port}}
