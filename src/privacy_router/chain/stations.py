"""Where a hop stands on the privacy segment: its role, and the addresses behind its port (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

from privacy_router.values.bridges import mac_of

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.values.network import Address, Interface

NAMESPACE_PREFIX = "pr-"
SWITCH_NAMESPACE = f"{NAMESPACE_PREFIX}switch"
"""Where the node's own Open vSwitch runs, with no way out: nothing that it is told to send gets
anywhere. Its ports are born there."""
FIRST_HOP_PORT = 0x8000
"""Ports of hops have OpenFlow numbers from here on. Open vSwitch itself numbers ports, containers'
for example, in the lower half only (ofproto.c, alloc_ofp_port), so that no port of another takes
the number of a hop while that hop is disabled."""
ROLES_MOST = 7
"""The highest number of a role: each port of a hop has numbers of meters kept for it."""


class Task(Enum):
    """What a hop does with clients' connections; who may hand what to whom follows from it."""

    ENTRANCE = "clients' packets enter the segment here, and answers to clients leave it"
    RELAY = "hands packets on in both directions, without changing their addresses"
    PROXY = "ends the connections that reach it and begins others, from its own addresses"
    WAY_OUT = "sends what reaches it out of the segment, and brings the answers back"


@dataclass(frozen=True)
class Role:
    """What a hop is to the segment.

    `number` (1 to ROLES_MOST) is the host part of its addresses and, behind FIRST_HOP_PORT, the
    OpenFlow number of its port. It belongs to one role for good: while the chain changes, a flow of
    the old chain that outputs to a number must not reach the port of another role. `tunnel` is
    the name of its WireGuard device, the same on every machine, where it has one. `in_host`: its
    port is in the host's own namespace. `versions` are the IP versions that it passes on.
    """

    name: str
    number: int
    task: Task
    tunnel: str | None = None
    in_host: bool = False
    versions: tuple[int, ...] = (4, 6)

    def __post_init__(self) -> None:
        """Raises ValueError for a number that no role may have."""
        if not 0 < self.number <= ROLES_MOST:
            raise ValueError(f"{self.name}: a role's number is from 1 to {ROLES_MOST}")

    @property
    def namespace(self) -> str | None:
        """The network namespace of a hop of this role; None for the host's own."""
        return None if self.in_host else f"{NAMESPACE_PREFIX}{self.name}"

    @property
    def ofport(self) -> int:
        """The OpenFlow number of its port."""
        return FIRST_HOP_PORT + self.number


@dataclass(frozen=True)
class Station:
    """One end on the privacy segment: a bridge port and the addresses behind it.

    `mtu_bytes`: the largest packet for the way out behind it; None where that is the segment's.
    """

    role: Role
    port: str
    mac: str
    v4: IPv4Interface
    v6: IPv6Interface
    mtu_bytes: int | None = None

    @property
    def hop(self) -> str:
        """The name of its role."""
        return self.role.name

    @property
    def ofport(self) -> int:
        """The OpenFlow number of the port."""
        return self.role.ofport

    @property
    def namespace(self) -> str | None:
        """The network namespace that holds the port; None for the host's own."""
        return self.role.namespace

    @property
    def interfaces(self) -> tuple[Interface, Interface]:
        """Both addresses with their prefix."""
        return (self.v4, self.v6)

    def address(self, version: int) -> Address:
        """The address of that IP version."""
        return self.v4.ip if version == 4 else self.v6.ip


def place(
    config: PrivacyRouterConfig, role: Role, port: str, mtu_bytes: int | None = None
) -> Station:
    """The station of a role on the privacy segment of `config`."""
    v4, v6 = config.transit_subnet, config.transit_subnet6
    return Station(
        role=role,
        port=port,
        mac=mac_of(config.bridge_name, port),
        v4=IPv4Interface((int(v4.network_address) + role.number, v4.prefixlen)),
        v6=IPv6Interface((int(v6.network_address) + role.number, v6.prefixlen)),
        mtu_bytes=mtu_bytes,
    )
