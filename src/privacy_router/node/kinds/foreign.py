"""What another program put into a hop's namespace and has no place there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.host import foreign, namespaces
from privacy_router.host.foreign import Foreign
from privacy_router.node.kinds.contract import PlacedKind, Role
from privacy_router.values.items import Kind
from privacy_router.values.kinds import ForeignKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


def observe(place: Place) -> Iterator[tuple[ForeignKey, Foreign]]:
    """All of it. Raises OSError."""
    return read_here(place.where)


def read_here(where: str) -> Iterator[tuple[ForeignKey, Foreign]]:
    """All of it in the hop `where`, in whose namespace the calling thread is. Raises OSError."""
    for what, found in foreign.read_here().items():
        yield ForeignKey(where, what), found


def apply(session: Session, key: ForeignKey, before: Foreign | None, after: Foreign) -> None:
    """No plan has any."""
    del session, before, after
    raise TypeError(f"{key.name}: what is another program's is never wanted")


def remove(session: Session, key: ForeignKey, before: Foreign) -> None:
    """Take it away."""
    del session
    foreign.remove(namespaces.path_of(key.where), before)


FOREIGN: Final = PlacedKind(
    kind=Kind.FOREIGN,
    domain="net",
    role=Role.APART,
    keys=(ForeignKey,),
    values=(Foreign,),
    observe=observe,
    apply=apply,
    remove=remove,
)
