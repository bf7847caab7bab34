"""The first table: which port is whose, and that no port uses another's MAC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.openflow.constants import VLAN_PRESENT, EtherType
from privacy_router.openflow.instructions import Meter
from privacy_router.openflow.match import Match
from privacy_router.pipeline.allocation import Layer, Rate, Zone, meter_id
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import TABLES
from privacy_router.pipeline.terms import DROP, VERSIONS, enter, goto, icmp, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.chain.order import Segment
    from privacy_router.chain.stations import Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.mesh import MeshPort

SECURITY_KEY = "openflow.enable_security_flows"
LINK_LOCAL = "fe80::/10"
_GROUP_BIT = ("01:00:00:00:00:00", "01:00:00:00:00:00")
_NO_MAC = "00:00:00:00:00:00"
_SOLICIT, _ADVERTISE = 135, 136  # RFC 4861, 4.3 and 4.4

_CLOSED = 0xFFFF
_TAGGED, _GROUPS, _NEIGHBOUR, _FORGED, _OWN, _REST = 400, 300, 200, 150, 100, 10


def misses() -> Iterator[Flow]:
    """What each table does with a packet that no other flow of it wants."""
    for table in TABLES:
        onward = goto(table.miss) if table.miss else DROP
        what = f"to {table.miss}" if table.miss else "drop"
        yield Flow(table.name, 0, Match(), onward, Layer.BASE, "pipeline", f"{what} on a miss")


def closed(segment: Segment) -> Iterator[Flow]:
    """Drop what any hop sends, before every other flow: in force while the chain changes.

    They name the numbers of all roles, so that they hold for the old chain and for the new one.
    """
    for number in segment.reserved_numbers:
        yield Flow(
            "classify",
            _CLOSED,
            Match(in_port=number),
            DROP,
            Layer.BASE,
            "pipeline",
            "the tunnel is closed while the chain changes",
        )


def tagged() -> Flow:
    """A VLAN tag (802.1Q or 802.1ad) stays on a packet whose other fields a flow matches, and leads
    it past filters that look for the type behind the addresses. Nothing on this bridge has one."""
    return Flow(
        "classify",
        _TAGGED,
        Match(vlan_vid=(VLAN_PRESENT, VLAN_PRESENT)),
        DROP,
        Layer.SECURITY,
        "pipeline",
        "carries a VLAN tag",
    )


def group_senders() -> Flow:
    """Neither broadcast nor multicast is a sender's address (IEEE 802, 8.2)."""
    return Flow(
        "classify",
        _GROUPS,
        Match(eth_src=_GROUP_BIT),
        DROP,
        Layer.SECURITY,
        SECURITY_KEY,
        "the sender's MAC is broadcast or multicast",
    )


def hop_port(port: Station, *, secure: bool) -> Iterator[Flow]:
    """A hop speaks IP with its own MAC. ARP it has no need of: its neighbours are permanent."""
    for version in VERSIONS:
        yield Flow(
            "classify",
            _OWN,
            ip(version, in_port=port.ofport, eth_src=port.mac),
            goto("security" if secure else "ttl", enter(Zone.PRIVACY)),
            Layer.BASE,
            "chain",
            f"{port.hop}: {port.port} uses its own MAC and speaks IPv{version}",
            port.ofport,
        )
    yield _rest(port.ofport, port.port)


def mesh_port(config: PrivacyRouterConfig, port: MeshPort) -> Iterator[Flow]:
    """A container speaks IP with its own MAC, and of addresses only about its own."""
    secure = config.openflow.enable_security_flows
    limited = _limited(config, port)
    for match in _own_neighbour_messages(port):
        yield _flow(port, _NEIGHBOUR, match, limited, "asks and answers for its own addresses")
    for match in _neighbour_messages(port):
        yield _flow(port, _FORGED, match, DROP, "ARP or neighbour discovery in another's name")
    for version in VERSIONS:
        match = ip(version, in_port=port.ofport, eth_src=port.mac)
        onward = goto("security" if secure else "conntrack", enter(Zone.MESH))
        yield _flow(port, _OWN, match, onward, f"uses its own MAC and speaks IPv{version}")
    yield _rest(port.ofport, port.name)


def _limited(config: PrivacyRouterConfig, port: MeshPort) -> tuple[Instruction, ...]:
    onward = goto("neighbours", enter(Zone.MESH))
    if config.openflow.enable_security_flows and config.openflow.rates.arp is not None:
        return (Meter(meter_id(Rate.ARP, port.ofport)), *onward)
    return onward


def _own_neighbour_messages(port: MeshPort) -> Iterator[Match]:
    sender: dict[str, Any] = {"in_port": port.ofport, "eth_src": port.mac}
    # A router asks in the name of any of its addresses. That does no harm: the answer comes from a
    # flow, and no other port hears the question.
    own = {} if port.container_id is None else {"arp_spa": port.v4}
    yield Match(eth_type=EtherType.ARP, arp_sha=port.mac, **own, **sender)
    for source in (port.v6, LINK_LOCAL):
        yield icmp(6, icmpv6_type=_SOLICIT, ipv6_nd_sll=port.mac, source=source, **sender)
    # who was asked directly leaves its MAC out (RFC 4861, 4.4)
    for mac in (port.mac, _NO_MAC):
        yield icmp(6, icmpv6_type=_ADVERTISE, ipv6_nd_target=port.v6, ipv6_nd_tll=mac, **sender)


def _neighbour_messages(port: MeshPort) -> Iterator[Match]:
    yield Match(in_port=port.ofport, eth_type=EtherType.ARP)
    for kind in (_SOLICIT, _ADVERTISE):
        yield icmp(6, in_port=port.ofport, icmpv6_type=kind)


def _flow(
    port: MeshPort,
    priority: int,
    match: Match,
    instructions: tuple[Instruction, ...],
    reason: str,
) -> Flow:
    layer = Layer.SECURITY if instructions is DROP else Layer.BASE
    return Flow(
        "classify",
        priority,
        match,
        instructions,
        layer,
        "discovery",
        f"{port.name} {reason}",
        port.ofport,
    )


def _rest(ofport: int, name: str) -> Flow:
    return Flow(
        "classify",
        _REST,
        Match(in_port=ofport),
        DROP,
        Layer.SECURITY,
        "pipeline",
        f"{name} uses another's MAC, or speaks something else",
        ofport,
    )
