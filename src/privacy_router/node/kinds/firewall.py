"""Tables of nftables: the node's, the host's guard, and other programs' in hops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.hops.firewall import TABLE
from privacy_router.host import nftables
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.plan.guard import GUARD_PREFIX
from privacy_router.values.items import HOST, Kind
from privacy_router.values.rulesets import (
    FirewallKey,
    FirewallValue,
    ForeignTable,
    RulesetValue,
    TableRole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session

_OWN: Final = (nftables.OUR_FAMILY, TABLE)


def observe(place: Place) -> Iterator[tuple[FirewallKey, FirewallValue]]:
    """Of the host's the node's and the guard; of a hop every table. Raises OSError,
    NftablesError."""
    path = path_of(place.where)
    roles = {TABLE: TableRole.OWN}
    if place.where == HOST:
        roles |= dict.fromkeys(nftables.tables(path, GUARD_PREFIX), TableRole.GUARD)
    for table, role in roles.items():
        objects = nftables.read(path, table)
        if objects:
            yield FirewallKey(place.where, table, role), RulesetValue.of(objects)
    yield from foreign_here(place.where)


def foreign_here(where: str) -> Iterator[tuple[FirewallKey, ForeignTable]]:
    """Others' tables in the hop `where`, in whose namespace the calling thread is. In the host's
    namespace nothing is foreign. Raises OSError."""
    for one in nftables.tables_here() if where != HOST else ():
        if (one.family, one.name) != _OWN:
            key = FirewallKey(where, one.name, TableRole.FOREIGN, one.family)
            yield key, ForeignTable(one.family, one.name, one.flags)


def apply(
    session: Session, key: FirewallKey, before: FirewallValue | None, after: FirewallValue
) -> None:
    """Put the table in place as one transaction."""
    del session, before
    if not isinstance(after, RulesetValue):
        raise TypeError(f"{key.name}: another program's table is never wanted")
    nftables.apply(path_of(key.where), key.table, after.objects)


def remove(session: Session, key: FirewallKey, before: FirewallValue) -> None:
    """Take the table away."""
    del session, before
    nftables.delete(path_of(key.where), key.table, key.family)


FIREWALL: Final = PlacedKind(
    kind=Kind.FIREWALL,
    domain="privacy",
    role=Role.GUARDS,
    down=Down.TAKEN,
    keys=(FirewallKey,),
    values=(FirewallValue,),
    observe=observe,
    apply=apply,
    remove=remove,
    knows_own=True,
)
