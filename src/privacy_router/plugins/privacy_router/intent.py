"""A node as it is to be: to look at, or to be made; and as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Observed
from privacy_router.node.secrets import KeptNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.engine.model import Change, Desired
    from privacy_router.hops.keys import NodeKeys
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState, PlannedState


@dataclass(frozen=True)
class Draft:
    """A node to look at, of a document that is only planned. Its state is of the kind that no
    applier takes."""

    config: PrivacyRouterConfig
    machine: NodeHost
    state: PlannedState


@dataclass(frozen=True)
class Intent:
    """A node as it is to be, and the real keys that it is made of."""

    config: PrivacyRouterConfig
    machine: NodeHost
    keys: NodeKeys
    state: DesiredState

    @property
    def kept(self) -> KeptNode:
        """What its files said."""
        return KeptNode(self.config, self.keys)


@dataclass(frozen=True)
class NodeObserved(Observed):
    """A node as it is, and where its flows are not as they should be: of those there may be
    hundreds of thousands, so they are compared where they are read."""

    flow_changes: Sequence[Change] = field(default=())


def firm(desired: Desired) -> Intent | None:
    """What is to be kept. A draft is refused from every caller."""
    intent = desired.payload
    if intent is None or isinstance(intent, Intent):
        return intent
    raise RefusedError("this node is of a plan, and its keys may be stand-ins")
