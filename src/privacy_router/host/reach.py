"""Whether the host has a way to an address. Nothing is sent to find out."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.values.wireguard import Endpoint


def has_way_to(endpoint: Endpoint) -> bool:
    """Whether the kernel finds a route, and an address of the host's to send from, for UDP.

    A link-local address is none for a place beyond the link: routers do not forward its packets
    (RFC 4291, section 2.5.6).
    """
    address, port = endpoint
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), port))  # connect(2): looks the route up
            source = ip_address(probe.getsockname()[0])
    except OSError:
        return False
    return address.is_link_local or not source.is_link_local
