"""Who stands where on the privacy segment: addresses, MACs and port numbers of the hops (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING

from privacy_router.config import reserved
from privacy_router.values.bridges import mac_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.values.network import Address, Interface

NAMESPACE_PREFIX = "pr-"
GATEWAY_NAMESPACE = f"{NAMESPACE_PREFIX}gateway"
WARP_NAMESPACE = f"{NAMESPACE_PREFIX}warp"
XRAY_NAMESPACE = f"{NAMESPACE_PREFIX}xray"
SWITCH_NAMESPACE = f"{NAMESPACE_PREFIX}switch"
"""Where the node's own Open vSwitch runs, with no way out: nothing that it is told to send gets
anywhere. Its ports are born there."""
NAMESPACES = (
    *(f"{NAMESPACE_PREFIX}{hop}" for hop in ("gateway", "warp", "xray")),
    SWITCH_NAMESPACE,
)
"""Every namespace that a node may have; others of that prefix are none of its business."""
GATEWAY_TUNNEL = reserved.GATEWAY_TUNNEL
WARP_TUNNEL = reserved.WARP_TUNNEL
TUNNELS = (GATEWAY_TUNNEL, WARP_TUNNEL)
"""The WireGuard devices that a node may have."""
EXIT_PORT = reserved.EXIT_PORT
WARP_SOCKET_MARK = 0x70720001
"""Firewall mark of the sockets of WARP's device ("pr" and a number); the host's guard knows its
packets by it."""
EXIT_CONNECTION_MARK = 0x70720002
"""Connection mark, in the host's namespace, of what XRay sends by the host's exit."""
FIRST_HOP_PORT = 0x8000
"""Ports of hops have OpenFlow numbers from here on. Open vSwitch itself numbers ports, containers'
for example, in the lower half only (ofproto.c, alloc_ofp_port), so that no port of another takes
the number of a hop while that hop is disabled."""
ROLE_NUMBERS: Mapping[str, int] = {"warp": 1, "gateway": 2, "xray": 3, "exit": 4}
"""Each role's number: the host part of its addresses on the segment, and behind FIRST_HOP_PORT the
OpenFlow number of its port.

A number belongs to one role for good. While the chain changes, a flow of the old chain that
outputs to a number must not reach the port of another role.
"""


@dataclass(frozen=True)
class Station:
    """One end on the privacy segment: a bridge port and the addresses behind it."""

    hop: str
    port: str
    ofport: int
    mac: str
    v4: IPv4Interface
    v6: IPv6Interface

    @property
    def namespace(self) -> str | None:
        """The network namespace that holds the port; None for the host's own."""
        return None if self.hop == "exit" else f"{NAMESPACE_PREFIX}{self.hop}"

    @property
    def interfaces(self) -> tuple[Interface, Interface]:
        """Both addresses with their prefix."""
        return (self.v4, self.v6)

    def address(self, version: int) -> Address:
        """The address of that IP version."""
        return self.v4.ip if version == 4 else self.v6.ip


@dataclass(frozen=True)
class Chain:
    """The enabled hops in order, and what the rest of the plan asks about them.

    `router` is the station behind which the way out lies: the WARP hop, or, without WARP, the
    host's own exit port.
    """

    gateway: Station | None
    warp: Station | None
    xray: Station | None
    exit: Station | None
    clients: tuple[IPv4Network, IPv6Network]

    @property
    def stations(self) -> tuple[Station, ...]:
        """Every station in the order in which a client's packet meets them."""
        return tuple(s for s in (self.gateway, self.warp, self.xray, self.exit) if s is not None)

    @property
    def ports(self) -> tuple[Station, ...]:
        """The bridge's ports: every station has one."""
        return self.stations

    @property
    def edges(self) -> tuple[tuple[Station, Station], ...]:
        """Who may hand packets to whom on the bridge, outward and back."""
        turning = self.warp or self.xray
        ways: list[tuple[Station, Station]] = []
        if self.gateway is not None and turning is not None:
            ways += [(self.gateway, turning), (turning, self.gateway)]
        if self.xray is not None:
            ways += [(self.router, self.xray), (self.xray, self.router)]
        return tuple(ways)

    @property
    def reserved_numbers(self) -> tuple[int, ...]:
        """The OpenFlow numbers of all roles, also of those that this chain is without."""
        return tuple(sorted(map(port_number, ROLE_NUMBERS)))

    @property
    def return_edge(self) -> tuple[Station, Station] | None:
        """The turn back to the gateway, where packets to clients part from all others."""
        turning = self.warp or self.xray
        if self.gateway is None or turning is None:
            return None
        return (turning, self.gateway)

    @property
    def router(self) -> Station:
        """The station that leads out."""
        found = self.warp or self.exit
        if found is None:
            raise ValueError("a chain without WARP and without XRay has no way out")
        return found

    def port_named(self, name: str) -> Station | None:
        """The station behind the port of that name, or None."""
        return next((station for station in self.stations if station.port == name), None)

    def peers_of(self, station: Station) -> tuple[Station, ...]:
        """The other stations of the segment."""
        return tuple(other for other in self.stations if other != station)


def port_number(hop: str) -> int:
    """The OpenFlow number of a hop's port. Raises KeyError for a hop that there is not."""
    return FIRST_HOP_PORT + ROLE_NUMBERS[hop]


def build(config: PrivacyRouterConfig) -> Chain:
    """Place the enabled hops of `config` on the privacy segment."""
    hops = config.chain_hops
    direct = "xray" in hops and "warp" not in hops

    def station(hop: str, port: str) -> Station:
        number = ROLE_NUMBERS[hop]
        return Station(
            hop=hop,
            port=port,
            ofport=port_number(hop),
            mac=mac_of(config.bridge_name, port),
            v4=_interface4(config, number),
            v6=_interface6(config, number),
        )

    return Chain(
        gateway=station("gateway", config.wireguard.port_name) if "gateway" in hops else None,
        warp=station("warp", config.warp.interface) if "warp" in hops else None,
        xray=station("xray", config.xray.port_name) if "xray" in hops else None,
        exit=station("exit", EXIT_PORT) if direct else None,
        clients=(config.wireguard.client_subnet, config.wireguard.client_subnet6),
    )


def _interface4(config: PrivacyRouterConfig, number: int) -> IPv4Interface:
    subnet = config.transit_subnet
    return IPv4Interface((int(subnet.network_address) + number, subnet.prefixlen))


def _interface6(config: PrivacyRouterConfig, number: int) -> IPv6Interface:
    subnet = config.transit_subnet6
    return IPv6Interface((int(subnet.network_address) + number, subnet.prefixlen))
