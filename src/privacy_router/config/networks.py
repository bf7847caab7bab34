"""Networks in which the far end of a chain reaches no server."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from privacy_router.config.values import Network

UNREACHABLE_NETWORKS: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),  # of it Linux connects 0.0.0.0 to the loopback
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("::/96"),  # among it :: and ::1, and IPv4 addresses as RFC 4291, 2.5.5.1 had them
    IPv6Network("64:ff9b::/96"),  # IPv4 addresses behind a translator, RFC 6052
    IPv6Network("64:ff9b:1::/48"),  # the same, RFC 8215
    IPv6Network("100::/64"),
    IPv6Network("2001::/32"),  # Teredo, RFC 4380: IPv4 addresses
    IPv6Network("2002::/16"),  # 6to4, RFC 3056: IPv4 addresses
    IPv6Network("fc00::/7"),
    IPv6Network("fe80::/10"),
    IPv6Network("fec0::/10"),
    IPv6Network("ff00::/8"),
)
"""What is nowhere on the Internet: hosts of their own, private networks, multicast, and IPv6
addresses that stand for IPv4 ones (RFC 6890).

198.18.0.0/15 (RFC 2544) and 2001:db8::/32 (RFC 3849) are left out: the lab's Internet lives there.
"""


def unreachable_network(address: IPv4Address | IPv6Address) -> Network | None:
    """The network of these that the address is in; an IPv4 address in IPv6 counts as itself."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    place = mapped or address
    return next((network for network in UNREACHABLE_NETWORKS if place in network), None)
