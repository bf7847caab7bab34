"""The items that every hop namespace consists of (pure)."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from privacy_router.hops import settings
from privacy_router.hops.firewall import TABLE
from privacy_router.values.items import HOST, Present
from privacy_router.values.network import (
    FAMILY,
    KERNELS_RULES,
    MAIN_TABLE,
    AddressKey,
    AddressValue,
    Device,
    DeviceKey,
    NamespaceKey,
    Neighbour,
    NeighbourKey,
    Network,
    Route,
    RouteKey,
    Rule,
    RuleKey,
)
from privacy_router.values.rulesets import FirewallKey, RulesetValue
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue, Sysctl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.chain.order import Leg, Segment
    from privacy_router.chain.stations import Station
    from privacy_router.values.items import Items
    from privacy_router.values.network import Interface
    from privacy_router.values.rulesets import Ruleset

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
# asked last, so that a table without a better answer refuses instead of asking the next table
REFUSAL_METRIC = 4_000_000
TO_CLIENTS, FROM_CLIENTS = 101, 102
"""The routing tables of a way out for what clients get, and for what they send."""
LOOPBACK_MTU_BYTES = 65536
LOOPBACK_ADDRESSES = (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))


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
            self.items[NamespaceKey(name)] = Present()
            self.sysctl(settings.of_namespace(forwards))
            self.device("lo", None, LOOPBACK_MTU_BYTES)
            # the kernel's own; what is missing of their routes counts as missing of them
            for address in LOOPBACK_ADDRESSES if ipv6 else LOOPBACK_ADDRESSES[:1]:
                self.address("lo", address)
            for rule in KERNELS_RULES:
                self.rule(rule)

    def sysctl(self, values: Mapping[str, str]) -> None:
        """Add kernel settings, by their paths below /proc/sys/net."""
        for path, text in values.items():
            self.items[SettingKey(self.name, Sysctl.at(path))] = SettingValue(text)

    def device_sysctl(self, values: Mapping[str, str]) -> None:
        """Add kernel settings that exist only once their device does."""
        for path, text in values.items():
            self.items[DeviceSettingKey(self.name, Sysctl.at(path))] = SettingValue(text)

    def firewall(self, objects: Ruleset) -> None:
        """Add the nftables ruleset."""
        self.items[FirewallKey(self.name, TABLE)] = RulesetValue.of(objects)

    def device(self, name: str, mac: str | None, mtu_bytes: int) -> None:
        """Add a device that has to be up; in a hop with all its kernel settings."""
        self.items[DeviceKey(self.name, name)] = Device(mac, mtu_bytes)
        if self.name != HOST and name != "lo":  # the loopback is there from the beginning
            self.device_sysctl(settings.of_device(name, mtu_bytes, self._forwards))

    def address(self, device: str, address: Interface) -> None:
        """Add an address."""
        self.items[AddressKey(self.name, device, address)] = AddressValue(device, address)

    def neighbour(self, neighbour: Neighbour) -> None:
        """Add a permanent neighbour."""
        key = NeighbourKey(self.name, neighbour.device, neighbour.address)
        self.items[key] = neighbour

    def route(self, route: Route) -> None:
        """Add a route."""
        self.items[RouteKey.of(self.name, route)] = route

    def rule(self, rule: Rule) -> None:
        """Add a policy rule."""
        self.items[RuleKey.of(self.name, rule)] = rule

    def refuse_the_rest(self, table: int = MAIN_TABLE) -> None:
        """What the table has no better answer for is unreachable."""
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

    def turn(self, leg: Leg, station: Station) -> None:
        """Route what a way out gets of clients: to them by the hop that they came from; from them
        to the next hop of their leg, if there is one. A caller refuses the rest of both tables."""
        back = leg.before(station)
        onward = None if leg.last == station else leg.after(station)
        for network in networks_of(leg.senders):
            version, family = network.version, FAMILY[network.version]
            self.rule(Rule(100, TO_CLIENTS, family, destination=network))
            way = back.address(version)
            self.route(Route(anywhere(version), way, station.port, table=TO_CLIENTS))
            if onward is not None:
                self.rule(Rule(110, FROM_CLIENTS, family, network, input_device=station.port))
                way = onward.address(version)
                self.route(Route(anywhere(version), way, station.port, table=FROM_CLIENTS))

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
