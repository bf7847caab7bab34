"""The engine: plans, runs, confirmations, checkpoints and recovery, one thing at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from privacy_router.engine.calls import availability, bounded, require_available
from privacy_router.engine.clock import machine_clock
from privacy_router.engine.confirmation import Confirmation
from privacy_router.engine.document import Source
from privacy_router.engine.errors import OverruledError, RollbackFailedError, UnknownPluginError
from privacy_router.engine.journal import Phase
from privacy_router.engine.model import Observed
from privacy_router.engine.order import in_order
from privacy_router.engine.planning import make_plan, make_preview
from privacy_router.engine.plugin import Trust
from privacy_router.engine.transaction import (
    Candidate,
    Reason,
    RunProgress,
    Transaction,
    roll_back,
)
from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.host.threads import in_thread, to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from privacy_router.engine.clock import Clock
    from privacy_router.engine.journal import Journal, OpenRun
    from privacy_router.engine.model import Change, Desired, ResourceKey, Value
    from privacy_router.engine.planning import Plan, Preview
    from privacy_router.engine.plugin import Plugin

_log = structlog.get_logger()


class Listener(Protocol):
    """Follows a run; called in the engine's event loop, and must not raise."""

    def progress(self, progress: RunProgress) -> None:
        """A step of a run begins."""

    def settled(self) -> None:
        """A run has ended or waits to be confirmed, or what is kept has changed."""


@dataclass(frozen=True)
class Outcome:
    """What an apply came to: the run's number (0: there was nothing to do), what was changed, and
    in how many seconds it is undone unless confirmed (0: it stands)."""

    number: int
    changes: Sequence[Change]
    confirm_within_s: float = 0.0


