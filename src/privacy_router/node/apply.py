"""Carry out changes on the machine, one kind of item after the other.

Every step can be done twice: a controller that was killed in the middle starts again with what it
then finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.errors import FAILURES, MachineError, PrivacyRouterError
from privacy_router.node.kinds.contract import Role
from privacy_router.node.kinds.registry import KINDS
from privacy_router.node.kinds.session import ApplyError, Session, StoppedError
from privacy_router.plan.stages import is_guard
from privacy_router.values.items import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privacy_router.node.kinds.registry import Kinds
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change

_FIRST, _REMOVAL, _LAST = -2, -1, max(Kind) + 1
_NAMED_FAILURES: Final = 5


class Applier:
    """Applies one list of changes; made anew for each."""

    def __init__(self, desired: DesiredState, machine: NodeHost, kinds: Kinds = KINDS) -> None:
        self._session = Session(desired, machine)
        self._kinds = kinds.by_kind
        self._failures: list[PrivacyRouterError] = []
        self._shut: dict[str, Kind] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes in the order given, but for the guard and what needs each other.

        A change that cannot be made does not hold up the others, except where it guards them: a
        namespace whose settings, firewall or rules are not right gets no device, address or route.
        What it would get is left for the next time; what is to be taken out of it, is.
        Raises ApplyError that names what could not be made, and when told to stop before all was;
        for a single failure that is not the machine's (a program is missing …) the error itself.
        """
        try:
            for change in self._ordered(changes):
                self._session.go_on()
                self._make(change)
            self._try(self._session.switch.join)
        finally:
            self._session.close()
        if self._failures:
            raise _one_error(self._failures)

    def stop(self) -> None:
        """Make no further change; for another thread to say."""
        self._session.stop()

    def _make(self, change: Change) -> None:
        kind = self._kinds[change.key.kind]
        if change.after is not None and self._is_held(change, kind.role):
            return
        made = self._try(lambda: kind.make(self._session, change), change)
        if not made and kind.role is Role.GUARDS:
            self._shut.setdefault(change.key.where, change.key.kind)

    def _is_held(self, change: Change, role: Role) -> bool:
        """Whether what guards this item, or its namespace itself, could not be made."""
        guard = self._shut.get(change.key.where)
        return guard is not None and (guard is Kind.NAMESPACE or role is Role.OPENS)

    def _try(self, step: Callable[[], None], *change: Change) -> bool:
        """Whether it could be done; what went wrong is told at the end, each thing once."""
        try:
            step()
        except StoppedError:
            raise
        except FAILURES as error:
            told = _told(error, *change)
            if told not in self._failures:
                self._failures.append(told)
            return False
        return True

    def _ordered(self, changes: Sequence[Change]) -> list[Change]:
        """As given, but the guard around all else, and of those of a kind each in its order."""
        return sorted(changes, key=self._rank)

    def _rank(self, change: Change) -> tuple[int, int]:
        kind = change.key.kind
        if is_guard(change):  # in force before all else, and the last to go
            return (_FIRST, 0) if change.after is not None else (_LAST, 0)
        if change.after is None:  # what forbids goes last
            return (_REMOVAL, int(kind is Kind.FIREWALL))
        return (kind, self._kinds[kind].order(self._session.desired, change))


def _told(error: Exception, *change: Change) -> PrivacyRouterError:
    """The error as the caller is told of it: those of the machine with what was tried."""
    if isinstance(error, PrivacyRouterError) and not isinstance(error, MachineError):
        return error
    tried = "".join(
        f"could not {one.verb} {one.key.kind.name.lower()} {one.key.name} in {one.key.where}: "
        for one in change
    )
    told = ApplyError(f"{tried}{error}", retryable=True)
    told.__cause__ = error
    return told


def _one_error(failures: Sequence[PrivacyRouterError]) -> PrivacyRouterError:
    if len(failures) == 1:
        return failures[0]
    named = "; ".join(error.message for error in failures[:_NAMED_FAILURES])
    more = len(failures) - _NAMED_FAILURES
    return ApplyError(
        f"{named}; and {more} more" if more > 0 else named,
        remedy=next((error.remedy for error in failures if error.remedy), ""),
        retryable=all(error.retryable for error in failures),
    )
