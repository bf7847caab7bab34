"""Read the node back from the machine, in the same items as the desired state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.host import namespaces
from privacy_router.node.kinds.place import Look, Place, path_of
from privacy_router.node.kinds.registry import KINDS
from privacy_router.values.items import HOST
from privacy_router.values.network import NamespaceKey

if TYPE_CHECKING:
    from privacy_router.node.kinds.contract import PlacedHandler
    from privacy_router.node.kinds.registry import Kinds
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.items import Items


def observe(desired: NodeState, machine: NodeHost, kinds: Kinds = KINDS) -> Items:
    """Everything that the node consists of now, except its flows (those come over OpenFlow).

    Raises OSError, and what the kinds raise.
    """
    items: Items = {}
    look = Look(desired, machine)
    for kind in kinds.of_node:
        items.update(kind.observe(look))
    wanted = [key for key in items if isinstance(key, NamespaceKey) and key in desired.items]
    for key in wanted:
        if namespaces.exists(key.where):
            items.update(_in_place(Place(key.where, desired, machine), kinds))
        else:
            del items[key]  # it has gone since
    items.update(_in_place(Place(HOST, desired, machine), kinds))
    return items


def _in_place(place: Place, kinds: Kinds) -> Items:
    def work() -> Items:
        with place:
            return {
                key: value for kind in kinds.placed for key, value in _of_kind(kind, place).items()
            }

    return namespaces.run_in(path_of(place.where), work)


def _of_kind(kind: PlacedHandler, place: Place) -> Items:
    if place.where != HOST or kind.knows_own:
        return dict(kind.observe(place))
    wanted = {
        key for key in place.desired.items if key.where == HOST and key.kind is kind.kind
    }  # all else there is none of the node's business, and is not read
    found = kind.observe(place) if wanted else ()
    return {key: value for key, value in found if key in wanted}
