"""What a node knows and its configuration does not say: keys, accounts and clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Interface, IPv6Interface

    from privacy_router.hops.gateway import Client
    from privacy_router.hops.xray.keys import XrayIdentity
    from privacy_router.host.uapi import Endpoint


@dataclass(frozen=True)
class WarpTunnel:
    """A WARP account's tunnel, its endpoint already an address (so that no restart needs DNS)."""

    private_key: str = field(repr=False)
    peer_public_key: str
    endpoint: Endpoint
    v4: IPv4Interface | None
    v6: IPv6Interface | None
    mtu_bytes: int
    keepalive_s: int


@dataclass(frozen=True)
class NodeKeys:
    """Everything secret that the plan needs; None where the hop is not enabled."""

    gateway_private_key: str | None = field(repr=False)
    warp: WarpTunnel | None
    xray: XrayIdentity | None = field(repr=False)
    clients: tuple[Client, ...]


@dataclass(frozen=True)
class NodeFacts:
    """What was found on the machine."""

    datapath_type: str
    kernel_wireguard: bool
    private_ovs: bool
    run_dir: str
    uplink: str | None = None
    uplink_forwards: bool = False
    """Whether the machine forwarded what comes in by its uplink before the node did."""
