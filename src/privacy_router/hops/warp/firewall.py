"""The WARP hop's rules: what may enter its tunnel, and the turn to XRay and back (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import (
    ACCEPT,
    AFTER_SOURCE_NAT_PRIORITY,
    DROP,
    MASQUERADE,
    SOURCE_NAT_PRIORITY,
    came_in_by,
    chain,
    closed,
    from_,
    goes_out_by,
    has_anothers_source,
    is_reply,
    passing,
    rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Network
    from privacy_router.values.rulesets import Ruleset


def ruleset(
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
        *closed(),
        chain("postrouting", "nat", "postrouting", SOURCE_NAT_PRIORITY, "accept"),
        chain("untranslated", "filter", "postrouting", AFTER_SOURCE_NAT_PRIORITY, "accept"),
        rule("input", came_in_by("lo"), ACCEPT),
        rule("input", came_in_by(tunnel), is_reply(), ACCEPT),
        rule("output", goes_out_by("lo"), ACCEPT),
        rule("output", goes_out_by(tunnel), ACCEPT),
        # "packet too big", without which a sender of large packets waits for ever
        rule("output", goes_out_by(port), is_reply(), ACCEPT),
        rule("postrouting", goes_out_by(tunnel), MASQUERADE),
        rule("untranslated", goes_out_by(tunnel), has_anothers_source(), DROP),
        rule("forward", came_in_by(tunnel), goes_out_by(port), is_reply(), ACCEPT),
    ]
    objects += [
        rule("forward", came_in_by(port), goes_out_by(tunnel), from_(network), ACCEPT)
        for network in senders
    ]
    return [*objects, *(passing(port, clients) if hairpin else [])]
