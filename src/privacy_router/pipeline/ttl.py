"""TTL and hop limit: what has reached its end stays here, and the rest tells nothing of its sender.

A hop forwards like any router and would answer an expired packet with its own address, which is
what a traceroute asks for. So such packets end on the bridge (egress filter).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.openflow.actions import SetNwTtl
from privacy_router.openflow.match import Match
from privacy_router.pipeline.allocation import Layer, Zone
from privacy_router.pipeline.classify import SECURITY_KEY
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.terms import DROP, VERSIONS, goto, in_zone, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig

NORMALISE_FROM_LEVEL = 2
_EXPIRED, _ONWARD = 200, 100


def expired() -> Iterator[Flow]:
    """A TTL of 0 or 1 would not survive the next hop (RFC 1812, 5.3.1)."""
    for version in VERSIONS:
        for value in (0, 1):
            yield Flow(
                "ttl",
                _EXPIRED,
                ip(version, nw_ttl=value),
                DROP,
                Layer.SECURITY,
                SECURITY_KEY,
                f"egress filter: TTL {value}",
            )


def onward(config: PrivacyRouterConfig) -> Iterator[Flow]:
    """To the zone's own table; on the privacy segment with a uniform TTL, from level 2 on.

    On the mesh the TTL stays, since it is what ends a loop between routers.
    """
    mesh = Match(**in_zone(Zone.MESH))
    yield Flow("ttl", _ONWARD, mesh, goto("functions"), Layer.BASE, "pipeline", "mesh")
    privacy = in_zone(Zone.PRIVACY)
    if config.openflow.obfuscation_level < NORMALISE_FROM_LEVEL:
        match = Match(**privacy)
        yield Flow("ttl", _ONWARD, match, goto("privacy"), Layer.BASE, "pipeline", "privacy")
        return
    uniform = config.openflow.normal_ttl
    for version in VERSIONS:
        yield Flow(
            "ttl",
            _ONWARD,
            ip(version, **privacy),
            goto("privacy", SetNwTtl(uniform)),
            Layer.OBFUSCATION,
            "openflow.obfuscation_level",
            f"IPv{version} leaves with {'TTL' if version == 4 else 'hop limit'} {uniform}",
        )
