"""Cross-checks of the flows that a document writes out: their ports, and flows that contradict.

Only names are judged here; what a flow may do with a packet is the pipeline's to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from privacy_router.config.policies import (
    PLACEHOLDERS,
    PORT_NAME_PLACEHOLDER,
    PortNames,
    parse_selector,
    unknown_placeholders,
)
from privacy_router.config.problems import nearest_of
from privacy_router.config.rule import problem, rule
from privacy_router.config.values import INTERFACE_NAME_MAX_BYTES, RESERVED_PORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem
    from privacy_router.config.sections import (
        FlowPolicy,
        FlowTemplate,
        FunctionRoute,
        PrivacyFlow,
    )

LISTED_PORTS_MAX = 8

_OUTPUT = re.compile(r"\s*output\s*:(.*)", re.IGNORECASE | re.DOTALL)
_FIRST_WORD = re.compile(r"\s*([A-Za-z_]+)")
_NOT_IN_PORT_NAMES = re.compile(r"[/:%]")
_PLACEHOLDERS_LISTED = " or ".join(f"{{{name}}}" for name in PLACEHOLDERS)


class _Ports:
    """The ports that flows may name, and why another name is not among them."""

    def __init__(self, config: PrivacyRouterConfig) -> None:
        self.mesh = tuple(socket.name for socket in config.mesh_sockets)
        self.known = (*config.privacy_port_names, *config.mesh_port_names)
        self.of_template = (PORT_NAME_PLACEHOLDER, *self.known)
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
    for hop, (enabled, port) in config.hops.items():
        if not enabled:
            reasons[port.lower()] = f"the hop {hop} is not enabled"
    if not config.netmaker.enabled:
        reasons[config.netmaker.interface.lower()] = "netmaker is not enabled"
    return reasons


def hop_flows(config: PrivacyRouterConfig) -> Iterator[tuple[str, PrivacyFlow]]:
    """The user's flows on the privacy segment, each with its path in the document."""
    for name in ("privacy_flows", "additional_flows"):
        for index, flow in enumerate(getattr(config.openflow, name) or ()):
            yield f"openflow.{name}[{index}]", flow


def _unknown_ports(config: PrivacyRouterConfig) -> Iterator[Problem]:
    ports = _Ports(config)
    for path, flow in hop_flows(config):
        yield from _unknown_in_match(ports, path, flow.match_fields, ports.known)
        for j, action in enumerate(flow.actions):
            yield from _unknown_in_action(ports, f"{path}.actions[{j}]", action, ports.known)
    for i, route in enumerate(config.openflow.function_routing):
        path = f"openflow.function_routing[{i}]"
        yield from _unknown_in_match(ports, path, route.match_fields, ports.known)
        yield from ports.stranger(
            f"{path}.target_socket", route.target_socket, route.target_socket, ports.mesh
        )
    yield from _unknown_in_templates(ports, config)


def _unknown_in_templates(ports: _Ports, config: PrivacyRouterConfig) -> Iterator[Problem]:
    for i, policy in enumerate(config.openflow.flow_policies):
        path = f"openflow.flow_policies[{i}].template"
        template = policy.template
        yield from _unknown_in_match(ports, path, template.match_fields, ports.of_template)
        for j, action in enumerate(template.actions):
            # A strange placeholder is a problem of its own.
            if not unknown_placeholders(action):
                place = f"{path}.actions[{j}]"
                yield from _unknown_in_action(ports, place, action, ports.of_template)


def _unknown_in_match(
    ports: _Ports, path: str, match_fields: Mapping[str, str | int], known: tuple[str, ...]
) -> Iterator[Problem]:
    if "in_port" in match_fields:
        port = match_fields["in_port"]
        yield from ports.stranger(f"{path}.match_fields.in_port", port, port, known)


def _unknown_in_action(
    ports: _Ports, path: str, action: str, known: tuple[str, ...]
) -> Iterator[Problem]:
    if output := _OUTPUT.fullmatch(action):
        yield from ports.stranger(path, action, output.group(1).strip(), known)
    elif (word := _FIRST_WORD.match(action)) and word.group(1).lower() in RESERVED_PORT_NAMES:
        yield from ports.stranger(path, action, word.group(1), known)


def _equal_flows(config: PrivacyRouterConfig) -> Iterator[Problem]:
    flows = config.openflow
    yield from _equal("openflow.privacy_flows", ((one, "") for one in flows.privacy_flows or ()))
    yield from _equal("openflow.additional_flows", ((one, "") for one in flows.additional_flows))
    yield from _equal("openflow.function_routing", ((one, "") for one in flows.function_routing))
    policies = ((policy.template, policy.selector) for policy in flows.flow_policies)
    yield from _equal("openflow.flow_policies", policies)


