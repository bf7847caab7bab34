"""The WARP hop: the turn from the gateway to XRay and back, and the way to Cloudflare (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES
from privacy_router.chain.stations import Role, Task
from privacy_router.config import reserved
from privacy_router.hops.hop import Hop
from privacy_router.hops.keys import Part
from privacy_router.hops.namespace import (
    FROM_CLIENTS,
    TO_CLIENTS,
    NamespaceItems,
    anywhere,
    networks_of,
)
from privacy_router.hops.warp.firewall import ruleset
from privacy_router.values.network import FAMILY, Route, Rule
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.hops.keys import KeySet
    from privacy_router.values.items import Items
    from privacy_router.values.wireguard import WarpTunnel

WARP_TUNNEL = reserved.WARP_TUNNEL
WARP_ROLE = Role("warp", 1, Task.WAY_OUT, tunnel=WARP_TUNNEL)
WARP_NAMESPACE = f"{WARP_ROLE.namespace}"
WARP_SOCKET_MARK = 0x70720001
"""Firewall mark of the sockets of WARP's device ("pr" and a number); the host's guard knows its
packets by it."""
_OUT = 103


class Warp(Hop):
    """The tunnel to Cloudflare."""

    role = WARP_ROLE
    needs = frozenset({Part.WARP})

    def is_wanted(self, config: PrivacyRouterConfig) -> bool:
        """See Hop."""
        return config.warp.enabled

    def port(self, config: PrivacyRouterConfig) -> str:
        """See Hop."""
        return config.warp_port

    def mtu_bytes(self, config: PrivacyRouterConfig) -> int | None:
        """That of its tunnel."""
        return config.warp.mtu_bytes

    def completed(self, config: PrivacyRouterConfig, keys: KeySet) -> PrivacyRouterConfig:
        """With what the configuration leaves to the profile of the account."""
        if keys.warp is None:
            return config
        said = {"mtu": keys.warp.mtu_bytes, "persistent_keepalive": keys.warp.keepalive_s}
        left = {key: value for key, value in said.items() if getattr(config.warp, key) is None}
        return config.model_copy(update={"warp": config.warp.model_copy(update=left)})

    def items(self, context: HopContext) -> Items:
        """By policy rules: to the clients, from the clients, and into the tunnel; else nowhere."""
        if context.keys.warp is None:
            return {}
        station, legs = context.station, context.segment.legs_to(context.station)
        senders = networks_of(sender for leg in legs for sender in leg.senders)
        # clients' packets turn around here where what enters the tunnel is a proxy's
        hairpin = not all(leg.of_clients for leg in legs)
        clients = context.segment.clients
        space = NamespaceItems(WARP_NAMESPACE, forwards=True)
        space.firewall(ruleset(station.port, WARP_TUNNEL, clients, senders, hairpin=hairpin))
        space.join_segment(station, context.segment, TRANSIT_MTU_BYTES)
        _enter_tunnel(space, context.keys.warp, context.config.warp.mtu_bytes)
        for leg in context.segment.client_legs(station):
            space.turn(leg, station)
        for leg in legs:
            if not leg.of_clients:
                space.answer_by_the_leg(leg, station)
        for number, sender in enumerate(senders):
            space.rule(Rule(120 + number, _OUT, FAMILY[sender.version], sender, None, station.port))
        for table in (_OUT, TO_CLIENTS, FROM_CLIENTS):
            space.refuse_the_rest(table)
        space.refuse_the_rest()
        return space.items

    def device(self, context: HopContext) -> WireGuardConfig | None:
        """The device that leads to Cloudflare."""
        tunnel = context.keys.warp
        if tunnel is None:
            return None
        peer = WireGuardPeer(
            public_key=tunnel.peer_public_key,
            allowed_ips=(anywhere(4), anywhere(6)),
            endpoint=tunnel.endpoint,
            preshared_key=tunnel.preshared_key,
            keepalive_s=context.config.warp.keepalive_s,
        )
        return WireGuardConfig(tunnel.private_key, (peer,), firewall_mark=WARP_SOCKET_MARK)


def _enter_tunnel(space: NamespaceItems, tunnel: WarpTunnel, mtu_bytes: int) -> None:
    """The device with its addresses, and the way into it for what has one as its source."""
    space.device(WARP_TUNNEL, None, mtu_bytes)
    for address in (tunnel.v4, tunnel.v6):
        if address is not None:
            (own,) = networks_of([address.ip])
            space.address(WARP_TUNNEL, address)
            space.route(Route(anywhere(address.version), None, WARP_TUNNEL, table=_OUT))
            space.rule(Rule(130, _OUT, FAMILY[address.version], own))
