"""Every kind of item that the node keeps by itself, and where it is shown.

Meters and flows are kept by `node.flows`, which the ports of containers change too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.address import ADDRESS
from privacy_router.node.kinds.bridge import BRIDGE
from privacy_router.node.kinds.device import DEVICE
from privacy_router.node.kinds.device_setting import DEVICE_SETTING
from privacy_router.node.kinds.firewall import FIREWALL
from privacy_router.node.kinds.foreign import FOREIGN
from privacy_router.node.kinds.namespace import NAMESPACE
from privacy_router.node.kinds.neighbour import NEIGHBOUR
from privacy_router.node.kinds.port import PORT
from privacy_router.node.kinds.process import PROCESS
from privacy_router.node.kinds.route import ROUTE
from privacy_router.node.kinds.rule import RULE
from privacy_router.node.kinds.setting import SETTING
from privacy_router.node.kinds.tunnel import TUNNEL
from privacy_router.values.items import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.node.kinds.contract import Domain, Handler, NodeHandler, PlacedHandler


@dataclass(frozen=True)
class Kinds:
    """Kinds of items, each tuple in the order in which they are read."""

    of_node: tuple[NodeHandler, ...]
    placed: tuple[PlacedHandler, ...]

    @cached_property
    def by_kind(self) -> Mapping[Kind, Handler]:
        """All of them."""
        return {one.kind: one for one in (*self.of_node, *self.placed)}

    @cached_property
    def domains(self) -> Mapping[Kind, Domain]:
        """The plugin as whose resources the items of each kind are shown."""
        kept = {one.kind: one.domain for one in self.by_kind.values()}
        return {**kept, Kind.METER: "openflow", Kind.FLOW: "openflow"}


KINDS: Final = Kinds(
    of_node=(PROCESS, NAMESPACE, BRIDGE, PORT),
    placed=(
        *(SETTING, DEVICE_SETTING, FOREIGN, FIREWALL, DEVICE),
        *(ADDRESS, ROUTE, RULE, NEIGHBOUR, TUNNEL),
    ),
)