def _equal(
    path: str, flows: Iterable[tuple[PrivacyFlow | FunctionRoute | FlowTemplate, str]]
) -> Iterator[Problem]:
    first: dict[object, int] = {}
    for i, (flow, selector) in enumerate(flows):
        # "8080" and 8080 are the same value of a match field.
        match = frozenset((key, str(value)) for key, value in flow.match_fields.items())
        other = first.setdefault((flow.priority, match, selector), i)
        if other != i:
            yield problem(
                f"{path}[{i}]",
                {**flow.match_fields, "priority": flow.priority},
                "another priority or another match",
                because=f"{path}[{other}] has the same, and only one of them can win",
            )


# --- policies -----------------------------------------------------------------------------------


def _double_names(config: PrivacyRouterConfig) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for i, policy in enumerate(config.openflow.flow_policies):
        other = first.setdefault(policy.name, i)
        if other != i:
            yield problem(
                f"openflow.flow_policies[{i}].name",
                policy.name,
                "a name that no other policy has",
                because=f"openflow.flow_policies[{other}] has it",
            )


def _strange_placeholders(config: PrivacyRouterConfig) -> Iterator[Problem]:
    for i, policy in enumerate(config.openflow.flow_policies):
        for key, text in _texts(policy.template):
            for found in unknown_placeholders(text):
                yield problem(
                    f"openflow.flow_policies[{i}].template.{key}",
                    found,
                    _PLACEHOLDERS_LISTED,
                    nearest_of(found.strip("{}"), PLACEHOLDERS),
                )


def _texts(template: FlowTemplate) -> Iterator[tuple[str, str]]:
    """The texts of a template in which placeholders are filled in, and where they stand."""
    for field, value in template.match_fields.items():
        yield f"match_fields.{field}", str(value)
    for j, action in enumerate(template.actions):
        yield f"actions[{j}]", action
    yield "description", template.description


def _selectors_in_vain(config: PrivacyRouterConfig) -> Iterator[Problem]:
    for i, policy in enumerate(config.openflow.flow_policies):
        selector = parse_selector(policy.selector)
        reason = _in_vain(selector.pattern, config) if isinstance(selector, PortNames) else ""
        if reason:
            path = f"openflow.flow_policies[{i}].selector"
            yield problem(path, policy.selector, "a selector that a port can match", because=reason)


def _in_vain(pattern: str, config: PrivacyRouterConfig) -> str:
    """Why no port of the bridge can have a name of this pattern; empty when one can."""
    if len(pattern.replace("*", "")) > INTERFACE_NAME_MAX_BYTES:
        return f"a port name has at most {INTERFACE_NAME_MAX_BYTES} bytes"
    if strange := _NOT_IN_PORT_NAMES.search(pattern):
        return f"no port name has a {strange.group()!r}"
    if pattern.lower() in RESERVED_PORT_NAMES or pattern == config.bridge_name:
        return "this is not a port of a hop or of a container"
    return ""


def _policies_without_container(config: PrivacyRouterConfig) -> Iterator[Problem]:
    ports = (*config.privacy_port_names, *config.mesh_port_names)
    others = [port for port in ports if config.container_for(port) is None]
    for i, policy in enumerate(config.openflow.flow_policies):
        if other := _without_container(policy, others):
            yield problem(
                f"openflow.flow_policies[{i}].selector",
                policy.selector,
                "a selector of containers only, such as container:*",
                because=f"the template says {{container_id}} and {other} has none",
            )


def _without_container(policy: FlowPolicy, others: Iterable[str]) -> str | None:
    selector = parse_selector(policy.selector)
    if not isinstance(selector, PortNames):
        return None
    if not any("{container_id}" in text for _, text in _texts(policy.template)):
        return None
    return next((name for name in others if selector.matches(name)), None)


RULES = (
    rule(
        "bridge_name wireguard warp xray vps netmaker socket_networking containers openflow",
        _unknown_ports,
    ),
    rule("openflow", _equal_flows),
    rule("openflow", _double_names),
    rule("openflow", _strange_placeholders),
    rule("openflow bridge_name", _selectors_in_vain),
    rule(
        "wireguard warp xray vps netmaker socket_networking containers openflow",
        _policies_without_container,
    ),
)
