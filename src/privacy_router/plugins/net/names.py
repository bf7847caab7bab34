"""The kinds of this plugin's resources, and the names that they have.

Each setting is a resource of its own, so that one that a document no longer declares is given back
by itself, though more of the same device may be declared still.

    interface        eth0                      what a person wants to see; not declared
    up, mtu, dhcp, ipv6-ra   eth0              true, 1400, false or who, accept_ra's number
    address          eth0 192.0.2.2/24
    other-addresses  eth0                      those beside the declared ones, where `exact`
    route            0.0.0.0/0 table 254 metric 0
    bridge, fail-mode        vmbr0
    port             eth1
    uplink           eth0                      {"bridge": "vmbr0", "connected": true}
"""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from privacy_router.values.network import Interface, Network

INTERFACE: Final = "interface"
UP: Final = "up"
MTU: Final = "mtu"
DHCP: Final = "dhcp"
IPV6_RA: Final = "ipv6-ra"
ADDRESS: Final = "address"
OTHER_ADDRESSES: Final = "other-addresses"
ROUTE: Final = "route"
BRIDGE: Final = "bridge"
FAIL_MODE: Final = "fail-mode"
PORT: Final = "port"
UPLINK: Final = "uplink"

SETTINGS: Final = frozenset({UP, MTU, DHCP, IPV6_RA})
SWITCH: Final = frozenset({BRIDGE, FAIL_MODE, PORT, UPLINK})
"""The kinds that need Open vSwitch."""
NO_OTHERS: Final = "*"
"""In the value of OTHER_ADDRESSES: {"*": null} asks that there be none."""


class RouteName(NamedTuple):
    """What tells a route from others."""

    destination: Network
    table: int
    metric: int

    def __str__(self) -> str:
        return f"{self.destination} table {self.table} metric {self.metric}"


def parse_route(name: str) -> RouteName:
    """The opposite of its `str`."""
    destination, _, table, _, metric = name.split()
    return RouteName(ip_network(destination), int(table), int(metric))


def address_name(device: str, address: Interface) -> str:
    """The name of an address on a device."""
    return f"{device} {address}"


def parse_address(name: str) -> tuple[str, Interface]:
    """The opposite of `address_name`."""
    device, _, address = name.partition(" ")
    return device, ip_interface(address)
