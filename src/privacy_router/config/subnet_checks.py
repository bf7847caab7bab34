"""Cross-checks of the node's own subnets: room, kind, overlaps, and what the host already has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations
from typing import TYPE_CHECKING

from privacy_router.config.models import fits_mesh
from privacy_router.config.rule import Rule, problem, rule
from privacy_router.config.sections import socket_name
from privacy_router.config.values import INTERFACE_NAME_MAX_BYTES, Network, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem

PREFIX_MAX_BITS = {4: 28, 6: 112}
"""Longest prefix by IP version: 14 hosts, and a whole 16-bit group for the clients' numbers."""

_NOT_FOR_HOSTS: tuple[tuple[Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "this network (RFC 791)"),
    (IPv4Network("127.0.0.0/8"), "loopback (RFC 1122)"),
    (IPv4Network("169.254.0.0/16"), "link-local (RFC 3927)"),
    (IPv4Network("224.0.0.0/3"), "multicast or reserved (RFC 1112)"),
    (IPv6Network("::/127"), "loopback and unspecified (RFC 4291)"),
    (IPv6Network("fe80::/10"), "link-local (RFC 4291)"),
    (IPv6Network("ff00::/8"), "multicast (RFC 4291)"),
)


@dataclass(frozen=True)
class _Subnet:
    """One of the node's subnets: its path, and how to get it."""

    path: str
    get: Callable[[PrivacyRouterConfig], Network]

    @property
    def part(self) -> str:
        """The key of the configuration that holds it."""
        return self.path.split(".")[0]


_V4 = (
    _Subnet("wireguard.client_subnet", lambda config: config.wireguard.client_subnet),
    _Subnet("transit_subnet", lambda config: config.transit_subnet),
    _Subnet("mesh_subnet", lambda config: config.mesh_subnet),
)
_V6 = (
    _Subnet("wireguard.client_subnet6", lambda config: config.wireguard.client_subnet6),
    _Subnet("transit_subnet6", lambda config: config.transit_subnet6),
    _Subnet("mesh_subnet6", lambda config: config.mesh_subnet6),
)
_ALL = (*_V4, *_V6)
_PARTS = " ".join(subnet.part for subnet in _ALL)


def overlap(one: Network, other: Network) -> bool:
    """Whether two networks share an address; networks of different IP versions never do."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _room_and_kind(subnet: _Subnet, config: PrivacyRouterConfig) -> Iterator[Problem]:
    network = subnet.get(config)
    longest_bits = PREFIX_MAX_BITS[network.version]
    if network.prefixlen > longest_bits:
        yield problem(
            subnet.path,
            str(network),
            f"a larger subnet, with a prefix of at most /{longest_bits}",
        )
    for special, name in _NOT_FOR_HOSTS:
        if overlap(network, special):
            yield problem(subnet.path, str(network), f"a subnet for hosts, clear of {name}")
            return


def _overlap_of(first: _Subnet, second: _Subnet, config: PrivacyRouterConfig) -> Iterator[Problem]:
    one, other = first.get(config), second.get(config)
    if overlap(one, other):
        yield problem(
            second.path, str(other), f"a subnet that does not overlap {first.path} ({one})"
        )


def _mesh_room(subnet: _Subnet, config: PrivacyRouterConfig) -> Iterator[Problem]:
    """A mesh container's address is the subnet's plus its id: the highest id has to fit."""
    network = subnet.get(config)
    ids = [
        socket.container_id
        for socket in config.mesh_sockets
        # Longer names are a problem of their own.
        if len(socket_name(socket.container_id)) <= INTERFACE_NAME_MAX_BYTES
    ]
    highest = max(ids, default=0)
    has_room = network.prefixlen <= PREFIX_MAX_BITS[network.version]
    if not has_room or fits_mesh(network, highest):
        return
    longest_bits = network.max_prefixlen - (highest + 1).bit_length()
    wider = network.supernet(new_prefix=longest_bits)
    yield problem(
        subnet.path,
        str(network),
        f"a subnet with a prefix of at most /{longest_bits}, or container ids "
        f"up to {network.num_addresses - 2}",
        str(wider) if _is_free(wider, subnet, config) else None,
        because=f"container {highest} has the address of that number in it",
    )


def _is_free(network: Network, place: _Subnet, config: PrivacyRouterConfig) -> bool:
    """Whether a network may stand at `place`: for hosts, and clear of the other subnets."""
    others = [subnet.get(config) for subnet in _ALL if subnet != place]
    taken = [*others, *(special for special, _ in _NOT_FOR_HOSTS)]
    return not any(overlap(network, other) for other in taken)


def _vps_inside(config: PrivacyRouterConfig) -> Iterator[Problem]:
    address = parse_address(config.vps_address or "")
    if address is None:
        return
    path = "xray.vps_address" if config.xray.vps_address else "vps.xray_server"
    for subnet in _ALL:
        if address in subnet.get(config):
            yield problem(
                path, str(address), f"an address outside of {subnet.path} ({subnet.get(config)})"
            )


def check_host(
    config: PrivacyRouterConfig, host_networks: Iterable[IPv4Network | IPv6Network]
) -> list[Problem]:
    """Find the node's subnets that overlap networks which the host already has.

    `host_networks` are those of the host's addresses and routes, without the node's own; default
    routes among them are passed over.
    """
    present = [network for network in host_networks if network.prefixlen > 0]
    found: list[Problem] = []
    for subnet in _ALL:
        network = subnet.get(config)
        other = next((one for one in present if overlap(network, one)), None)
        if other is not None:
            expected = f"a subnet that does not overlap {other}, which this host already has"
            found.append(problem(subnet.path, str(network), expected))
    return found


def _rules() -> Iterator[Rule]:
    for subnet in _ALL:
        yield rule(subnet.part, partial(_room_and_kind, subnet))
    for family in (_V4, _V6):
        for first, second in combinations(family, 2):
            yield rule(f"{first.part} {second.part}", partial(_overlap_of, first, second))
    for mesh in (_V4[-1], _V6[-1]):
        yield rule(f"{_PARTS} containers socket_networking", partial(_mesh_room, mesh))
    yield rule(f"xray vps {_PARTS}", _vps_inside)


RULES = tuple(_rules())
