"""Permanent neighbours: the stations of the chain know each other's MAC in advance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import Kind
from privacy_router.values.network import Neighbour, NeighbourKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


def observe(place: Place) -> Iterator[tuple[NeighbourKey, Neighbour]]:
    """Every permanent one. Raises OSError, NetlinkError."""
    for neighbour in place.netlink.neighbours():
        yield NeighbourKey(place.where, neighbour.device, neighbour.address), neighbour


def apply(session: Session, key: NeighbourKey, before: Neighbour | None, after: Neighbour) -> None:
    """Add it, or give it its MAC."""
    del before
    session.netlink(path_of(key.where)).replace_neighbour(after)


def remove(session: Session, key: NeighbourKey, before: Neighbour) -> None:
    """Delete it."""
    session.netlink(path_of(key.where)).delete_neighbour(before)


NEIGHBOUR: Final = PlacedKind(
    kind=Kind.NEIGHBOUR,
    domain="net",
    role=Role.OPENS,
    down=Down.WITH_NAMESPACE,
    keys=(NeighbourKey,),
    values=(Neighbour,),
    observe=observe,
    apply=apply,
    remove=remove,
)
