"""The items of a node as resources of the plugins in whose domain they are (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from privacy_router.config.models import sections_of
from privacy_router.engine.model import Change, Resource, ResourceKey, Value
from privacy_router.node.kinds.registry import KINDS
from privacy_router.pipeline.flow import Flow
from privacy_router.report.flows import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.plan.desired import PlannedState
    from privacy_router.plugins.privacy_router.intent import Intent
    from privacy_router.values.items import Change as ItemChange
    from privacy_router.values.items import ItemValue, Key

    Names = Mapping[int, str]


def key_of(key: Key) -> ResourceKey:
    """The key of an item as that of a resource: `net route pr-warp/default via …`."""
    kind = key.kind.name.lower().replace("_", "-")
    return ResourceKey(KINDS.domains[key.kind], kind, f"{key.where}/{key.name}")


def resources_of(items: Mapping[Key, ItemValue]) -> dict[ResourceKey, Resource]:
    """The items of a desired state."""
    return {key_of(key): Resource(value.plain()) for key, value in items.items()}


def notes_of(state: PlannedState) -> dict[ResourceKey, str]:
    """Of the items that are not known, why."""
    return {key_of(key): f"not known: {why}" for key, why in state.stand_ins.items()}


def values_of(items: Mapping[Key, ItemValue]) -> dict[ResourceKey, Value]:
    """The items of an observed state."""
    return {key_of(key): value.plain() for key, value in items.items()}


def flow_value(flow: ItemValue | None, names: Names) -> Value:
    """A flow, a meter or another item in words."""
    if not isinstance(flow, Flow):
        return None if flow is None else flow.plain()
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
    return [replace(one, by="privacy_router") for one in flow_changes(changes, names)]


def words_of(kept: Intent | None, intent: Intent) -> str:
    """Which domains of the node a run is about."""
    if kept is None:
        return "the node comes up"
    before, after = sections_of(kept.config), sections_of(intent.config)
    changed = [name for name, section in after.items() if section != before[name]]
    return f"the node's {', '.join(changed)}" if changed else "the node, with other keys or clients"


def is_unmanaged(checkpoint: Value) -> bool:
    """Whether the node that was there when a run began was declared by no document. A journal of
    version 0.1 says `stranger`, which is read for one version more."""
    return bool(checkpoint.get("unmanaged_node", checkpoint.get("stranger")))
