"""The privacy table: the seed's flows from hop to hop, the user's own, and the way back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from privacy_router.errors import ExitCode, PrivacyRouterError
from privacy_router.openflow.actions import Output
from privacy_router.openflow.constants import EtherType
from privacy_router.openflow.instructions import ApplyActions
from privacy_router.openflow.match import Match
from privacy_router.pipeline.cookies import Layer
from privacy_router.pipeline.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.sections import PrivacyFlow
    from privacy_router.pipeline.segment import Segment, SegmentPort

_HOP_PRIORITY = 100
_OUTPUT = re.compile(r"output:(.+)")


class FlowRefusedError(PrivacyRouterError):
    """A flow of the configuration would lead packets off the chain."""

    exit_code = ExitCode.INVALID_CONFIG


def hop_flows(config: PrivacyRouterConfig, segment: Segment) -> list[Flow]:
    """The hop flows as configured, or as the chain has them, and the derived way back."""
    own = config.openflow.privacy_flows
    if own is None:
        flows = [_edge_flow(source, target) for source, target in _one_way_out(segment)]
        top = _HOP_PRIORITY
    else:
        flows = [_user_flow(index, flow, segment) for index, flow in enumerate(own)]
        top = max((flow.priority for flow in flows), default=_HOP_PRIORITY)
    return [*flows, *_back_to_clients(segment, min(top + 1, 0xFFFF))]


def _one_way_out(segment: Segment) -> list[tuple[SegmentPort, SegmentPort]]:
    """The edges without the turn: packets to clients take that by their destination."""
    return [edge for edge in segment.edges if edge != segment.way_back]


def _edge_flow(source: SegmentPort, target: SegmentPort) -> Flow:
    return Flow(
        "privacy",
        _HOP_PRIORITY,
        Match(in_port=source.ofport),
        (ApplyActions((Output(target.ofport),)),),
        Layer.PRIVACY,
        f"chain: {source.hop} → {target.hop}",
    )


def _back_to_clients(segment: Segment, priority: int) -> Iterator[Flow]:
    if segment.way_back is None:
        return
    source, target = segment.way_back
    for network in segment.clients:
        if network.version == 4:
            match = Match(in_port=source.ofport, eth_type=EtherType.IPV4, ipv4_dst=network)
        else:
            match = Match(in_port=source.ofport, eth_type=EtherType.IPV6, ipv6_dst=network)
        yield Flow(
            "privacy",
            priority,
            match,
            (ApplyActions((Output(target.ofport),)),),
            Layer.PRIVACY,
            f"derived: answers to clients, {source.hop} → {target.hop}",
        )


def _user_flow(index: int, flow: PrivacyFlow, segment: Segment) -> Flow:
    where = f"plugins.privacy_router.openflow.privacy_flows[{index}]"
    source = _named(segment, str(flow.match_fields.get("in_port", "")))
    if source is None:
        raise FlowRefusedError(
            f"{where}: a privacy flow has to say which hop it comes from",
            remedy="add in_port with the port of an enabled hop to match_fields",
        )
    target = _single_target(flow, segment)
    if target is None or (source, target) not in segment.edges:
        raise FlowRefusedError(
            f"{where}: {', '.join(flow.actions)} would lead packets of {source.hop} off the chain",
            remedy="output to the next hop: " + _allowed(segment, source),
        )
    fields = {name: value for name, value in flow.match_fields.items() if name != "in_port"}
    try:
        match = Match(in_port=source.ofport, **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise FlowRefusedError(f"{where}.match_fields: {error}") from error
    return Flow(
        "privacy",
        flow.priority,
        match,
        (ApplyActions((Output(target.ofport),)),),
        Layer.PRIVACY,
        f"{where}: {flow.description}",
    )


def _single_target(flow: PrivacyFlow, segment: Segment) -> SegmentPort | None:
    if len(flow.actions) != 1:
        return None
    found = _OUTPUT.fullmatch(flow.actions[0])
    return _named(segment, found.group(1)) if found else None


def _named(segment: Segment, name: str) -> SegmentPort | None:
    return next((port for port in segment.ports if port.port == name), None)


def _allowed(segment: Segment, source: SegmentPort) -> str:
    return " or ".join(target.port for origin, target in segment.edges if origin == source)
