"""Wire the lab's hosts: links, addresses, routes, source NAT.

Each link is made directly between two hosts. Nothing is ever made in the machine's own network
namespace, and `verify_isolation` holds the result to it.
"""

from __future__ import annotations

import os
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.errors import MissingPrerequisiteError, VerificationError
from privacy_router.host import nftables, sysctl
from privacy_router.host.netlink import Netlink
from privacy_router.lab import internet
from privacy_router.values.network import Neighbour, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.lab.hosts import LabHost
    from privacy_router.lab.internet import Cable, SourceNat

_NAT_TABLE = "lab"
_SOURCE_NAT_PRIORITY = 100

# Hosts say nothing unasked, so that a capture holds what was sent on purpose.
_QUIET = {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/autoconf": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/conf/default/dad_transmits": "0",
    "ipv6/conf/default/accept_redirects": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
_FORWARDING = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}


def wire(hosts: Mapping[str, LabHost]) -> None:
    """Give the hosts their network. Raises MissingPrerequisiteError, OSError, NftablesError."""
    for host in hosts.values():
        _prepare(host)
    for cable in internet.CABLES:
        _lay(cable, hosts)
    macs: dict[tuple[str, str], str] = {}
    for host in hosts.values():
        macs |= _configure(host)
    for host in hosts.values():
        _connect(host, macs)
    for name in internet.FORWARDING_HOSTS:
        rules = [nat for nat in internet.SOURCE_NATS if nat.host == name]
        if rules:
            nftables.apply(hosts[name].network, _NAT_TABLE, _source_nat(rules))
    verify_isolation(hosts)


def _prepare(host: LabHost) -> None:
    forwarding = _FORWARDING if host.name in internet.FORWARDING_HOSTS else {}
    try:
        sysctl.write(host.network, {**_QUIET, **forwarding})
    except FileNotFoundError as error:
        raise MissingPrerequisiteError(
            f"this kernel lacks the setting {error.filename}",
            remedy="the lab needs IPv4 and IPv6; check the kernel's parameter ipv6.disable",
        ) from error


def _lay(cable: Cable, hosts: Mapping[str, LabHost]) -> None:
    far = os.open(hosts[cable.second].network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink(hosts[cable.first].network) as netlink:
            netlink.add_veth(cable.device(cable.first), cable.device(cable.second), far)
    finally:
        os.close(far)


def _configure(host: LabHost) -> dict[tuple[str, str], str]:
    """Addresses; returns the MAC of each end as (link, host) → MAC."""
    macs = {}
    with Netlink(host.network) as netlink:
        netlink.set_link("lo", up=True)
        for pair in internet.SERVICE_ADDRESSES.get(host.name, ()):
            for address in pair:
                netlink.replace_address("lo", ip_interface(address))
        links = netlink.links()
        for cable in _cables_of(host.name):
            device = cable.device(host.name)
            netlink.set_link(device, up=True)
            for interface in cable.interfaces(host.name):
                netlink.replace_address(device, interface)
            macs[cable.name, host.name] = links[device].mac
    return macs


def _connect(host: LabHost, macs: Mapping[tuple[str, str], str]) -> None:
    """Routes, and neighbours for good.

    A new link's carrier may be noticed a second late, and questions for neighbours get lost until
    then; no host has to ask.
    """
    with Netlink(host.network) as netlink:
        for cable in _cables_of(host.name):
            other, device = cable.other(host.name), cable.device(host.name)
            for interface in cable.interfaces(other):
                mac = macs[cable.name, other]
                netlink.replace_neighbour(Neighbour(interface.ip, mac, device))
        for way in internet.WAYS:
            if way.host == host.name:
                cable = internet.cable(host.name, way.next_host)
                for network in way.networks:
                    gateway = cable.address(way.next_host, network.version)
                    netlink.replace_route(Route(network, gateway, cable.device(host.name)))


def _cables_of(host: str) -> list[Cable]:
    return [cable for cable in internet.CABLES if host in (cable.first, cable.second)]


def _source_nat(rules: list[SourceNat]) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    for hook in ("postrouting", "input"):
        place = {"family": "inet", "table": _NAT_TABLE}
        base = {"type": "nat", "hook": hook, "prio": _SOURCE_NAT_PRIORITY, "policy": "accept"}
        objects.append({"chain": {**place, "name": hook, **base}})
        objects += [
            {"rule": {**place, "chain": hook, "expr": _translation(rule)}} for rule in rules
        ]
    return objects


def _translation(rule: SourceNat) -> list[dict[str, Any]]:
    network = rule.sources
    prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    whole = network.prefixlen == network.max_prefixlen
    protocol = "ip" if network.version == 4 else "ip6"
    return [
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": protocol, "field": "saddr"}},
                "right": str(network.network_address) if whole else prefix,
            }
        },
        {"snat": {"family": protocol, "addr": str(rule.becomes)}},
    ]


def verify_isolation(hosts: Mapping[str, LabHost]) -> None:
    """Raise VerificationError unless each host's network is its own and ends inside the lab."""
    networks = {host.name: host.network.stat().st_ino for host in hosts.values()}
    machine = Path("/proc/self/ns/net").stat().st_ino
    if machine in networks.values() or len(set(networks.values())) != len(networks):
        raise VerificationError("two hosts of the lab, or the machine and one, share a network")
    for host in hosts.values():
        expected = {cable.device(host.name) for cable in _cables_of(host.name)}
        with Netlink(host.network) as netlink:
            found = {link.name for link in netlink.links().values() if link.kind == "veth"}
        if found != expected:
            raise VerificationError(
                f"the lab's {host.name} has other links than it should: {sorted(found ^ expected)}"
            )
