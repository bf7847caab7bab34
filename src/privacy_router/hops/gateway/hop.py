"""The gateway as a hop: clients' WireGuard, and the way on for all that they send (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES, client_mtu_bytes, gateway_addresses
from privacy_router.chain.stations import Role, Task
from privacy_router.config import reserved
from privacy_router.hops.gateway.clients import device_config
from privacy_router.hops.gateway.firewall import ruleset
from privacy_router.hops.hop import Hop
from privacy_router.hops.keys import Part
from privacy_router.hops.namespace import NamespaceItems, anywhere
from privacy_router.values.network import Route

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.values.items import Items
    from privacy_router.values.wireguard import WireGuardConfig

GATEWAY_TUNNEL = reserved.GATEWAY_TUNNEL
GATEWAY_ROLE = Role("gateway", 2, Task.ENTRANCE, tunnel=GATEWAY_TUNNEL)
GATEWAY_NAMESPACE = f"{GATEWAY_ROLE.namespace}"


class Gateway(Hop):
    """Where the clients enter."""

    role = GATEWAY_ROLE
    needs = frozenset({Part.GATEWAY})

    def is_wanted(self, config: PrivacyRouterConfig) -> bool:
        """See Hop."""
        return config.wireguard.enabled

    def port(self, config: PrivacyRouterConfig) -> str:
        """See Hop."""
        return config.gateway_port

    def items(self, context: HopContext) -> Items:
        """What clients send goes to the next hop, to any destination."""
        station, clients = context.station, context.segment.clients
        space = NamespaceItems(GATEWAY_NAMESPACE, forwards=True)
        space.firewall(ruleset(GATEWAY_TUNNEL, station.port, clients))
        space.join_segment(station, context.segment, TRANSIT_MTU_BYTES)
        space.device(GATEWAY_TUNNEL, None, client_mtu_bytes(context.config, context.segment))
        for address in gateway_addresses(context.config):
            space.address(GATEWAY_TUNNEL, address)
        following = context.leg.after(station)
        for version in (4, 6):
            space.route(Route(anywhere(version), following.address(version), station.port))
        space.refuse_the_rest()
        return space.items

    def device(self, context: HopContext) -> WireGuardConfig | None:
        """The device that clients dial."""
        key = context.keys.gateway_private_key
        if key is None:
            return None
        return device_config(key, context.config.wireguard.listen_port, context.keys.clients)
