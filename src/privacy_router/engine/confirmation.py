"""Commit-confirm: a run that is not confirmed in time is undone: no operator is locked out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import AwaitingConfirmationError, NothingToConfirmError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from privacy_router.engine.clock import Clock

_LOOK_S: Final = 1.0  # the event loop's clock stops while the machine sleeps, and ours does not


class Confirmation:
    """The run that waits to be confirmed, if any."""

    def __init__(self, clock: Clock, expire: Callable[[int], Awaitable[None]]) -> None:
        self._clock = clock
        self._expire = expire
        self._timer: asyncio.Task[None] | None = None
        self.number: int | None = None
        self.deadline_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the run is undone."""
        return max(0.0, self.deadline_s - self._clock.now_s())

    def ask(self, number: int, deadline_s: float) -> None:
        """Wait for this run's confirmation until then."""
        self.number, self.deadline_s = number, deadline_s
        self._timer = asyncio.create_task(self._wait(number))

    def waiting(self) -> int:
        """The number of the run that waits. Raises NothingToConfirmError."""
        if self.number is None:
            raise NothingToConfirmError(
                "no run waits to be confirmed",
                remedy="it may have been undone already: privacy-router runs",
            )
        return self.number

    def settle(self) -> None:
        """It was confirmed or undone, if one waited."""
        self.number = None
        self.stop()

    def stop(self) -> None:
        """Watch the clock no longer; the journal still knows of the run."""
        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        self._timer = None

    def require_none(self) -> None:
        """Raise AwaitingConfirmationError while a run waits."""
        if self.number is not None:
            raise AwaitingConfirmationError(
                f"run {self.number} waits to be confirmed, {self.left_s:.0f} s more",
                remedy="privacy-router confirm, or privacy-router rollback",
                retryable=True,
            )

    async def _wait(self, number: int) -> None:
        while self.left_s > 0:  # noqa: ASYNC110 - there is nothing to wait for but the time
            await asyncio.sleep(min(self.left_s, _LOOK_S))
        await self._expire(number)
