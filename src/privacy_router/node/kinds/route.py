"""Routes that were added; those that the kernel makes belong to its addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import Kind
from privacy_router.values.network import Route, RouteKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


def observe(place: Place) -> Iterator[tuple[RouteKey, Route]]:
    """Every route that some program added. Raises OSError, NetlinkError."""
    for route in place.routes.added:
        yield RouteKey.of(place.where, route), route


def apply(session: Session, key: RouteKey, before: Route | None, after: Route) -> None:
    """Add it; one that differs goes first."""
    netlink = session.netlink(path_of(key.where))
    if before is not None:
        netlink.delete_route(before)
    netlink.replace_route(after)


def remove(session: Session, key: RouteKey, before: Route) -> None:
    """Delete it."""
    session.netlink(path_of(key.where)).delete_route(before)


ROUTE: Final = PlacedKind(
    kind=Kind.ROUTE,
    domain="net",
    role=Role.OPENS,
    down=Down.WITH_NAMESPACE,
    keys=(RouteKey,),
    values=(Route,),
    observe=observe,
    apply=apply,
    remove=remove,
)
