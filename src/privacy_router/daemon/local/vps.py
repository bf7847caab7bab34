"""The server's side of the XRay hop, as files for the VPS."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError
from privacy_router.hops.xray.server_firewall import server_firewall
from privacy_router.hops.xray.settings import refused_by_server, server_settings
from privacy_router.node.machine import require_root
from privacy_router.node.paths import NodePaths
from privacy_router.node.secrets import xray_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

    from privacy_router.config import PrivacyRouterConfig

__all__ = ["Server", "require_root", "server_of"]


@dataclass(frozen=True)
class Server:
    """The settings of the server's XRay, which hold its private key, and the rules of its
    firewall."""

    settings: str = field(repr=False)
    firewall: str


def server_of(
    config: PrivacyRouterConfig, own_addresses: Sequence[IPv4Address | IPv6Address]
) -> Server:
    """The server that fits this node and has those addresses itself. Raises ConflictError
    where the chain has no XRay hop."""
    if not config.xray_enabled:
        raise ConflictError(
            "the XRay hop is not enabled", remedy="set xray.vps_address to your VPS' address"
        )
    refused = refused_by_server(config.vps_address or "", own_addresses)
    settings = server_settings(
        xray_identity(NodePaths.from_environment()),
        listen_port=config.vps_port,
        server_name=config.xray.server_name,
        target=config.xray.reality_target,
        blocked_networks=refused,
    )
    return Server(json.dumps(settings, indent=2) + "\n", server_firewall(refused))
