"""The file that the daemon reads by itself: at its start, and when it is told to read again.

A content of it is applied once. What was refused or undone is not applied again unless an operator
asks for it, and neither is what was kept until another document took its place. What could not be
applied for a reason that passes (the account service cannot be reached, a service of the machine is
not there yet) was not considered: it is tried again, ever more slowly, and when the network of the
host changes; where a run had begun, and was undone, a few times.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.client.status import FileNote, FileState
from privacy_router.config import read_text
from privacy_router.engine.considered import Standing
from privacy_router.engine.document import Source
from privacy_router.errors import PrivacyRouterError, RemoteServiceError, StorageError
from privacy_router.host.netlink_events import WAYS, changes
from privacy_router.host.threads import in_thread
from privacy_router.node.file_note import write_note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.engine.considered import Ledger
    from privacy_router.engine.engine import Engine

_log = structlog.get_logger()
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0
RUN_TRIES: Final = 5  # each run that fails disturbs the machine
_LEAST_S: Final = 3.0  # between two tries, however much happens
_SETTLE_S: Final = 1.0  # an address comes before its routes, and a resolver after both


def pause_s(tries: int, error: PrivacyRouterError) -> float:
    """How long to wait after so many failures; a service that says how long is believed."""
    asked_s = error.retry_after_s if isinstance(error, RemoteServiceError) else None
    doubled_s: float = FIRST_PAUSE_S * 2 ** min(tries - 1, 30)
    return max(min(doubled_s, LONGEST_PAUSE_S), asked_s or 0.0)


def source_of(path: Path) -> Source:
    """The document in a file. Raises StorageError, ConfigError."""
    return Source(read_text(path), str(path.absolute().parent), str(path))


@dataclass(frozen=True)
class _Waiting:
    """A content that could not be applied yet: how often it was tried, and how often a run had
    begun; when it is tried again (by the event loop's clock), and whether a change of the network
    may bring that forward."""

    mark: str
    tries: int = 0
    runs: int = 0
    due_s: float = 0.0
    may_hurry: bool = True


class ConfigFile:
    """The file at `path`. `note` says why its content is not what is kept, if that is so; `on_note`
    is called when that changes."""

    def __init__(self, path: Path, engine: Engine, file_note: Path) -> None:
        self._path = path
        self._engine = engine
        self._file_note = file_note
        self._waiting: _Waiting | None = None
        self._overruled: str | None = None
        self._is_stale = False
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self.note: FileNote | None = None
        self.on_note: Callable[[], None] = lambda: None

    # --- applying it -----------------------------------------------------------------------------

    async def apply(self) -> None:
        """Apply it, also if its content was rejected or undone before: an operator asks for it, and
        for one try. Raises what reading and applying it do."""
        async with self._lock:
            source = await in_thread(source_of, self._path)
            mark = await self._engine.mark_of(source)
            await self._engine.apply(source)
            await self._settle(mark, Standing.KEPT)

    async def follow(
        self, wanted: Callable[[], bool] | None = None, *, caller_pid: int | None = None
    ) -> Standing:
        """Apply it if it has changed; what it was before. Raises what reading and applying it do,
        and then says in `note` what becomes of it.

        `wanted` says, when it comes to that, whether it is still to be applied.
        """
        async with self._lock:
            source = await in_thread(source_of, self._path)
            mark = await self._engine.mark_of(source)
            standing = self._standing(source, mark, await self._ledger())
            if standing is Standing.NEW:
                await self._apply(source, mark, wanted, caller_pid)
            else:
                await self._settle(mark, standing)
            if standing is not Standing.NEW and self.note is not None:
                _log.warning("the file is not applied", what=self.note.words, do=self.note.advice)
            return standing

    async def _apply(
        self,
        source: Source,
        mark: str,
        wanted: Callable[[], bool] | None,
        caller_pid: int | None,
    ) -> None:
        is_patient = self._known(mark).runs + 1 < RUN_TRIES
        try:
            await self._engine.apply(
                source, wanted=wanted, is_patient=is_patient, caller_pid=caller_pid
            )
        except PrivacyRouterError as error:
            await self._note_failure(mark, error)
            raise
        await self._settle(mark, Standing.KEPT)

    async def _note_failure(self, mark: str, error: PrivacyRouterError) -> None:
        standing = (await self._ledger()).standing(mark)
        if error.retryable and standing not in (Standing.REJECTED, Standing.OPEN):
            await self._wait(mark, error)
        else:
            await self._settle(mark, standing)

    async def _wait(self, mark: str, error: PrivacyRouterError) -> None:
        known = self._known(mark)
        wait_s = pause_s(known.tries + 1, error)
        may_hurry = getattr(error, "retry_after_s", None) is None
        due_s = asyncio.get_running_loop().time() + wait_s
        runs = known.runs + (1 if self._engine.running else 0)
        self._waiting = _Waiting(mark, known.tries + 1, runs, due_s, may_hurry)
        self._wake.set()
        now_s = time.time()
        _log.warning("the file is tried again", file=str(self._path), in_s=wait_s)
        await self._tell(
            FileNote(
                str(self._path),
                FileState.WAITING,
                now_s,
                error.message,
                error.remedy,
                now_s + wait_s,
            )
        )

    def _known(self, mark: str) -> _Waiting:
        """How often this content was tried by now."""
        known = self._waiting
        return known if known is not None and known.mark == mark else _Waiting(mark)

    # --- knowing what became of it ---------------------------------------------------------------

    def stir(self) -> None:
        """A run has ended, or another document is kept: `run` looks what that makes of the file."""
        self._is_stale = True
        self._wake.set()

    def overrule(self) -> None:
        """An operator had a document applied: what waited to be applied waits no longer."""
        if self._waiting is not None:
            self._overruled, self._waiting = self._waiting.mark, None
        self.stir()

    async def _look(self) -> None:
        """See what the content of the file is by now, and apply nothing."""
        async with self._lock:
            overruled, self._overruled = self._overruled, None
            if overruled is not None:
                await self._note_considered(overruled)
            try:
                source = await in_thread(source_of, self._path)
            except PrivacyRouterError as error:
                _log.debug("the file was not read", reason=error.message)
                return
            mark = await self._engine.mark_of(source)
            standing = self._standing(source, mark, await self._ledger())
            if standing is not Standing.NEW:
                await self._settle(mark, standing)

    def _standing(self, source: Source, mark: str, ledger: Ledger) -> Standing:
        """Where the journal is of a version that noted no marks, the text has to do."""
        if ledger.kept is None and source.same_as(self._engine.source):
            return Standing.KEPT
        return ledger.standing(mark)

    async def _ledger(self) -> Ledger:
        return await in_thread(self._engine.journal.ledger)

    async def _settle(self, mark: str, standing: Standing) -> None:
        """This content is considered, and needs no further try."""
        self._waiting = None
        await self._note_considered(mark)
        await self._tell(await self._words_of(mark, standing))

    async def _note_considered(self, mark: str) -> None:
        try:
            await in_thread(self._engine.journal.note_file, mark)
        except StorageError as error:
            _log.error("this is not remembered", reason=error.message)

    async def _words_of(self, mark: str, standing: Standing) -> FileNote | None:
        path = str(self._path)
        if standing is Standing.OVERRULED:
            return FileNote(path, FileState.OVERRULED, time.time())
        rejection = (await self._ledger()).rejection(mark)
        if standing is not Standing.REJECTED or rejection is None:
            return None
        return FileNote(path, FileState(rejection.verb), rejection.at_s, rejection.reason)

    async def _tell(self, note: FileNote | None) -> None:
        same, self.note = note == self.note, note
        if same and (note is None or await in_thread(self._file_note.exists)):
            return  # it goes with the run directory when the node is taken down
        await in_thread(write_note, self._file_note, os.getpid(), note)
        self.on_note()

    def difference(self, kept: Source) -> FileNote | None:
        """That the file by now says something else than what is kept."""
        try:
            same = source_of(self._path).same_as(kept)
        except PrivacyRouterError:
            same = False
        return None if same else FileNote(str(self._path), FileState.CHANGED, time.time())

    async def end(self) -> None:
        """Tell nothing any more: no controller keeps anything."""
        await self._tell(None)

    # --- trying again ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Try again what waits, until cancelled."""
        while True:
            self._wake.clear()
            if self._is_stale:
                self._is_stale = False
                await self._look()
            waiting = self._waiting
            if waiting is None:
                await self._wake.wait()
            elif await self._is_due(waiting):
                await self._try_again(waiting)

    async def _is_due(self, waiting: _Waiting) -> bool:
        """Wait until it is time, or the network changes; False when something else has happened."""
        waits = [self._wake.wait(), *([_network_change()] if waiting.may_hurry else [])]
        tasks = [asyncio.create_task(wait) for wait in waits]
        left_s = max(waiting.due_s - asyncio.get_running_loop().time(), 0.0)
        try:
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return not self._wake.is_set()

    async def _try_again(self, waiting: _Waiting) -> None:
        try:
            await self.follow(lambda: self._waiting is waiting)
        except PrivacyRouterError as error:
            _log.error("the file was not applied", reason=error.message, remedy=error.remedy)


async def _network_change() -> None:
    """Return a moment after an address or a route of the host has changed."""
    try:
        async with aclosing(changes(None, WAYS)) as heard:
            await anext(heard)  # it listens from now on
            await asyncio.sleep(_LEAST_S)
            words = await anext(heard)
    except OSError as error:
        _log.debug("changes of the network are not heard of", reason=str(error))
        await asyncio.Event().wait()
    else:
        _log.info("the network has changed", what=words)
        await asyncio.sleep(_SETTLE_S)
