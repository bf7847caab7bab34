"""(configuration, chain) → flows: pure, deterministic, every flow with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.openflow.actions import SetNwTtl
from privacy_router.openflow.constants import EtherType, IpProtocol
from privacy_router.openflow.instructions import ApplyActions, GotoTable
from privacy_router.openflow.match import Match
from privacy_router.pipeline.cookies import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.hops import hop_flows
from privacy_router.pipeline.tables import TABLES, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.pipeline.segment import Segment

_IP = (EtherType.IPV4, EtherType.IPV6)
UNIFORM_TTL = 64
_NORMALISE_FROM_LEVEL = 2

# name → (flags that are set, flags that are looked at); RFC 9293 section 3.1 has no use for these
_HOSTILE_TCP_FLAGS = {
    "NULL scan": (0x000, 0x03F),
    "Xmas scan": (0x029, 0x029),
    "FIN without ACK": (0x001, 0x011),
    "SYN and FIN": (0x003, 0x003),
    "SYN and RST": (0x006, 0x006),
}


def compile_flows(config: PrivacyRouterConfig, segment: Segment) -> list[Flow]:
    """Every flow that the bridge needs; empty when `openflow.enabled` is false (all is dropped).

    Raises FlowRefusedError for a privacy flow of the user's that would bypass a hop.
    """
    if not config.openflow.enabled:
        return []
    flows = [*_misses(), *_classify(segment)]
    if config.openflow.enable_security_flows:
        flows += _security()
    if config.openflow.obfuscation_level >= _NORMALISE_FROM_LEVEL:
        flows += _normalise()
    return [*flows, *hop_flows(config, segment)]


def goto(table: str) -> tuple[GotoTable, ...]:
    """Go on in that table."""
    return (GotoTable(number_of(table)),)


def _misses() -> Iterator[Flow]:
    for table in TABLES:
        yield Flow(
            table.name,
            0,
            Match(),
            goto(table.miss) if table.miss else (),
            Layer.BASE,
            f"pipeline: {table.miss or 'drop'} on a miss",
        )


def _classify(segment: Segment) -> Iterator[Flow]:
    for port in segment.ports:
        for ethertype in _IP:
            yield Flow(
                "classify",
                100,
                Match(in_port=port.ofport, eth_src=port.mac, eth_type=ethertype),
                goto("security"),
                Layer.BASE,
                f"{port.hop}: {port.port} uses its own MAC and speaks IP",
            )


def _security() -> Iterator[Flow]:
    for ethertype in _IP:
        for name, flags in _HOSTILE_TCP_FLAGS.items():
            yield Flow(
                "security",
                200,
                Match(eth_type=ethertype, ip_proto=IpProtocol.TCP, tcp_flags=flags),
                (),
                Layer.SECURITY,
                f"openflow.enable_security_flows: {name}",
            )


def _normalise() -> Iterator[Flow]:
    for ethertype in _IP:
        yield Flow(
            "normalise",
            100,
            Match(eth_type=ethertype),
            (ApplyActions((SetNwTtl(UNIFORM_TTL),)), *goto("privacy")),
            Layer.OBFUSCATION,
            f"openflow.obfuscation_level: TTL and hop limit {UNIFORM_TTL}",
        )
