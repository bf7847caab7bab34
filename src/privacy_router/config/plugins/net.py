"""`plugins.net`: bridges, interfaces, addresses and routes."""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict

from privacy_router.config import values as kind
from privacy_router.config.sections import SEQUENCE_MAX_ITEMS, Section

MAIN_TABLE = 254
_MODE = "enforce, or observe-only to report differences and change nothing."
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


def _mac(value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not _MAC.match(text) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ValueError("not a MAC of one station")
    return text


def _address(value: object) -> IPv4Interface | IPv6Interface:
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("not an address with its prefix length")
    address = ip_interface(value)
    if not kind.is_unicast(address.ip) or getattr(address, "scope_id", None):
        raise ValueError("not a unicast address")
    return address


def _destination(value: object) -> str:
    if value == "default":
        return "default"
    if not isinstance(value, str) or "%" in value:
        raise ValueError("not a network")
    network = ip_network(value)
    if network.is_multicast or network.is_loopback:
        raise ValueError("not a network of other machines")
    return str(network)


def _next_hop(value: object) -> IPv4Address | IPv6Address:
    address = ip_address(value) if isinstance(value, str) else value
    if not isinstance(address, IPv4Address | IPv6Address) or getattr(address, "scope_id", None):
        raise ValueError("not an address")
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("not a router")
    return address


def _off(value: object) -> object:
    if value is not False:
        raise ValueError("a DHCP client can only be turned off")
    return value


MacAddress = Annotated[
    str,
    BeforeValidator(_mac),
    kind.Expected("the MAC address of one station, such as 02:00:00:00:00:01"),
]
VlanTag = Annotated[
    int, Strict(), Field(ge=1, le=4094), kind.Expected("a VLAN, 1 to 4094, or null for none")
]
LinkMtu = Annotated[
    int, Strict(), Field(ge=1280, le=65535), kind.Expected("an MTU in bytes, 1280 to 65535")
]
InterfaceAddress = Annotated[
    IPv4Interface | IPv6Interface,
    BeforeValidator(_address),
    kind.Expected("an address with its prefix length, such as 192.0.2.2/24 or 2001:db8::2/64"),
]
Destination = Annotated[
    str,
    BeforeValidator(_destination),
    kind.Expected("default, or a network without host bits such as 198.51.100.0/24"),
]
NextHop = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_next_hop),
    kind.Expected("the IP address of a router"),
]
TableNumber = Annotated[
    int,
    Strict(),
    Field(ge=1, le=4294967295),
    kind.Expected("the number of a routing table, 1 to 4294967295; 254 is the main one"),
]
Metric = Annotated[
    int, Strict(), Field(ge=0, le=4294967295), kind.Expected("a metric, 0 to 4294967295")
]
Off = Annotated[
    bool,
    BeforeValidator(_off),
    kind.Expected("false (or leave the key out, and DHCP stays as it is)"),
]


class BridgePort(Section):
    """A port of a bridge."""

    type: Literal["system", "internal"] = Field(
        "system",
        description="system: a network device that is there already; internal: one that Open"
        " vSwitch makes.",
    )
    tag: VlanTag | None = Field(None, description="VLAN of an access port; null for a trunk.")
    mac: MacAddress | None = Field(
        None, description="MAC of an internal port; chosen by Open vSwitch when null."
    )
    mode: kind.Mode = Field("enforce", description=_MODE)


class Bridge(Section):
    """A bridge of the machine's Open vSwitch."""

    datapath: Literal["auto", "system", "netdev"] = Field(
        "auto",
        description="system (kernel), netdev (userspace), or auto: whichever works here.",
    )
    fail_mode: Literal["secure", "standalone"] | None = Field(
        None,
        description="Without flows: secure drops everything, standalone is an ordinary switch;"
        " null leaves it (a new bridge is standalone).",
    )
    ports: Annotated[dict[kind.InterfaceName, BridgePort], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field(default_factory=dict, description="Ports by name; others are left alone.")
    )
    uplink: kind.InterfaceName | None = Field(
        None,
        description="The device to the outside: it becomes a port, and its addresses and routes"
        " move to the bridge, the machine's connections with them.",
    )
    mode: kind.Mode = Field("enforce", description=_MODE)


class Interface(Section):
    """A network device; what is left out is left alone."""

    up: kind.Flag | None = Field(None, description="Whether it is up.")
    mtu: LinkMtu | None = Field(None, description="Its MTU in bytes.")
    dhcp: Off | None = Field(
        None, description="false ends the DHCP client on it; its addresses stay."
    )
    ipv6_ra: kind.Flag | None = Field(
        None, description="Whether the kernel configures it by router advertisements."
    )
    addresses: Annotated[tuple[InterfaceAddress, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field((), description="Addresses that it has.")
    )
    exact: kind.Flag = Field(
        False,
        description="Whether it has no other addresses; link-local ones stay in any case.",
    )
    mode: kind.Mode = Field("enforce", description=_MODE)


class Route(Section):
    """A route; the one that has its destination, table and metric is replaced."""

    to: Destination = Field(description="Where it leads: default, or a network.")
    via: NextHop | None = Field(
        None, description="The router; null for a network on the device's own link."
    )
    dev: kind.InterfaceName | None = Field(
        None, description="The device; found by the router's address when null."
    )
    onlink: kind.Flag | None = Field(
        None,
        description="Whether the router is on the device's link though no address and no route of"
        " the machine's says so; null leaves it.",
    )
    table: TableNumber = Field(MAIN_TABLE, description="Number of the routing table.")
    metric: Metric | None = Field(
        None, description="The lower the better; null is 0 for IPv4 and 1024 for IPv6."
    )
    mode: kind.Mode = Field("enforce", description=_MODE)

    @property
    def destination(self) -> IPv4Network | IPv6Network:
        """Where it leads, with `default` resolved by the router's version of IP."""
        if self.to != "default":
            return ip_network(self.to)
        v6 = isinstance(self.via, IPv6Address)
        return IPv6Network("::/0") if v6 else IPv4Network("0.0.0.0/0")

    @property
    def priority(self) -> int:
        """The metric as the kernel has it."""
        if self.destination.version == 4:
            return self.metric or 0
        return self.metric or 1024  # the kernel takes 0 for it, too


class NetConfig(Section):
    """The machine's own network."""

    bridges: Annotated[dict[kind.InterfaceName, Bridge], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field(default_factory=dict, description="Bridges by name; others are left alone.")
    )
    interfaces: Annotated[
        dict[kind.InterfaceName, Interface], Field(max_length=SEQUENCE_MAX_ITEMS)
    ] = Field(default_factory=dict, description="Network devices by name.")
    routes: Annotated[tuple[Route, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        (), description="Routes; others are left alone."
    )
