"""What another program put into a hop's namespace and has no place there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.host import foreign, namespaces
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.values.items import ItemValue, Kind, Plain, plain
from privacy_router.values.network import ForeignKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.host.foreign import Foreign
    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


@dataclass(frozen=True)
class ForeignValue(ItemValue):
    """What was found, which knows how it is taken away."""

    found: Foreign

    def plain(self) -> Plain:
        """What was found alone."""
        return plain(self.found)


def observe(place: Place) -> Iterator[tuple[ForeignKey, ForeignValue]]:
    """All of it. Raises OSError."""
    return read_here(place.where)


def read_here(where: str) -> Iterator[tuple[ForeignKey, ForeignValue]]:
    """All of it in the hop `where`, in whose namespace the calling thread is. Raises OSError."""
    for what, found in foreign.read_here().items():
        yield ForeignKey(where, what), ForeignValue(found)


def apply(
    session: Session, key: ForeignKey, before: ForeignValue | None, after: ForeignValue
) -> None:
    """No plan has any."""
    del session, before, after
    raise TypeError(f"{key.name}: what is another program's is never wanted")


def remove(session: Session, key: ForeignKey, before: ForeignValue) -> None:
    """Take it away."""
    del session
    foreign.remove(namespaces.path_of(key.where), before.found)


FOREIGN: Final = PlacedKind(
    kind=Kind.FOREIGN,
    domain="net",
    role=Role.APART,
    down=Down.WITH_NAMESPACE,
    keys=(ForeignKey,),
    values=(ForeignValue,),
    observe=observe,
    apply=apply,
    remove=remove,
)
