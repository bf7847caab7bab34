"""One run: check, checkpoint, apply, verify; then it stands, or everything is as it was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from privacy_router.engine.calls import bounded
from privacy_router.engine.errors import RollbackFailedError, not_as_asked
from privacy_router.engine.journal import RunRecord
from privacy_router.errors import PrivacyRouterError, StorageError, VerificationError
from privacy_router.host.threads import in_thread, to_the_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from privacy_router.engine.document import Source
    from privacy_router.engine.journal import Journal
    from privacy_router.engine.model import Change, ResourceKey, Value
    from privacy_router.engine.planning import Plan, Preview, Share
    from privacy_router.engine.plugin import Plugin

_log = structlog.get_logger()


@dataclass(frozen=True)
class RunProgress:
    """How far a run is, for its observers. `done` of `total` steps are behind it."""

    phase: str
    plugin: str
    done: int
    total: int
    text: str = ""


@dataclass(frozen=True)
class Candidate:
    """A document that is to be applied. `is_patient`: the caller tries it again after a failure
    that may pass (`retryable`), so that such a one decides nothing. `caller_pid`: the process that
    calls for it over D-Bus."""

    mark: str
    is_patient: bool = False
    caller_pid: int | None = None

    def is_to_blame_for(self, error: BaseException) -> bool:
        """Whether the document counts as rejected after that. Being told to end is no failure."""
        passes = isinstance(error, PrivacyRouterError) and error.retryable and self.is_patient
        return not passes and not isinstance(error, asyncio.CancelledError)


@dataclass(frozen=True)
class Reason:
    """Why a run is undone. `is_judged`: its document is to blame, or counts so, and stays rejected;
    otherwise (the daemon was told to end) it may be applied at the next start."""

    words: str
    is_judged: bool = True


@dataclass(frozen=True)
class _Step:
    """Changes of one plugin that are made in one go."""

    share: Share
    changes: Sequence[Change]


class Transaction:
    """A plan that is carried out. `tell` is called for each step, and must not raise."""

    def __init__(
        self,
        plan: Plan,
        candidate: Candidate,
        journal: Journal,
        tell: Callable[[RunProgress], None],
    ) -> None:
        self._plan = plan
        self._candidate = candidate
        self._journal = journal
        self._tell = tell
        self._steps = _steps(plan.changing)
        self._done = 0
        self._stands = False
        self.number = 0

    async def prove(self) -> None:
        """Ask all plugins whether this would work, before anything is touched."""
        for share in self._plan.changing:
            call = share.plugin.check(share.desired, share.to_make)
            await bounded(share.plugin, "check its changes", call)

    async def run(self, before: Source, close: Callable[[int], Awaitable[None]]) -> None:
        """Write down how to go back, make all changes, read them back, `close` the run.

        `before` is the document that this one replaces. Raises what went wrong; by then everything
        is as it was before, or RollbackFailedError is raised, and the run is still open. Once
        `close` has begun, it is carried to its end: a caller that goes away then undoes nothing.
        """
        undo = await self._undo_data()
        record = RunRecord(
            source=self._plan.source,
            before=before,
            observed=observed_rows(self._plan),
            undo=undo,
            changes=change_rows(self._plan.changes),
            takes=self._plan.takes(),
            releases=self._plan.releases(),
            mark=self._candidate.mark,
        )
        self.number = await in_thread(self._journal.begin, record)
        try:
            for step in self._steps:
                await self._make(step)
            for share in self._plan.changing:
                await self._verify(share)
            await to_the_end(self._close(close))
        except BaseException as error:
            if not self._stands:
                await self._undo(undo, error)
            raise

    async def _close(self, close: Callable[[int], Awaitable[None]]) -> None:
        await close(self.number)
        self._stands = True

    async def _undo(self, undo: Sequence[tuple[str, Value]], error: BaseException) -> None:
        plugins = {share.plugin.name: share.plugin for share in self._plan.shares}
        reason = Reason(_words(error), is_judged=self._candidate.is_to_blame_for(error))
        call = roll_back(self._journal, self.number, undo, plugins, reason, self._tell)
        await to_the_end(call)

    async def _undo_data(self) -> list[tuple[str, Value]]:
        found = []
        for share in self._plan.changing:
            call = share.plugin.checkpoint(share.to_make)
            data = await bounded(share.plugin, "write down how to go back", call)
            found.append((share.plugin.name, data))
        return found

    async def _make(self, step: _Step) -> None:
        plugin = step.share.plugin
        self._report("apply", plugin)

        def tell(text: str) -> None:
            self._report("apply", plugin, text)

        call = plugin.apply(step.share.desired, step.changes, tell)
        await bounded(plugin, "apply its changes", call)
        self._done += 1

    async def _verify(self, share: Share) -> None:
        self._report("verify", share.plugin)
        left = await share.plugin.keeper().left(share.desired)
        if left:
            raise not_as_asked(left, "read back otherwise than it was set")
        self._done += 1

    def _report(self, phase: str, plugin: Plugin, text: str = "") -> None:
        total = len(self._steps) + len(self._plan.changing)
        self._tell(RunProgress(phase, plugin.name, self._done, total, text))


def _steps(shares: Sequence[Share]) -> list[_Step]:
    """Removals first, the last plugin's first of all; then the rest, the first plugin's first."""
    pairs = [(share, *share.plugin.keeper().steps(share.to_make)) for share in shares]
    gone = [_Step(share, removals) for share, removals, _ in reversed(pairs)]
    rest = [_Step(share, others) for share, _, others in pairs]
    return [step for step in (*gone, *rest) if step.changes]


async def roll_back(
    journal: Journal,
    number: int,
    undo: Sequence[tuple[str, Value]],
    plugins: Mapping[str, Plugin],
    reason: Reason,
    tell: Callable[[RunProgress], None],
) -> None:
    """Undo a run, the last plugin first, all of them even if one fails, and close it.

    Raises RollbackFailedError when something does not go back; the run stays open then.
    """
    failed: list[str] = []
    for done, (name, data) in enumerate(reversed(undo)):
        tell(RunProgress("undo", name, done, len(undo)))
        try:
            await _undo_one(plugins, name, data, tell)
        except PrivacyRouterError as error:
            _log.error("not undone", plugin=name, reason=error.message)
            failed.append(f"{name}: {error.message}")
    if not failed:
        try:
            await in_thread(journal.undone, number, reason.words, reason.is_judged)
        except StorageError as error:
            failed.append(error.message)
    if failed:
        raise RollbackFailedError(
            f"{reason.words}; and not everything went back: {'; '.join(failed)}",
            remedy="it is tried again until it does; privacy-router rollback tries at once",
            retryable=True,
        )


async def _undo_one(
    plugins: Mapping[str, Plugin], name: str, data: Value, tell: Callable[[RunProgress], None]
) -> None:
    if name not in plugins:
        raise VerificationError(f"the plugin {name} is not in this version")
    plugin = plugins[name]
    if not plugin.can_roll_back:
        _log.warning("cannot be undone", plugin=name)
        return
    call = plugin.rollback(data, lambda text: tell(RunProgress("undo", name, 0, 0, text)))
    await bounded(plugin, "go back", call)


def _words(error: BaseException) -> str:
    if isinstance(error, PrivacyRouterError):
        return error.message
    return "stopped" if isinstance(error, asyncio.CancelledError) else repr(error)


def change_rows(changes: Sequence[Change]) -> list[list[Value]]:
    """Changes as the journal keeps them: verb, plugin, kind, name, mode, by."""
    return [[c.verb, c.key.plugin, c.key.kind, c.key.name, c.mode.value, c.by] for c in changes]


def observed_rows(plan: Preview) -> list[list[Value]]:
    """What was read, as a checkpoint keeps it: plugin, kind, name, value (null: not there)."""
    values: dict[ResourceKey, Value] = {}
    for share in plan.shares:
        values |= share.plugin.keeper().recorded(share.desired, share.observed)
    return [[key.plugin, key.kind, key.name, values[key]] for key in sorted(values)]
