"""What a node knows and its configuration does not say: keys, accounts and clients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING, Final

from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.values.wireguard import WarpTunnel, generate_private_key, public_key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.hops.gateway.clients import Client

_WIREGUARD_PORT: Final = 2408


@dataclass(frozen=True)
class KeySet:
    """Everything secret that a node is compiled from; None where the hop is not enabled."""

    gateway_private_key: str | None = field(repr=False)
    warp: WarpTunnel | None
    xray: XrayIdentity | None = field(repr=False)
    clients: tuple[Client, ...]


@dataclass(frozen=True)
class NodeKeys(KeySet):
    """Real keys: each was read from the file that keeps it. Only of these a node is made."""


@dataclass(frozen=True)
class PlanningKeys(KeySet):
    """Keys to show a plan with, of which some may be stand-ins that were never kept anywhere.

    `stand_ins` says of which part of the keys that is so, and why the real value is not known.
    """

    stand_ins: Mapping[Part, str] = field(default_factory=dict)

    def with_another(self, part: Part) -> PlanningKeys:
        """The same with another stand-in for that part: what is compiled differently depends on
        it."""
        if part is Part.WARP and self.warp is not None:
            return replace(self, warp=stand_in_tunnel(number=2))
        if part is Part.XRAY:
            return replace(self, xray=XrayIdentity.generate())
        return replace(self, gateway_private_key=generate_private_key())


class Part(StrEnum):
    """The parts of a node's keys; each comes from a file of its own."""

    GATEWAY = "gateway"
    WARP = "warp"
    XRAY = "xray"
    CLIENTS = "clients"


def stand_in_tunnel(*, number: int = 1) -> WarpTunnel:
    """What stands for a WARP account that is not known. Its addresses are those that RFC 5737 and
    RFC 3849 keep for documentation: nothing is there, and they are seen to be no real ones."""
    return WarpTunnel(
        private_key=generate_private_key(),
        peer_public_key=public_key_of(generate_private_key()),
        endpoint=(IPv4Address(f"192.0.2.{number}"), _WIREGUARD_PORT),
        v4=IPv4Interface(f"198.51.100.{number}/32"),
        v6=IPv6Interface(f"2001:db8::{number}/128"),
    )


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
