"""Policy routing rules of a namespace, the kernel's own among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import Kind
from privacy_router.values.network import Rule, RuleKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


def observe(place: Place) -> Iterator[tuple[RuleKey, Rule]]:
    """Every rule that is there. Raises OSError, NetlinkError."""
    for rule in place.netlink.rules():
        yield RuleKey.of(place.where, rule), rule


def apply(session: Session, key: RuleKey, before: Rule | None, after: Rule) -> None:
    """Add it; one that differs goes first."""
    netlink = session.netlink(path_of(key.where))
    if before is not None:
        netlink.delete_rule(before)
    netlink.add_rule(after)


def remove(session: Session, key: RuleKey, before: Rule) -> None:
    """Delete it."""
    session.netlink(path_of(key.where)).delete_rule(before)


RULE: Final = PlacedKind(
    kind=Kind.RULE,
    domain="net",
    role=Role.GUARDS,
    down=Down.WITH_NAMESPACE,
    keys=(RuleKey,),
    values=(Rule,),
    observe=observe,
    apply=apply,
    remove=remove,
)
