"""What `plugins.openflow` must not say, key by key right as it may be. Pure.

What a flow may match and do is the plugin's to say (`plugins.openflow.declare`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.policies import PLACEHOLDERS, unknown_placeholders
from privacy_router.config.problems import Problem, describe, json_path, nearest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.plugins.openflow import (
        BridgeFlowsConfig,
        BridgeTemplate,
        FlowsOfBridge,
    )

_Location = tuple[str | int, ...]


def bridge_location(bridge: str, *more: str | int) -> _Location:
    """Where something of a bridge stands in the document."""
    return ("plugins", "openflow", "bridges", bridge, *more)


def check_bridge_flows(section: BridgeFlowsConfig) -> Iterator[Problem]:
    """Policies with a name twice, or with placeholders that there are not."""
    for name, bridge in section.bridges.items():
        yield from _double_names(name, bridge)
        yield from _unknown_placeholders(name, bridge)


def _double_names(name: str, bridge: FlowsOfBridge) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, policy in enumerate(bridge.policies):
        other = first.setdefault(policy.name, index)
        if other != index:
            there = json_path(bridge_location(name, "policies", other))
            yield Problem(
                json_path(bridge_location(name, "policies", index, "name")),
                describe(policy.name),
                f"a name that no other policy of the bridge has ({there} has it)",
            )


def _unknown_placeholders(name: str, bridge: FlowsOfBridge) -> Iterator[Problem]:
    for index, policy in enumerate(bridge.policies):
        for key, text in _texts(policy.template):
            for found in unknown_placeholders(text):
                where = bridge_location(name, "policies", index, "template", *key)
                nearest = nearest_of(found.strip("{}"), PLACEHOLDERS)
                listed = " or ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                yield Problem(json_path(where), describe(found), listed, nearest)


def _texts(template: BridgeTemplate) -> Iterator[tuple[_Location, str]]:
    for field, value in template.match_fields.items():
        yield ("match_fields", field), str(value)
    for index, action in enumerate(template.actions):
        yield ("actions", index), action
    yield ("description",), template.description
