"""Who has which address on the mesh: ARP is answered by flows, IPv6 is asked of its owner alone.

Open vSwitch can turn an ARP request into its answer (RFC 826), but not a neighbour solicitation of
IPv6 into an advertisement in every datapath. So a solicitation goes to the one port that has the
address, and the advertisement back to the one that asked (RFC 4861).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.openflow.actions import Output, set_field
from privacy_router.openflow.constants import EtherType, PortNumber
from privacy_router.openflow.match import Match
from privacy_router.openflow.nicira import Move
from privacy_router.pipeline.allocation import Layer, Zone
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.terms import do, icmp, in_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.mesh import MeshPort

_REQUEST, _REPLY = 1, 2
_SOLICIT, _ADVERTISE = 135, 136
_PRIORITY = 100


def answers_for(port: MeshPort) -> Iterator[Flow]:
    """What makes the addresses of a port known to the others of the mesh."""
    zone = in_zone(Zone.MESH)
    request = Match(eth_type=EtherType.ARP, arp_op=_REQUEST, arp_tpa=port.v4, **zone)
    yield _flow(port, request, do(*_arp_answer(port)), f"ARP: {port.v4} is {port.mac}")
    solicitation = icmp(6, icmpv6_type=_SOLICIT, ipv6_nd_target=port.v6, **zone)
    yield _flow(port, solicitation, do(Output(port.ofport)), f"asked for {port.v6}")
    advertisement = icmp(6, icmpv6_type=_ADVERTISE, eth_dst=port.mac, **zone)
    yield _flow(port, advertisement, do(Output(port.ofport)), "answers to who asked")


def _arp_answer(port: MeshPort) -> tuple[Action, ...]:
    return (
        Move("eth_src", "eth_dst", 48),
        set_field("eth_src", port.mac),
        set_field("arp_op", _REPLY),
        Move("arp_sha", "arp_tha", 48),
        Move("arp_spa", "arp_tpa", 32),
        set_field("arp_sha", port.mac),
        set_field("arp_spa", port.v4),
        Output(PortNumber.IN_PORT),
    )


def _flow(port: MeshPort, match: Match, instructions: tuple[Instruction, ...], reason: str) -> Flow:
    return Flow(
        "neighbours",
        _PRIORITY,
        match,
        instructions,
        Layer.BASE,
        "discovery",
        f"{port.name}: {reason}",
        port.ofport,
    )
