"""Cross-checks of the flows that a document writes out: their ports, and flows that contradict.

Only names are judged here; what a flow may do with a packet is the pipeline's to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from privacy_router.config.problems import nearest_of
from privacy_router.config.rule import problem, rule
from privacy_router.config.values import RESERVED_PORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem
    from privacy_router.config.sections import FunctionRoute, PrivacyFlow

LISTED_PORTS_MAX = 8

_OUTPUT = re.compile(r"\s*output\s*:(.*)", re.IGNORECASE | re.DOTALL)
_FIRST_WORD = re.compile(r"\s*([A-Za-z_]+)")


class _Ports:
    """The ports that flows may name, and why another name is not among them."""

    def __init__(self, config: PrivacyRouterConfig) -> None:
        self.mesh = tuple(socket.name for socket in config.mesh_sockets)
        self.known = (*config.privacy_port_names, *config.mesh_port_names)
        self.reasons = _reasons(config)

    def stranger(
        self, path: str, found: object, port: object, known: tuple[str, ...]
    ) -> Iterator[Problem]:
        """A problem when `port` (which `found` names) is none of the `known` ones."""
        if port in known:
            return
        name = port if isinstance(port, str) else str(port)
        yield problem(
            path,
            found,
            f"the name of {_listing(known)}",
            nearest_of(name, known),
            because=self.reasons.get(name.lower(), ""),
        )


def _listing(ports: tuple[str, ...]) -> str:
    if not ports:
        return "a port, but this node has none"
    more = ", …" if len(ports) > LISTED_PORTS_MAX else ""
    return f"a port: {', '.join(ports[:LISTED_PORTS_MAX])}{more}"


def _reasons(config: PrivacyRouterConfig) -> dict[str, str]:
    reserved = "OpenFlow's own ports would lead around the tunnel"
    reasons = dict.fromkeys(RESERVED_PORT_NAMES, reserved)
    reasons["local"] = reasons[config.bridge_name.lower()] = "the bridge's own port is the host"
    for hop in ("gateway", "warp", "xray"):
        if hop not in config.chain_hops:
            reasons[config.hop_port(hop).lower()] = f"the hop {hop} is not enabled"
    if not config.netmaker.enabled:
        reasons[config.netmaker.interface.lower()] = "netmaker is not enabled"
    return reasons


def _unknown_ports(config: PrivacyRouterConfig) -> Iterator[Problem]:
    ports = _Ports(config)
    for i, flow in enumerate(config.openflow.privacy_flows or ()):
        path = f"openflow.privacy_flows[{i}]"
        yield from _unknown_in_match(ports, path, flow.match_fields)
        for j, action in enumerate(flow.actions):
            yield from _unknown_in_action(ports, f"{path}.actions[{j}]", action)
    for i, route in enumerate(config.openflow.function_routing):
        path = f"openflow.function_routing[{i}]"
        yield from _unknown_in_match(ports, path, route.match_fields)
        yield from ports.stranger(
            f"{path}.target_socket", route.target_socket, route.target_socket, ports.mesh
        )


def _unknown_in_match(
    ports: _Ports, path: str, match_fields: Mapping[str, str | int]
) -> Iterator[Problem]:
    if "in_port" in match_fields:
        port = match_fields["in_port"]
        yield from ports.stranger(f"{path}.match_fields.in_port", port, port, ports.known)


def _unknown_in_action(ports: _Ports, path: str, action: str) -> Iterator[Problem]:
    if output := _OUTPUT.fullmatch(action):
        yield from ports.stranger(path, action, output.group(1).strip(), ports.known)
    elif (word := _FIRST_WORD.match(action)) and word.group(1).lower() in RESERVED_PORT_NAMES:
        yield from ports.stranger(path, action, word.group(1), ports.known)


def _equal_flows(config: PrivacyRouterConfig) -> Iterator[Problem]:
    yield from _equal("openflow.privacy_flows", config.openflow.privacy_flows or ())
    yield from _equal("openflow.function_routing", config.openflow.function_routing)


def _equal(path: str, flows: Iterable[PrivacyFlow | FunctionRoute]) -> Iterator[Problem]:
    first: dict[object, int] = {}
    for i, flow in enumerate(flows):
        # "8080" and 8080 are the same value of a match field.
        match = frozenset((key, str(value)) for key, value in flow.match_fields.items())
        other = first.setdefault((flow.priority, match), i)
        if other != i:
            yield problem(
                f"{path}[{i}]",
                {**flow.match_fields, "priority": flow.priority},
                "another priority or another match",
                because=f"{path}[{other}] has the same, and only one of them can win",
            )


RULES = (
    rule(
        "bridge_name wireguard warp xray vps netmaker socket_networking containers openflow",
        _unknown_ports,
    ),
    rule("openflow", _equal_flows),
)
