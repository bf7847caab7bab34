"""What the node wants of the kernel's network tables, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

FAMILY = {4: 2, 6: 10}
"""The kernel's number of each IP version: AF_INET and AF_INET6 of linux/socket.h."""
LOCAL_TABLE = 255
MAIN_TABLE = 254
DEFAULT_TABLE = 253


@dataclass(frozen=True, order=True)
class Link:
    """A network device as it is found in a namespace."""

    name: str
    index: int
    mac: str
    mtu_bytes: int
    up: bool
    carrier: bool
    kind: str
    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int


@dataclass(frozen=True)
class Route:
    """A route; `gateway` and `device` both None means: unreachable (a refusal, not a way out).

    `extra`: the kernel's message of one that has more than can be said here, so another program's.
    """

    destination: Network
    gateway: Address | None = None
    device: str | None = None
    table: int = MAIN_TABLE
    kind: str = "unicast"
    metric: int = 0
    mtu_bytes: int | None = None
    extra: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Routes:
    """Those that a program added, and those that the kernel made for devices and addresses."""

    added: set[Route]
    kernels: set[Route]

    def follow(self, device: str, address: Interface) -> bool:
        """Whether the kernel's routes to an address and to its network are there: they can be
        removed by themselves, and then the address is of no use.

        A network of one has such a route in IPv6; not on every kernel's loopback.
        """
        network = address.network
        alone = network.prefixlen == network.max_prefixlen
        has_none = alone and (network.version == 4 or device == "lo")
        local = {route for route in self.kernels if route.kind == "local"}
        connected = self.kernels - local if alone else self.kernels
        return ip_network(address.ip) in {route.destination for route in local} and (
            has_none or (device, network) in {(r.device, r.destination) for r in connected}
        )


@dataclass(frozen=True)
class Rule:
    """A policy routing rule; the lower the priority the earlier it is asked. `extra`: see Route."""

    priority: int
    table: int
    family: int
    source: Network | None = None
    destination: Network | None = None
    input_device: str | None = None
    mark: int | None = None
    extra: bytes = field(default=b"", repr=False)


KERNELS_RULES = (
    *(Rule(0, LOCAL_TABLE, family) for family in FAMILY.values()),
    *(Rule(32766, MAIN_TABLE, family) for family in FAMILY.values()),
    Rule(32767, DEFAULT_TABLE, FAMILY[4]),
)
"""What every namespace begins with."""


@dataclass(frozen=True)
class Neighbour:
    """A permanent neighbour: an address whose MAC is known, so that the kernel never asks."""

    address: Address
    mac: str
    device: str
