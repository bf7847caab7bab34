"""The privacy table: the seed's flows from hop to hop, the user's own, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.flow_checks import hop_flows as users_flows
from privacy_router.openflow.actions import Output
from privacy_router.openflow.match import Match
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.notation import FlowRefusedError, ip_only, matches, verdict
from privacy_router.pipeline.selectors import fill, selects
from privacy_router.pipeline.terms import DROP, do, packets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.chain.order import Edge, Segment
    from privacy_router.chain.stations import Station
    from privacy_router.config.models import PrivacyRouterConfig

HOP_PRIORITY = 100
_TOP_PRIORITY = 0xFFFF


def hop_flows(config: PrivacyRouterConfig, segment: Segment) -> list[Flow]:
    """The hop flows as configured, or as the chain has them, and the derived way back.

    Raises FlowRefusedError for a flow of the user's that would bypass a hop.
    """
    flows = []
    if config.openflow.privacy_flows is None:
        flows = [_edge_flow(source, target) for source, target in _one_way_on(segment)]
    for path, flow in users_flows(config):
        flows += _user_flows(
            path,
            flow.priority,
            flow.match_fields,
            flow.actions,
            flow.description,
            segment,
            Layer.PRIVACY,
        )
    flows += _policy_flows(config, segment)
    top = max((flow.priority for flow in flows), default=HOP_PRIORITY)
    return [*flows, *_partings(segment, top + 1)]


def _one_way_on(segment: Segment) -> list[Edge]:
    """The edges that packets take which no other edge parts off."""
    return [edge for edge in segment.edges if not segment.parting(edge)]


def _edge_flow(source: Station, target: Station) -> Flow:
    return Flow(
        "privacy",
        HOP_PRIORITY,
        Match(in_port=source.ofport),
        do(Output(target.ofport)),
        Layer.PRIVACY,
        "chain",
        f"{source.hop} → {target.hop}",
        source.ofport,
    )


def _partings(segment: Segment, priority: int) -> Iterator[Flow]:
    """What parts from all else that a hop sends, by its addresses: answers to clients above all."""
    for source, target in segment.edges:
        for traffic in segment.parting((source, target)):
            yield Flow(
                "privacy",
                priority,
                packets(traffic, in_port=source.ofport),
                do(Output(target.ofport)),
                Layer.PRIVACY,
                "derived",
                f"{traffic.text}, {source.hop} → {target.hop}",
                source.ofport,
            )


def _policy_flows(config: PrivacyRouterConfig, segment: Segment) -> Iterator[Flow]:
    for index, policy in enumerate(config.openflow.flow_policies):
        for port in segment.stations:
            if selects(policy.selector, port.port):
                filled = fill(policy, port_name=port.port, bridge=config.bridge_name)
                if filled.match_fields.get("in_port") != port.port:
                    continue  # it is about what a port gets, and a hop gets what the chain says
                yield from _user_flows(
                    f"openflow.flow_policies[{index}]",
                    filled.priority,
                    filled.match_fields,
                    filled.actions,
                    filled.reason(port.port),
                    segment,
                    Layer.POLICY,
                )


def _user_flows(
    key: str,
    priority: int,
    fields: Mapping[str, str | int],
    actions: Sequence[str],
    description: str,
    segment: Segment,
    layer: Layer,
) -> Iterator[Flow]:
    where = f"plugins.privacy_router.{key}"
    source = segment.port_named(str(fields.get("in_port", "")))
    if source is None:
        raise FlowRefusedError(
            f"{where}: a privacy flow has to say which hop it comes from",
            remedy="add in_port with the port of an enabled hop to match_fields",
        )
    if priority >= _TOP_PRIORITY:
        raise FlowRefusedError(
            f"{where}: above priority {priority} there is no room for the answers to clients",
            remedy=f"take a priority of at most {_TOP_PRIORITY - 1}",
        )
    decision = verdict(where, actions)
    if decision.target is None:
        instructions = DROP
    else:
        target = segment.port_named(decision.target)
        if target is None or (source, target) not in segment.edges:
            raise FlowRefusedError(
                f"{where}: {', '.join(actions)} would lead packets of {source.hop} off the chain",
                remedy="output to the next hop: " + _allowed(segment, source),
            )
        instructions = do(*decision.rewrites, Output(target.ofport))
    ofports = {port.port: port.ofport for port in segment.stations}
    found = matches(where, fields, ofports.get)
    for match in ip_only(where, found) if decision.rewrites else found:
        yield Flow("privacy", priority, match, instructions, layer, key, description, source.ofport)


def _allowed(segment: Segment, source: Station) -> str:
    return " or ".join(target.port for origin, target in segment.edges if origin == source)
