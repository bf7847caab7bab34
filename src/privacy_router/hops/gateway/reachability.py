"""Whether clients anywhere can dial an address of the node, and what to do where not (pure)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from privacy_router.config.networks import unreachable_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.config.values import Network

_PRIVATE: Final = "a private address (RFC 1918)"
_LINK_LOCAL: Final = "a link-local address"
_SHARED: Final = "an address that your provider shares between customers (CGNAT, RFC 6598)"
_KINDS: Final[Mapping[Network, str]] = {
    ip_network("10.0.0.0/8"): _PRIVATE,
    ip_network("172.16.0.0/12"): _PRIVATE,
    ip_network("192.168.0.0/16"): _PRIVATE,
    ip_network("100.64.0.0/10"): _SHARED,
    ip_network("169.254.0.0/16"): _LINK_LOCAL,
    ip_network("fe80::/10"): _LINK_LOCAL,
    ip_network("fc00::/7"): "a unique local address (RFC 4193)",
}


def endpoint_remark(host: str, port: int) -> str:
    """What is wrong with `host` as what clients dial, and the remedy; empty for a name, and for an
    address on the Internet."""
    try:
        network = unreachable_network(ip_address(host))
    except ValueError:
        return ""
    if network is None:
        return ""
    kind = _KINDS.get(network, f"no address on the Internet ({network})")
    return (
        f"the client dials {host}, which is {kind}: only devices in the same network reach it."
        f" {_remedy(kind, port)}"
    )


def _remedy(kind: str, port: int) -> str:
    forwarding = f"have the router in front of this machine forward UDP port {port} to it"
    if kind == _SHARED:
        return (
            "Forwarding at your own router does not help: ask the provider for a public address, or"
            " use this machine's public IPv6 address; then set wireguard.endpoint to it, and"
            f" {forwarding}. Remove the client and add it again."
        )
    return (
        "Set wireguard.endpoint to the public name or address by which the node is reached, and"
        f" {forwarding}. Then remove the client and add it again."
    )
