"""The terms that all tables are written in: matches for both versions of IP, and where to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.openflow.constants import EtherType, IpProtocol
from privacy_router.openflow.instructions import ApplyActions, GotoTable
from privacy_router.openflow.match import Match
from privacy_router.openflow.nicira import load
from privacy_router.pipeline.allocation import ZONE_REGISTER, Zone
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from privacy_router.chain.order import Place, Traffic
    from privacy_router.openflow.action import Action
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.openflow.notation import FieldValue

VERSIONS = (4, 6)
DROP: tuple[Instruction, ...] = ()
_ETHERTYPE = {4: EtherType.IPV4, 6: EtherType.IPV6}
_ICMP = {4: IpProtocol.ICMP, 6: IpProtocol.ICMPV6}


def ip(
    version: int,
    *,
    source: Place | str | None = None,
    destination: Place | str | None = None,
    **fields: FieldValue,
) -> Match:
    """Packets of that IP version, from and to these addresses or networks, with these fields."""
    places = {f"ipv{version}_src": source, f"ipv{version}_dst": destination}
    given = {name: place for name, place in places.items() if place is not None}
    return Match(eth_type=_ETHERTYPE[version], **given, **fields)


def packets(traffic: Traffic, **fields: FieldValue) -> Match:
    """Packets of that traffic, with these fields."""
    return ip(traffic.version, source=traffic.source, destination=traffic.destination, **fields)


def icmp(version: int, **fields: Any) -> Match:
    """ICMP of that IP version."""
    return ip(version, ip_proto=_ICMP[version], **fields)


def in_zone(zone: Zone) -> dict[str, Any]:
    """The field that says that a packet belongs to `zone`."""
    return {ZONE_REGISTER: int(zone)}


def enter(zone: Zone) -> Action:
    """Note down the zone that a packet belongs to."""
    return load(ZONE_REGISTER, int(zone))


def goto(table: str, *actions: Action) -> tuple[Instruction, ...]:
    """Do these, and go on in that table."""
    first = (ApplyActions(actions),) if actions else ()
    return (*first, GotoTable(number_of(table)))


def do(*actions: Action) -> tuple[Instruction, ...]:
    """Do these, and that is all."""
    return (ApplyActions(actions),)
