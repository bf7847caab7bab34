"""The items that every hop namespace consists of (pure)."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from privacy_router.hops import settings
from privacy_router.hops.firewall import TABLE
from privacy_router.values import rulesets
from privacy_router.values.items import HOST, Device, Key, Kind
from privacy_router.values.network import (
    FAMILY,
    KERNELS_RULES,
    MAIN_TABLE,
    Neighbour,
    Network,
    Route,
    Rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.chain.order import Leg, Segment
    from privacy_router.chain.stations import Station
    from privacy_router.values.network import Interface
    from privacy_router.values.rulesets import Ruleset

Items = dict[Key, Any]

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
# asked last, so that a table without a better answer refuses instead of asking the next table
REFUSAL_METRIC = 4_000_000
LOOPBACK_MTU_BYTES = 65536
LOOPBACK_ADDRESSES = (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))
_AND_MORE = " and more"


class NamespaceItems:
    """Collects the items of one hop namespace, or of the host's own.

    `forwards`: whether a hop passes packets on from one device to another; `ipv6`: whether it
    speaks IPv6 at all.
    """

    def __init__(self, name: str, *, forwards: bool = False, ipv6: bool = True) -> None:
        self.name = name
        self.items: Items = {}
        self._forwards = forwards
        if name != HOST:
            self._put(Kind.NAMESPACE, name, True)
            self.sysctl(settings.of_namespace(forwards))
            self.device("lo", None, LOOPBACK_MTU_BYTES)
            # the kernel's own; what is missing of their routes counts as missing of them
            for address in LOOPBACK_ADDRESSES if ipv6 else LOOPBACK_ADDRESSES[:1]:
                self.address("lo", address)
            for rule in KERNELS_RULES:
                self.rule(rule)

    def _put(self, kind: Kind, name: str, value: Any) -> None:
        self.items[Key(kind, self.name, name)] = value

    def sysctl(self, values: Mapping[str, str]) -> None:
        """Add kernel settings."""
        for name, value in values.items():
            self._put(Kind.SETTING, name, value)

    def device_sysctl(self, values: Mapping[str, str]) -> None:
        """Add kernel settings that exist only once their device does."""
        for name, value in values.items():
            self._put(Kind.DEVICE_SETTING, name, value)

    def firewall(self, objects: Ruleset) -> None:
        """Add the nftables ruleset."""
        self._put(Kind.FIREWALL, TABLE, rulesets.canonical(objects))

    def device(self, name: str, mac: str | None, mtu_bytes: int) -> None:
        """Add a device that has to be up; in a hop with all its kernel settings."""
        self._put(Kind.DEVICE, name, Device(mac, mtu_bytes))
        if self.name != HOST and name != "lo":  # the loopback is there from the beginning
            self.device_sysctl(settings.of_device(name, mtu_bytes, self._forwards))

    def address(self, device: str, address: Interface) -> None:
        """Add an address."""
        self._put(Kind.ADDRESS, f"{address} on {device}", (device, address))

    def neighbour(self, neighbour: Neighbour) -> None:
        """Add a permanent neighbour."""
        self._put(Kind.NEIGHBOUR, f"{neighbour.address} on {neighbour.device}", neighbour)

    def route(self, route: Route) -> None:
        """Add a route."""
        self._put(Kind.ROUTE, route_name(route), route)

    def rule(self, rule: Rule) -> None:
        """Add a policy rule."""
        self._put(Kind.RULE, rule_name(rule), rule)

    def refuse_the_rest(self, table: int = MAIN_TABLE) -> None:
        """Whatever the table has no better answer for is unreachable."""
        for anywhere in ANYWHERE.values():
            self.route(
                Route(_network(anywhere), table=table, kind="unreachable", metric=REFUSAL_METRIC)
            )

    def join_segment(self, station: Station, segment: Segment, mtu_bytes: int) -> None:
        """Put the station's port in here: addresses, and every other station as a neighbour."""
        self.device(station.port, station.mac, mtu_bytes)
        for interface in station.interfaces:
            self.address(station.port, interface)
        for peer in segment.peers_of(station):
            for interface in peer.interfaces:
                self.neighbour(Neighbour(interface.ip, peer.mac, station.port))

    def answer_by_the_leg(self, leg: Leg, station: Station) -> None:
        """Route what is for the senders of a leg that ends here back by the hop before this one;
        a sender that is the neighbour itself is on the link."""
        back = leg.before(station)
        for sender in networks_of(leg.senders) if back != leg.first else ():
            self.route(Route(sender, back.address(sender.version), station.port))


def networks_of(addresses: Iterable[Any]) -> tuple[Network, ...]:
    """Each address as a network of one."""
    return tuple(_network(str(address)) for address in addresses)


def anywhere(version: int) -> Network:
    """The default destination of that IP version."""
    return _network(ANYWHERE[version])


def _network(text: str) -> Network:
    return ip_network(text)


def route_name(route: Route) -> str:
    """What makes a route the same route: destination, table and metric; one that has more than the
    plan's have is another."""
    table = "" if route.table == MAIN_TABLE else f" table {route.table}"
    metric = f" metric {route.metric}" if route.metric else ""
    return f"{route.destination}{table}{metric}{_AND_MORE * bool(route.extra)}"


def rule_name(rule: Rule) -> str:
    """A policy rule in words."""
    words = [f"{rule.priority}:", "inet" if rule.family == FAMILY[4] else "inet6"]
    if rule.source is not None:
        words.append(f"from {rule.source}")
    if rule.destination is not None:
        words.append(f"to {rule.destination}")
    if rule.input_device is not None:
        words.append(f"iif {rule.input_device}")
    if rule.mark is not None:
        words.append(f"mark {rule.mark}")
    return " ".join([*words, f"lookup {rule.table}"]) + _AND_MORE * bool(rule.extra)
