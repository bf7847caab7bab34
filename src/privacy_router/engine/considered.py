"""Which documents were considered, and what became of them (pure).

A document that was refused, that failed or that was undone stays rejected until an operator applies
it again: no reload, no restart and no start of the machine does. So the journal notes, in the same
transaction in which a run begins and ends, the mark of its document (`Source.mark`).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

REMEMBERED: Final = 50
"""How many rejected documents are remembered."""


@dataclass(frozen=True)
class Rejection:
    """A document that is not kept: since when (seconds since 1970), why, and the run that was
    undone, 0 where it was refused before a run began. While that run is open there is no reason
    yet."""

    mark: str
    at_s: float
    reason: str
    run: int = 0

    @property
    def is_open(self) -> bool:
        """Whether its run goes on, or waits to be confirmed or to be undone."""
        return self.run != 0 and not self.reason

    @property
    def verb(self) -> str:
        """What became of the document."""
        return "undone" if self.run else "refused"


class Standing(Enum):
    """What a document is to the engine at the moment."""

    NEW = "it was not considered yet"
    KEPT = "it is what is kept"
    OPEN = "its run goes on, or waits to be confirmed or undone"
    REJECTED = "it was refused or undone"
    OVERRULED = "it was kept, and another document was applied since"


@dataclass(frozen=True)
class Ledger:
    """Marks of documents: of the one that is kept, of those that are rejected (the newest last),
    and of the content that the daemon's own file had when it was considered last."""

    kept: str | None
    rejections: Sequence[Rejection]
    file: str | None

    def rejection(self, mark: str) -> Rejection | None:
        """What is noted of a document that is not kept."""
        return next((one for one in self.rejections if one.mark == mark), None)

    def standing(self, mark: str) -> Standing:
        """What the daemon's file is, by the mark of its content now."""
        if mark == self.kept:
            return Standing.KEPT
        rejection = self.rejection(mark)
        if rejection is not None:
            return Standing.OPEN if rejection.is_open else Standing.REJECTED
        return Standing.OVERRULED if mark == self.file else Standing.NEW


def with_rejection(known: Sequence[Rejection], new: Rejection) -> list[Rejection]:
    """The same and that one, in place of an older one of that document."""
    return [*without(known, new.mark), new][-REMEMBERED:]


def without(known: Sequence[Rejection], mark: str) -> list[Rejection]:
    """The same but for that document."""
    return [one for one in known if one.mark != mark]


def of_run(known: Sequence[Rejection], run: int) -> Rejection | None:
    """The document of that run."""
    return next((one for one in known if one.run == run), None)


def ended(rejection: Rejection, at_s: float, reason: str) -> Rejection:
    """The same when its run was undone."""
    return replace(rejection, at_s=at_s, reason=reason or "undone")


def as_rows(known: Sequence[Rejection]) -> list[list[Any]]:
    """As the journal keeps them."""
    return [list(astuple(one)) for one in known]
