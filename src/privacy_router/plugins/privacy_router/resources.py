"""The items of a node as resources of the plugins in whose domain they are (pure)."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.model import Change, Resource, ResourceKey, Value
from privacy_router.pipeline.flow import Flow
from privacy_router.report.flows import text_of
from privacy_router.values.items import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.plan.desired import PlannedState
    from privacy_router.values.items import Change as ItemChange
    from privacy_router.values.items import Key

    Names = Mapping[int, str]

DOMAINS: Final[Mapping[Kind, str]] = {
    Kind.NAMESPACE: "lxc",
    Kind.SETTING: "net",
    Kind.PROCESS: "privacy",
    Kind.BRIDGE: "net",
    Kind.PORT: "net",
    Kind.FIREWALL: "privacy",
    Kind.RULE: "net",
    Kind.DEVICE: "net",
    Kind.DEVICE_SETTING: "net",
    Kind.ADDRESS: "net",
    Kind.NEIGHBOUR: "net",
    Kind.ROUTE: "net",
    Kind.TUNNEL: "privacy",
    Kind.FOREIGN: "net",
    Kind.METER: "openflow",
    Kind.FLOW: "openflow",
}
"""Whose domain an item is in: containers', the network's, the chain's, or the flows'."""


def key_of(key: Key) -> ResourceKey:
    """The key of an item as that of a resource: `net route pr-warp/default via …`."""
    kind = key.kind.name.lower().replace("_", "-")
    return ResourceKey(DOMAINS[key.kind], kind, f"{key.where}/{key.name}")


def resources_of(items: Mapping[Key, Any]) -> dict[ResourceKey, Resource]:
    """The items of a desired state."""
    return {key_of(key): Resource(value_of(value)) for key, value in items.items()}


def notes_of(state: PlannedState) -> dict[ResourceKey, str]:
    """Of the items that are not known, why."""
    return {key_of(key): f"not known: {why}" for key, why in state.stand_ins.items()}


def values_of(items: Mapping[Key, Any]) -> dict[ResourceKey, Value]:
    """The items of an observed state."""
    return {key_of(key): value_of(value) for key, value in items.items()}


def value_of(value: Any) -> Value:
    """The value of an item as JSON; what is no plain value is written as it prints."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: value_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): value_of(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [value_of(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    return str(value)


def flow_value(flow: Any, names: Names) -> Value:
    """A flow or a meter in words."""
    if not isinstance(flow, Flow):
        return flow
    return text_of(flow, names).value


def flow_changes(changes: Iterable[ItemChange], names: Names) -> list[Change]:
    """Changes of flows and meters as changes of resources."""
    return [
        Change(
            key_of(change.key),
            flow_value(change.before, names),
            flow_value(change.after, names),
        )
        for change in changes
    ]


def item_changes(changes: Iterable[ItemChange], names: Names) -> list[Change]:
    """Changes of a node's items, made for the node, as changes of resources."""
    return [
        Change(
            key_of(change.key),
            _plain(change.before, names),
            _plain(change.after, names),
            by="privacy_router",
        )
        for change in changes
    ]


def _plain(value: Any, names: Names) -> Value:
    return text_of(value, names).value if isinstance(value, Flow) else value_of(value)
