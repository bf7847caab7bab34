"""The desired state of a node as single items, each with a key that says what it is about.

A desired and an observed state are both mappings from `Key` to a value; where the values differ,
there is a `Change`. Everything that `plan` shows, `up` applies and the controller repairs is such
a change, so nothing can be applied that is not also read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.pipeline.compile import Pipeline
    from privacy_router.values.bridges import BridgeSpec
    from privacy_router.values.items import ItemValue, Key
    from privacy_router.values.processes import ProcessSpec
    from privacy_router.values.wireguard import WireGuardConfig


@dataclass(frozen=True)
class NodeState:
    """A node to compare the machine with: the items, and what is needed to bring some about.

    Flows and meters are not among the items, since they follow the ports of containers as these
    come and go: `pipeline` compiles them.
    """

    items: Mapping[Key, ItemValue]
    bridge: BridgeSpec
    pipeline: Pipeline
    processes: Mapping[str, ProcessSpec]
    tunnels: Mapping[str, WireGuardConfig]
    fingerprint: str = ""


@dataclass(frozen=True)
class DesiredState(NodeState):
    """A node as it is to be, of real keys: the only kind that appliers and controllers take."""


@dataclass(frozen=True)
class PlannedState(NodeState):
    """A node to look at, of which some values may only stand for those that are not known.

    `stand_ins` are the items that depend on such values, and why each is not known. No applier
    takes this type.
    """

    stand_ins: Mapping[Key, str] = field(default_factory=dict)

    def unknown(self, key: Key) -> str:
        """Why it is not known whether that item is as it should be; empty where it is known."""
        return self.stand_ins.get(key, "")
