"""What the node wants of the kernel's network tables, as plain values and as items."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

from privacy_router.values.items import ItemValue, Key, Kind, Plain

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

FAMILY = {4: 2, 6: 10}
"""The kernel's number of each IP version: AF_INET and AF_INET6 of linux/socket.h."""
LOCAL_TABLE = 255
MAIN_TABLE = 254
DEFAULT_TABLE = 253
_AND_MORE = " and more"


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
class Route(ItemValue):
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
class Rule(ItemValue):
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
class Neighbour(ItemValue):
    """A permanent neighbour: an address whose MAC is known, so that the kernel never asks."""

    address: Address
    mac: str
    device: str


# --- as items -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamespaceKey(Key, kind=Kind.NAMESPACE):
    """A network namespace; it is where it is itself. Value: `Present`."""

    @property
    def name(self) -> str:
        """As `ip netns` has it."""
        return self.where


@dataclass(frozen=True)
class RuleKey(Key, kind=Kind.RULE):
    """A policy routing rule, which is the same rule only if all of it is the same; `has_more`: one
    with more than the plan's have, which is another. Value: `Rule`."""

    rule: Rule
    has_more: bool = False

    @classmethod
    def of(cls, where: str, rule: Rule) -> RuleKey:
        """The key of a rule of that namespace."""
        return cls(where, replace(rule, extra=b""), bool(rule.extra))

    @property
    def name(self) -> str:
        """The rule, nearly as `ip rule` has it."""
        rule = self.rule
        words = [f"{rule.priority}:", "inet" if rule.family == FAMILY[4] else "inet6"]
        if rule.source is not None:
            words.append(f"from {rule.source}")
        if rule.destination is not None:
            words.append(f"to {rule.destination}")
        if rule.input_device is not None:
            words.append(f"iif {rule.input_device}")
        if rule.mark is not None:
            words.append(f"mark {rule.mark}")
        return " ".join([*words, f"lookup {rule.table}"]) + _AND_MORE * self.has_more


@dataclass(frozen=True)
class DeviceKey(Key, kind=Kind.DEVICE):
    """A network device by its name. Value: `Device`."""

    device: str

    @property
    def name(self) -> str:
        """The device's."""
        return self.device


@dataclass(frozen=True)
class Device(ItemValue):
    """A device as it should be in its namespace; `mac` None where it has none (WireGuard).

    `offloads_checksums`: whether the kernel leaves the checksums of what is sent to the device's
    driver; None where either is right.
    """

    mac: str | None
    mtu_bytes: int
    up: bool = True
    carrier: bool = True
    offloads_checksums: bool | None = None

    def __str__(self) -> str:
        state = "up" if self.up and self.carrier else "down"
        mac = f", {self.mac}" if self.mac else ""
        return f"{state}, mtu {self.mtu_bytes}{mac}{self._checksums}"

    @property
    def _checksums(self) -> str:
        if self.offloads_checksums is None:
            return ""
        return f", checksums by the {'driver' if self.offloads_checksums else 'kernel'}"


@dataclass(frozen=True)
class AddressKey(Key, kind=Kind.ADDRESS):
    """An address of a device. Value: `AddressValue`."""

    device: str
    address: Interface

    @property
    def name(self) -> str:
        """The address with its prefix, and the device."""
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class AddressValue(ItemValue):
    """An address that is there with the kernel's routes to it."""

    device: str
    address: Interface

    def plain(self) -> Plain:
        """A list of the two."""
        return [self.device, str(self.address)]

    def __str__(self) -> str:
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class NeighbourKey(Key, kind=Kind.NEIGHBOUR):
    """A permanent neighbour by its address. Value: `Neighbour`."""

    device: str
    address: Address

    @property
    def name(self) -> str:
        """The address, and the device."""
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class RouteKey(Key, kind=Kind.ROUTE):
    """What makes a route the same route; `has_more`: one with more than the plan's have, which is
    another. Value: `Route`."""

    destination: Network
    table: int = MAIN_TABLE
    metric: int = 0
    has_more: bool = False

    @classmethod
    def of(cls, where: str, route: Route) -> RouteKey:
        """The key of a route of that namespace."""
        return cls(where, route.destination, route.table, route.metric, bool(route.extra))

    @property
    def name(self) -> str:
        """Destination, table and metric, nearly as `ip route` has them."""
        table = "" if self.table == MAIN_TABLE else f" table {self.table}"
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.destination}{table}{metric}{_AND_MORE * self.has_more}"


@dataclass(frozen=True)
class ForeignKey(Key, kind=Kind.FOREIGN):
    """What another program put into a hop's namespace, by what the kernel says it is. Value:
    `node.kinds.foreign.ForeignValue`."""

    what: str

    @property
    def name(self) -> str:
        """As `what`."""
        return self.what
