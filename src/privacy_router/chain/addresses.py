"""The addresses and the MTU inside the clients' tunnel, as the configuration makes them (pure)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.chain.order import Segment
    from privacy_router.config.models import PrivacyRouterConfig

TRANSIT_MTU_BYTES = 1500


WIREGUARD_OVERHEAD_BYTES = 80


def gateway_addresses(config: PrivacyRouterConfig) -> tuple[IPv4Interface, IPv6Interface]:
    """The gateway's own addresses inside the clients' tunnel: the first of each subnet."""
    v4, v6 = config.wireguard.client_subnet, config.wireguard.client_subnet6
    return (
        IPv4Interface((int(v4.network_address) + 1, v4.prefixlen)),
        IPv6Interface((int(v6.network_address) + 1, v6.prefixlen)),
    )


def client_addresses(config: PrivacyRouterConfig, number: int) -> tuple[IPv4Address, IPv6Address]:
    """The addresses of client `number` (from 2 on) inside the tunnel."""
    v4, v6 = config.wireguard.client_subnet, config.wireguard.client_subnet6
    return (
        IPv4Address(int(v4.network_address) + number),
        IPv6Address(int(v6.network_address) + number),
    )


def client_mtu_bytes(config: PrivacyRouterConfig, segment: Segment) -> int:
    """The MTU of the clients' tunnel.

    XRay ends the clients' TCP and carries their UDP in its own stream, so that only the clients'
    way to the gateway counts; without it the packets themselves must fit through WARP.
    """
    if config.wireguard.mtu is not None:
        return config.wireguard.mtu
    own_way = TRANSIT_MTU_BYTES - WIREGUARD_OVERHEAD_BYTES
    last = [leg.last.mtu_bytes for leg in segment.legs if leg.of_clients]
    return min([own_way, *(mtu_bytes for mtu_bytes in last if mtu_bytes is not None)])
