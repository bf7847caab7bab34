"""The host's exit: its share of a chain without WARP, XRay's connection to the VPS (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES
from privacy_router.chain.stations import Role, Task
from privacy_router.config import reserved
from privacy_router.hops.exit.firewall import ruleset
from privacy_router.hops.hop import Hop
from privacy_router.hops.namespace import NamespaceItems, networks_of
from privacy_router.values.items import HOST
from privacy_router.values.network import Neighbour

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.values.items import Items

EXIT_PORT = reserved.EXIT_PORT


class HostExit(Hop):
    """The host's own namespace as the way out. IPv6 is left out, since a host that forwards it
    stops listening to its router."""

    role = Role("exit", 4, Task.WAY_OUT, in_host=True, versions=(4,))

    def is_wanted(self, config: PrivacyRouterConfig) -> bool:
        """Where XRay is, unless another hop leads out: see `Catalogue.wanted`."""
        return config.xray_enabled

    def port(self, _: PrivacyRouterConfig, /) -> str:
        """The same on every machine."""
        return EXIT_PORT

    def items(self, context: HopContext) -> Items:
        """The host forwards XRay's connections, and the answers to them."""
        config, facts, station = context.config, context.facts, context.station
        (leg,) = context.segment.legs_to(station)
        if leg.before(station) != leg.first:
            raise ValueError(
                "no hop can be between a proxy and the host, which has no routes to it"
            )
        space = NamespaceItems(HOST)
        (source,) = networks_of([leg.first.v4.ip])
        space.firewall(
            ruleset(
                station.port,
                source,
                config.vps_port,
                [address for address in config.xray.dns if address.version == 4],
                closed_uplink=None if facts.uplink_forwards else facts.uplink,
            )
        )
        space.device(station.port, station.mac, TRANSIT_MTU_BYTES)
        space.address(station.port, station.v4)
        for peer in context.segment.peers_of(station):
            space.neighbour(Neighbour(peer.v4.ip, peer.mac, station.port))
        for device in (station.port, *([facts.uplink] if facts.uplink else [])):
            space.device_sysctl({f"ipv4/conf/{device}/forwarding": "1"})
        return space.items
