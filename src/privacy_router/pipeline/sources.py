"""Whose IP address: each port may send from its own ones, and never from another port's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.chain.stations import Task
from privacy_router.openflow.match import Match
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.classify import SECURITY_KEY
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.terms import DROP, VERSIONS, goto, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.chain.order import Place, Segment
    from privacy_router.chain.stations import Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.mesh import MeshPort

_OWN, _OTHERS, _REST = 100, 90, 50


def hop_port(segment: Segment, port: Station) -> Iterator[Flow]:
    """The entrance sends from the clients' addresses only; behind the others lies the Internet, so
    that they may send from any address but those of their neighbours."""
    if port.role.task is Task.ENTRANCE:
        for network in segment.clients:
            match = ip(network.version, in_port=port.ofport, source=network)
            yield _flow(port, _OWN, match, goto("rates"), "from a client")
        yield _flow(port, _REST, Match(in_port=port.ofport), DROP, "not from a client: spoofed")
        return
    for address, owner in _not_of(segment, port):
        match = ip(address.version, in_port=port.ofport, source=address)
        yield _flow(port, _OTHERS, match, DROP, f"the address of {owner}: spoofed")
    yield _flow(port, _REST, Match(in_port=port.ofport), goto("rates"), "from elsewhere")


def _not_of(segment: Segment, port: Station) -> Iterator[tuple[Place, str]]:
    """The addresses of others, and whose each is, without those whose packets the hop hands on."""
    others: list[tuple[Place, str]] = [
        (other.address(version), other.hop)
        for other in segment.peers_of(port)
        for version in VERSIONS
    ]
    others += [(network, "a client") for network in segment.clients]
    handed_on = segment.hands_on(port)
    yield from (other for other in others if other[0] not in handed_on)


def mesh_port(config: PrivacyRouterConfig, port: MeshPort) -> Iterator[Flow]:
    """A container sends from its own address; the way into the mesh from any that is not here."""
    for version in VERSIONS:
        match = ip(version, in_port=port.ofport, source=port.address(version))
        yield _flow(port, _OWN, match, goto("rates"), "its own address")
    if port.container_id is not None:
        rest = Match(in_port=port.ofport)
        yield _flow(port, _REST, rest, DROP, "not its own address: spoofed")
        return
    for network in local_networks(config):
        match = ip(network.version, in_port=port.ofport, source=network)
        yield _flow(port, _OTHERS, match, DROP, "an address of this node: spoofed")
    yield _flow(port, _REST, Match(in_port=port.ofport), goto("rates"), "from the mesh")


def local_networks(config: PrivacyRouterConfig) -> tuple[Place, ...]:
    """The networks that are on this node alone."""
    return (
        config.mesh_subnet,
        config.mesh_subnet6,
        config.transit_subnet,
        config.transit_subnet6,
        config.wireguard.client_subnet,
        config.wireguard.client_subnet6,
    )


def _flow(
    port: Station | MeshPort,
    priority: int,
    match: Match,
    instructions: tuple[Instruction, ...],
    reason: str,
) -> Flow:
    name = port.name if hasattr(port, "name") else port.port
    return Flow(
        "sources",
        priority,
        match,
        instructions,
        Layer.SECURITY,
        SECURITY_KEY,
        f"{name}: {reason}",
        port.ofport,
    )
