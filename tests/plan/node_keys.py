"""Keys and facts to plan with: the same in every run, and no one's."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from privacy_router.hops.gateway.clients import Client
from privacy_router.hops.keys import NodeFacts, NodeKeys
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.values.wireguard import WarpTunnel


def key(byte: int) -> str:
    """A WireGuard key."""
    return base64.b64encode(bytes([byte]) * 32).decode()


PHONE = Client(
    name="phone",
    public_key=key(1),
    preshared_key=key(2),
    number=2,
    v4=IPv4Address("10.101.0.2"),
    v6=IPv6Address("fd70:7276:6174:1::2"),
    created="2026-01-01T00:00:00+00:00",
)
TUNNEL = WarpTunnel(
    private_key=key(3),
    peer_public_key=key(4),
    endpoint=(IPv4Address("162.159.192.1"), 2408),
    v4=IPv4Interface("172.16.0.2/32"),
    v6=IPv6Interface("2606:4700:110::2/128"),
    mtu_bytes=1280,
    keepalive_s=25,
)
IDENTITY = XrayIdentity(
    uuid="11111111-1111-4111-8111-111111111111",
    reality_private_key=key(6).rstrip("="),
    reality_public_key=key(7).rstrip("="),
    short_id="0011223344556677",
)
KEYS = NodeKeys(key(5), TUNNEL, IDENTITY, (PHONE,))
"""Keys for all hops, and one client."""
FACTS = NodeFacts("netdev", False, True, "/run/privacy-router", uplink="eth0")
"""A machine with nothing but userspace, which forwarded nothing before."""
