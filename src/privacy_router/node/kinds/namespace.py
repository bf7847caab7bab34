"""Network namespaces of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.host import namespaces
from privacy_router.node import ownership
from privacy_router.node.kinds.contract import Down, NodeKind, Role
from privacy_router.values.items import Kind, Present
from privacy_router.values.network import NamespaceKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Look
    from privacy_router.node.kinds.session import Session


def observe(look: Look) -> Iterator[tuple[NamespaceKey, Present]]:
    """A namespace that the node needs is the node's: who makes another of its name while the node
    is kept has the node's in that place. Of others only what is marked counts. Raises OSError."""
    for key in map(NamespaceKey, look.machine.hops.namespaces):
        if not namespaces.exists(key.where):
            continue
        owner = look.machine.owner
        if key in look.desired.items or ownership.is_own_namespace(key.where, owner):
            yield key, Present()


def apply(session: Session, key: NamespaceKey, before: Present | None, after: Present) -> None:
    """Make it, marked as this node's."""
    del before, after
    ownership.create_namespace(key.where, session.machine.owner)


def remove(session: Session, key: NamespaceKey, before: Present) -> None:
    """Delete it, with all that is in it."""
    del session, before
    namespaces.delete(key.where)


NAMESPACE: Final = NodeKind(
    kind=Kind.NAMESPACE,
    domain="lxc",
    role=Role.GUARDS,
    down=Down.TAKEN,
    keys=(NamespaceKey,),
    values=(Present,),
    observe=observe,
    apply=apply,
    remove=remove,
)
