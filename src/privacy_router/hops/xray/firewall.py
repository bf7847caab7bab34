"""The XRay hop's rules: clients' packets into XRay, and XRay to its VPS (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import (
    ACCEPT,
    DNS_PORT,
    MANGLE_PRIORITY,
    came_in_by,
    carries,
    chain,
    closed,
    destination_port,
    from_,
    goes_out_by,
    is_for,
    is_marked,
    is_reply,
    rule,
    to,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.hops.firewall import Expression
    from privacy_router.values.network import Address, Network
    from privacy_router.values.rulesets import Ruleset

TPROXY_MARK = 1


def ruleset(
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
        *closed(),
        chain("prerouting", "filter", "prerouting", MANGLE_PRIORITY, "accept"),
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


def _tproxy(version: int, port: int) -> Expression:
    address = "127.0.0.1" if version == 4 else "::1"
    return {"tproxy": {"family": "ip" if version == 4 else "ip6", "addr": address, "port": port}}
