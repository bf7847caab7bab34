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
from privacy_router.pipeline.terms import DROP, VERSIONS, do, goto, in_zone, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.chain.stations import Chain, Station
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.terms import Place

_INVALID, _KNOWN, _NEW, _RESUMED_TO_CLIENTS, _RESUMED, _LATE = 400, 300, 200, 151, 150, 140
_TO_CLIENTS, _ELSEWHERE = 100, 50
_NEW_STATE = "+new+trk"


def privacy_lookups(chain: Chain) -> Iterator[Flow]:
    """Each stretch of the chain has a tracking zone of its own."""
    privacy = in_zone(Zone.PRIVACY)
    for source, target in chain.edges:
        zone = tracking_zone_between(source, target)
        look = do(Ct(zone=zone, table_id=number_of("state")))
        way = f"{source.hop} → {target.hop}"
        if (source, target) == chain.return_edge:
            for network in chain.clients:
                from_port: dict[str, Any] = {"in_port": source.ofport, **privacy}
                match = ip(network.version, destination=network, **from_port)
                yield _lookup(_TO_CLIENTS, match, look, way, source.ofport)
        else:
            for version in VERSIONS:
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


def privacy_begins(chain: Chain) -> Iterator[Flow]:
    """Connections begin with a client, or with XRay on its way to the VPS; nowhere else.

    XRay answers clients from the addresses of the sites that they asked, so that what has its own
    address is its own.
    """
    for source, target in chain.edges:
        zone = tracking_zone_between(source, target)
        way = f"{source.hop} → {target.hop}"
        for match in _beginnings(chain, source, target):
            yield _state(_NEW, match, _commit(zone), f"new: {way}", source.ofport)
        # What goes to a client belongs to the stretch that leads to it, however it looks.
        resumed = _RESUMED_TO_CLIENTS if (source, target) == chain.return_edge else _RESUMED
        for match in _resumed(chain, source, target):
            reason = f"{way}, begun before the switch: its own memory is gone, the hops' is not"
            yield _state(resumed, match, _commit(zone), reason, source.ofport)
        for match in _late_answers(chain, source, target):
            reason = f"{way}, an answer after a silence: the switch forgets UDP before the hops do"
            yield _state(_LATE, match, _commit(zone), reason, source.ofport)


def _beginnings(chain: Chain, source: Station, target: Station) -> Iterator[Match]:
    if (source, target) == chain.return_edge:
        return
    new: dict[str, Any] = {
        "in_port": source.ofport,
        "ct_state": _NEW_STATE,
        **in_zone(Zone.PRIVACY),
    }
    for version in VERSIONS:
        if source.hop == "gateway":
            yield ip(version, **new)
        if source.hop == "xray":
            yield ip(version, source=source.address(version), **new)
        if source.hop == "warp" and chain.gateway is not None:
            yield ip(version, source=_clients(chain, version), **new)


def _resumed(chain: Chain, source: Station, target: Station) -> Iterator[Match]:
    """TCP in the middle of a connection; only the hops know whether they have it."""
    back = (source, target) == chain.return_edge
    for version in VERSIONS:
        yield ip(
            version,
            destination=_clients(chain, version) if back else None,
            in_port=source.ofport,
            ip_proto=IpProtocol.TCP,
            tcp_flags="-syn",
            ct_state=_NEW_STATE,
            **in_zone(Zone.PRIVACY),
        )


def _late_answers(chain: Chain, source: Station, target: Station) -> Iterator[Match]:
    """UDP to a client; only the hops know whether it asked.

    Open vSwitch forgets UDP that was answered after 30 s of silence; RFC 4787, REQ-5, wants 120 s.
    """
    back = chain.return_edge
    leads_to_clients = back is not None and (
        (source, target) == back or (source.hop == "xray" and target == back[0])
    )
    for version in VERSIONS if leads_to_clients else ():
        yield ip(
            version,
            destination=_clients(chain, version),
            in_port=source.ofport,
            ip_proto=IpProtocol.UDP,
            ct_state=_NEW_STATE,
            **in_zone(Zone.PRIVACY),
        )


def _clients(chain: Chain, version: int) -> Place:
    return next(network for network in chain.clients if network.version == version)


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