class Engine:
    """All plugins, and the document that they keep.

    `source` is the document that is kept, or that waits to be confirmed, and `kept` what each
    plugin is to keep so; that is the reconciler's to look after. `trouble` says why a run could
    not be undone; until it is, nothing else is applied. `not_kept` are sections that could not be
    kept at the start, and `troubles` says why; they are tried again.
    """

    def __init__(
        self,
        plugins: Iterable[Plugin],
        journal: Journal,
        *,
        clock: Clock | None = None,
        parse: Callable[[Source], Mapping[str, Any]] = Source.sections,
    ) -> None:
        self.plugins = {plugin.name: plugin for plugin in in_order(plugins)}
        self.journal = journal
        self.lock = asyncio.Lock()
        self.kept: dict[str, Desired] = {}
        self.listeners: list[Listener] = []
        self.source = Source()
        self.trouble = ""
        self.troubles: dict[str, str] = {}
        self.not_kept: dict[str, Any] = {}
        self._transaction: Transaction | None = None
        self._parse = parse
        self._clock = clock or machine_clock()
        self.confirmation = Confirmation(self._clock, self._expire)

    @property
    def running(self) -> int:
        """The number of the run that the last apply came to; 0 until it begins one."""
        return 0 if self._transaction is None else self._transaction.number

    # --- looking ---------------------------------------------------------------------------------

    async def preview(
        self,
        source: Source,
        among: Iterable[Plugin] | None = None,
        *,
        trust: Trust = Trust.OWNER,
    ) -> Preview:
        """What the document would change (`among` the domains of these plugins), to be shown.

        `trust` says whose the document is. Raises ConfigError, PluginUnavailableError and what
        reading the machine does.
        """
        plugins = list(self.plugins.values() if among is None else among)
        sections = await in_thread(self._parse, source)
        managed = await in_thread(self.journal.managed)
        return await make_preview(plugins, source, sections, managed, trust)

    async def _plan(self, source: Source, caller_pid: int | None = None) -> Plan:
        sections = await in_thread(self._parse, source)
        managed = await in_thread(self.journal.managed)
        plugins = list(self.plugins.values())
        return await make_plan(plugins, source, sections, managed, caller_pid)

    async def query(self, name: str = "") -> Observed:
        """What is there now: of one plugin's domain, or of all that are available.

        Raises UnknownPluginError, and PluginUnavailableError for a single one.
        """
        if name:
            await require_available(self.plugin(name), f"plugin {name}")
        found: dict[ResourceKey, Value] = {}
        for plugin in self.plugins.values():
            asked = not name or name in plugin.domains
            if asked and await availability(plugin):
                found |= (await bounded(plugin, "read its state", plugin.query())).values
        return Observed({key: v for key, v in found.items() if name in ("", key.plugin)})

    def plugin(self, name: str) -> Plugin:
        """The plugin of that name. Raises UnknownPluginError."""
        try:
            return self.plugins[name]
        except KeyError:
            raise UnknownPluginError(
                f"there is no plugin {name}", remedy=f"there are {', '.join(self.plugins)}"
            ) from None

    # --- changing --------------------------------------------------------------------------------

    async def apply(
        self,
        source: Source,
        confirm_within_s: float = 0.0,
        *,
        caller_pid: int | None = None,
        wanted: Callable[[], bool] | None = None,
        is_patient: bool = False,
    ) -> Outcome:
        """Make the machine as the document says, as one transaction.

        `caller_pid` is the process that calls for it over D-Bus, whose session no plugin ends. With
        `confirm_within_s` it is undone again unless `confirm` is called in time. Raises what went
        wrong; then everything is as it was, and the document counts as rejected, unless the error
        is `retryable` and nothing was touched, or the caller `is_patient`: then it tries again.
        `wanted` is asked when nothing else goes on any more; where it says no, this raises
        OverruledError.
        """
        async with self.lock:
            self._require_free()
            if wanted is not None and not wanted():
                raise OverruledError("another document was applied meanwhile")
            mark = await self.mark_of(source)
            self._transaction = None
            try:
                candidate = Candidate(mark, is_patient, caller_pid)
                return await self._apply(source, candidate, confirm_within_s)
            except PrivacyRouterError as error:
                # who asks for a way back has it: the file is not applied behind their back
                if confirm_within_s or not error.retryable:
                    await self._reject(mark, error)
                raise

    async def is_as_applied(self) -> bool:
        """Whether the files that the document names say what they said when it was applied, and
        nothing that was undone or waits to be confirmed."""
        kept = (await in_thread(self.journal.ledger)).kept
        return kept in (None, "") or kept == await self.mark_of(self.source)

    async def mark_of(self, source: Source) -> str:
        """The mark by which it is known whether that document was considered."""
        return await in_thread(source.mark, self._parse)

    async def _reject(self, mark: str, error: PrivacyRouterError) -> None:
        """Note a document that was refused; where its run began, the journal has it by now."""
        if self.running:
            return
        try:
            await in_thread(self.journal.refuse, mark, error.message)
        except StorageError as failure:
            _log.error("this is not remembered", reason=failure.message)
        self._settled()

    async def _apply(
        self, source: Source, candidate: Candidate, confirm_within_s: float
    ) -> Outcome:
        sections = await in_thread(self._parse, source)
        for name, section in sections.items():
            plugin = self.plugins[name]
            await require_available(plugin, f"plugins.{name}")
            await bounded(plugin, "prepare", plugin.prepare(section))
        plan = await self._plan(source, candidate.caller_pid)
        if not plan.changing and not self._is_news(plan):
            await in_thread(self.journal.accept, candidate.mark)
            return Outcome(0, plan.changes)
        try:
            return await self._carry_out(plan, candidate, confirm_within_s)
        except RollbackFailedError as error:
            self.trouble = error.message
            raise
        finally:
            self._settled()

    def _is_news(self, plan: Plan) -> bool:
        """Whether there is anything to note or to keep that was not noted and kept before."""
        kept = {share.plugin.name for share in plan.shares} <= self.kept.keys()
        return bool(plan.releases() or not kept or not plan.source.same_as(self.source))

    async def _carry_out(
        self, plan: Plan, candidate: Candidate, confirm_within_s: float
    ) -> Outcome:
        if not plan.changing:
            await self._adopt(plan, candidate.mark)
            return Outcome(0, plan.changes)
        transaction = Transaction(plan, candidate, self.journal, self._progress)
        await transaction.prove()
        self._transaction = transaction
        deadline_s = self._clock.now_s() + confirm_within_s

        async def close(number: int) -> None:
            if confirm_within_s:
                boot = self._clock.boot
                await in_thread(self.journal.await_confirmation, number, boot, deadline_s)
            else:
                await in_thread(self.journal.commit, number)
            self.source = plan.source

        await transaction.run(self.source, close)
        await self._keep(plan)
        if confirm_within_s:
            self.confirmation.ask(transaction.number, deadline_s)
        _log.info("applied", run=transaction.number, changes=len(plan.changes))
        return Outcome(transaction.number, plan.changes, confirm_within_s)

    async def _adopt(self, plan: Plan, mark: str) -> None:
        """Another document that asks for nothing new costs a note, and the same one not even it."""
        releases = plan.releases()
        known = await in_thread(self.journal.source)
        if releases or not plan.source.same_as(known):
            await in_thread(self.journal.adopt, plan.source, mark, releases)
        else:
            await in_thread(self.journal.accept, mark)
        await self._keep(plan)

    async def _keep(self, plan: Plan) -> None:
        self.source = plan.source
        self.kept = {share.plugin.name: share.kept for share in plan.shares}
        self.not_kept.clear()
        self.troubles.clear()
        for share in plan.shares:
            call = share.plugin.keeper().keep(share.desired)
            await bounded(share.plugin, "keep what it has", call)

    def _require_free(self) -> None:
        self.confirmation.require_none()
        if self.trouble:
            raise RollbackFailedError(
                self.trouble, remedy="privacy-router rollback tries again", retryable=True
            )

    async def confirm(self) -> int:
        """Keep the run that waits; its number. Raises NothingToConfirmError, StorageError."""
        async with self.lock:
            number = self.confirmation.waiting()
            await in_thread(self.journal.commit, number)
            self.confirmation.settle()
            self._settled()
            return number

    async def roll_back(self, reason: str = "rolled back") -> int:
        """Undo the run that waits to be confirmed, or that could not be undone; its number.

        Raises NothingToConfirmError, RollbackFailedError.
        """
        async with self.lock:
            found = await in_thread(self.journal.open_run)
            if found is None:
                return self.confirmation.waiting()
            await to_the_end(self._undo(found, reason))
            return found.number

    async def _expire(self, number: int) -> None:
        try:
            async with self.lock:
                found = await in_thread(self.journal.open_run)
                if found is not None and found.number == number and self.confirmation.number:
                    await to_the_end(self._undo(found, "it was not confirmed in time"))
        except PrivacyRouterError as error:
            _log.error("not rolled back", run=number, reason=error.message)

    async def _undo(self, found: OpenRun, reason: str) -> None:
        """Go back, and keep what was kept before."""
        self.confirmation.settle()
        try:
            why = Reason(reason)
            await roll_back(
                self.journal, found.number, found.undo, self.plugins, why, self._progress
            )
            self.trouble = ""
            _log.warning("rolled back", run=found.number, reason=reason)
        except RollbackFailedError as error:
            self.trouble = error.message
            raise
        finally:
            await self._keep_known()  # what does not go back takes nothing else away
            self._settled()

    async def _keep_known(self) -> None:
        """Keep what the current document of the journal declares, as far as the machine can be
        read now: each plugin for itself, since all of it was applied before."""
        known = await in_thread(self.journal.source)
        self.source = known or Source()
        self.kept = {}
        try:
            sections = await in_thread(self._parse, self.source)
        except PrivacyRouterError as error:
            _log.error("the document is of another version", reason=error.message)
            return
        self.not_kept = dict(sections)
        await self._keep_rest()

    async def _keep_rest(self) -> None:
        """Keep what could not be kept yet."""
        for name, section in list(self.not_kept.items()):
            plugin = self.plugins[name]
            try:
                declaring = in_thread(plugin.declare, section)
                desired = await bounded(plugin, "declare", declaring)
                await bounded(plugin, "keep what it has", plugin.keeper().keep(desired))
            except PrivacyRouterError as error:
                if self.troubles.get(name) != error.message:
                    _log.error("not kept yet", plugin=name, reason=error.message)
                self.troubles[name] = error.message
            else:
                self.kept[name] = desired
                self.troubles.pop(name, None)
                del self.not_kept[name]

    # --- starting and ending ---------------------------------------------------------------------

    async def recover(self) -> bool:
        """At the start: undo a run that was cut short, or go on waiting for its confirmation.

        Whether one was to be undone; if that failed, `trouble` says so, and it is tried again.
        """
        async with self.lock:
            try:
                return await self._recover()
            finally:
                self._settled()

    async def _recover(self) -> bool:
        found = await in_thread(self.journal.open_run)
        if found is None:
            await self._keep_known()
            return False
        if self._still_waits(found) and await self._go_on_waiting(found):
            return False
        try:
            await self._undo(found, "cut short")
        except RollbackFailedError as error:
            _log.error("not rolled back, trying again", run=found.number, reason=error.message)
        return True

    async def _go_on_waiting(self, found: OpenRun) -> bool:
        try:
            await self._keep(await self._plan(found.source))
        except PrivacyRouterError as error:
            _log.error("the run that waits is undone", run=found.number, reason=error.message)
            return False
        self.confirmation.ask(found.number, found.deadline_s or 0.0)
        return True

    def _still_waits(self, found: OpenRun) -> bool:
        in_time = found.deadline_s is not None and self._clock.now_s() < found.deadline_s
        return found.phase is Phase.AWAITING and found.boot == self._clock.boot and in_time

    @property
    def has_to_retry(self) -> bool:
        """Whether something waits for `retry`."""
        return bool(self.trouble or self.not_kept)

    async def retry(self) -> None:
        """Try again to undo what could not be, and to keep what could not be kept.

        Raises RollbackFailedError.
        """
        if self.trouble:
            await self.roll_back(self.trouble)
        async with self.lock:
            if self.not_kept:
                await self._keep_rest()
                self._settled()

    async def close(self) -> None:
        """Watch no clock any more. What waits to be confirmed goes on waiting at the next start."""
        self.confirmation.stop()
        async with self.lock:  # a run that goes on is waited for
            self.journal.close()

    # --- telling ---------------------------------------------------------------------------------

    def _progress(self, progress: RunProgress) -> None:
        for listener in self.listeners:
            listener.progress(progress)

    def _settled(self) -> None:
        for listener in self.listeners:
            listener.settled()
