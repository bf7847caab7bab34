"""Connection tracking: every packet's connection looked up, and which may be begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.openflow.constants import CtFlag, IpProtocol
from privacy_router.openflow.match import Match
from privacy_router.openflow.nicira import Ct, Nat
from privacy_router.pipeline.allocation import (
    MESH_TRACKING_ZONE,
    Layer,
    Zone,
    tracking_zone_between,
)
from privacy_router.pipeline.classify import SECURITY_KEY
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.terms import DROP, VERSIONS, do, goto, in_zone, ip, packets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.chain.order import Edge, Segment
    from privacy_router.chain.stations import Station
    from privacy_router.openflow.instructions import Instruction

_INVALID, _KNOWN, _NEW, _RESUMED_PARTING, _RESUMED, _LATE = 400, 300, 200, 151, 150, 140
_PARTING, _ELSEWHERE = 100, 50
_NEW_STATE = "+new+trk"


def privacy_lookups(segment: Segment) -> Iterator[Flow]:
    """Each stretch of the chain has a tracking zone of its own."""
    privacy = in_zone(Zone.PRIVACY)
    for edge in segment.edges:
        source, target = edge
        zone = tracking_zone_between(source, target)
        look = do(Ct(zone=zone, table_id=number_of("state")))
        way = f"{source.hop} → {target.hop}"
        parting = segment.parting(edge)
        for traffic in parting:
            match = packets(traffic, in_port=source.ofport, **privacy)
            yield _lookup(_PARTING, match, look, way, source.ofport)
        for version in () if parting else VERSIONS:
            match = ip(version, in_port=source.ofport, **privacy)
            yield _lookup(_ELSEWHERE, match, look, way, source.ofport)


def mesh_lookups() -> Iterator[Flow]:
    """The mesh is one tracking zone; addresses that were translated are translated back."""
    look = Ct(zone=MESH_TRACKING_ZONE, table_id=number_of("state"), actions=(Nat(),))
    for version in VERSIONS:
        match = ip(version, **in_zone(Zone.MESH))
        yield _lookup(_ELSEWHERE, match, do(look), "the mesh", 0)


def _lookup(
    priority: int, match: Match, look: tuple[Instruction, ...], way: str, port: int
) -> Flow:
    return Flow("conntrack", priority, match, look, Layer.BASE, "pipeline", f"tracked: {way}", port)


def states() -> Iterator[Flow]:
    """Established and related pass, invalid never."""
    yield _state(_INVALID, Match(ct_state="+inv+trk"), DROP, "invalid for its connection")
    yield _state(_KNOWN, Match(ct_state="+est+trk"), goto("ttl"), "established")
    yield _state(_KNOWN, Match(ct_state="+rel+trk"), goto("ttl"), "an error about a connection")


def mesh_begins() -> Flow:
    """On the mesh the functions decide which connections may begin."""
    match = Match(ct_state=_NEW_STATE, **in_zone(Zone.MESH))
    return _state(_NEW, match, goto("ttl"), "the mesh: functions decide")


def privacy_begins(segment: Segment) -> Iterator[Flow]:
    """Connections begin with a client, or with a proxy on its way out; nowhere else.

    A proxy answers clients from the addresses of the sites that they asked, so that what has its
    own address is its own.
    """
    for edge in segment.edges:
        source, target = edge
        zone = tracking_zone_between(source, target)
        way = f"{source.hop} → {target.hop}"
        for match in _beginnings(segment, edge):
            yield _state(_NEW, match, _commit(zone), f"new: {way}", source.ofport)
        # What parts from the rest belongs to the stretch that leads there, however it looks.
        resumed = _RESUMED_PARTING if segment.parting(edge) else _RESUMED
        for match in _resumed(segment, edge):
            reason = f"{way}, begun before the switch: its own memory is gone, the hops' is not"
            yield _state(resumed, match, _commit(zone), reason, source.ofport)
        for match in _late_answers(segment, edge):
            reason = f"{way}, an answer after a silence: the switch forgets UDP before the hops do"
            yield _state(_LATE, match, _commit(zone), reason, source.ofport)


def _new(source: Station) -> dict[str, Any]:
    return {"in_port": source.ofport, "ct_state": _NEW_STATE, **in_zone(Zone.PRIVACY)}


def _beginnings(segment: Segment, edge: Edge) -> Iterator[Match]:
    """Of what the entrance sends the table `sources` has seen that it is a client's."""
    source = edge[0]
    for leg in segment.legs:
        if edge not in leg.links:
            continue
        for sender in leg.senders:
            entered = leg.of_clients and source == leg.first
            yield ip(sender.version, source=None if entered else sender, **_new(source))


def _resumed(segment: Segment, edge: Edge) -> Iterator[Match]:
    """TCP in the middle of a connection; only the hops know whether they have it."""
    middle = {"ip_proto": IpProtocol.TCP, "tcp_flags": "-syn", **_new(edge[0])}
    parting = segment.parting(edge)
    for traffic in parting:
        yield packets(traffic, **middle)
    for version in () if parting else VERSIONS:
        yield ip(version, **middle)


def _late_answers(segment: Segment, edge: Edge) -> Iterator[Match]:
    """UDP to a client; only the hops know whether it asked.

    Open vSwitch forgets UDP that was answered after 30 s of silence; RFC 4787, REQ-5, wants 120 s.
    """
    for traffic in segment.answers_clients(edge):
        yield packets(traffic, ip_proto=IpProtocol.UDP, **_new(edge[0]))


def _commit(zone: int) -> tuple[Instruction, ...]:
    return goto("ttl", Ct(flags=CtFlag.COMMIT, zone=zone))


def _state(
    priority: int,
    match: Match,
    instructions: tuple[Instruction, ...],
    reason: str,
    port: int = 0,
) -> Flow:
    return Flow("state", priority, match, instructions, Layer.SECURITY, SECURITY_KEY, reason, port)
