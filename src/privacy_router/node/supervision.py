"""What goes on beside the passes: work that ends, by a defect or otherwise, is begun anew.

What one look at the outside trips over must not be the end of the looking. So nothing that keeps
watch runs unsupervised, and what is down at the moment is known, with the reason.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from privacy_router.errors import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    Work = Callable[[], Coroutine[Any, Any, None]]

_log = structlog.get_logger()
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0


class Supervisor:
    """Runs works by name, each begun anew when it ends, after a pause that doubles up to 5 s.

    `on_end` is called whenever one has ended: what happened since then was not seen by it.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._degraded: dict[str, str] = {}
        self._told: dict[str, str] = {}

    @property
    def degraded(self) -> Mapping[str, str]:
        """The works that ended and have not lasted since, each with the reason of its last end."""
        return dict(self._degraded)

    def keep(self, name: str, work: Work) -> None:
        """Have that work go on until `end`, or until `drop` of its name."""
        self._tasks[name] = asyncio.create_task(self._keep(name, work), name=name)

    def drop(self, *names: str) -> list[asyncio.Task[None]]:
        """End those of these that go on; what is returned is done when they have ended."""
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        for name in names:
            self._degraded.pop(name, None)
        return tasks

    async def end(self) -> None:
        """End all; returns when they have ended."""
        await asyncio.gather(*self.drop(*self._tasks), return_exceptions=True)

    async def _keep(self, name: str, work: Work) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            begun_s = loop.time()
            proof = loop.call_later(pause_s, self._degraded.pop, name, None)
            try:
                self._degraded[name] = await self._outcome(name, work)
            finally:
                proof.cancel()
            if loop.time() - begun_s > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            self._on_end()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _outcome(self, name: str, work: Work) -> str:
        """Why the work ended; it is in the log, the trace of a defect once."""
        try:
            await work()
        except FAILURES as error:
            reason, defect = str(error), None
        except Exception as error:  # a defect of ours, or of what we read: neither ends the node
            reason, defect = words(error), error
        else:
            reason, defect = "it ended", None
        if self._told.get(name) != reason:
            self._told[name] = reason
            _log.error(
                "a watch ended, it is begun anew", watch=name, reason=reason, exc_info=defect
            )
        return reason


def words(error: Exception) -> str:
    """An error in a line: what was foreseen as it says itself, a defect with its kind."""
    if isinstance(error, FAILURES):
        return str(error)
    return f"a defect: {type(error).__name__}: {error}"
