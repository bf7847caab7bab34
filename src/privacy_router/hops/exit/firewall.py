"""The host's rules in a chain without WARP: XRay to its VPS, and nothing else (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import (
    ACCEPT,
    DNS_PORT,
    DROP,
    FILTER_PRIORITY,
    MASQUERADE,
    SOURCE_NAT_PRIORITY,
    came_in_by,
    chain,
    destination_port,
    from_,
    goes_out_by,
    is_for,
    is_reply,
    rule,
    to,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Address, Network
    from privacy_router.values.rulesets import Ruleset

CONNECTION_MARK = 0x70720002
"""Connection mark, in the host's namespace, of what XRay sends by the host's exit."""


def ruleset(
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
    mark = {"mangle": {"key": {"ct": {"key": "mark"}}, "value": CONNECTION_MARK}}
    allowed = [[destination_port("tcp", vps_port)]]
    allowed += [[is_for(resolver), destination_port("udp", DNS_PORT)] for resolver in resolvers]
    objects = [
        chain("input", "filter", "input", FILTER_PRIORITY, "accept"),
        chain("forward", "filter", "forward", FILTER_PRIORITY, "accept"),
        chain("postrouting", "nat", "postrouting", SOURCE_NAT_PRIORITY, "accept"),
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
