"""Keeping watch: what drifts from the document is put right, and told, plugin by plugin."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from privacy_router.engine.calls import availability, bounded
from privacy_router.engine.errors import not_as_asked
from privacy_router.engine.model import Mode
from privacy_router.errors import PrivacyRouterError
from privacy_router.host.file_state import redacted
from privacy_router.values.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.engine.engine import Engine
    from privacy_router.engine.keeper import Loop
    from privacy_router.engine.model import Change, Desired, ResourceKey
    from privacy_router.engine.plugin import Plugin

_log = structlog.get_logger()
_SETTLE_S: Final = 0.1
_FULL_PASS_S: Final = 60.0
_TOLD_MOST: Final = 3
_RETRY_FIRST_S: Final = 1.0
_RETRY_MOST_S: Final = 60.0


class DriftListener(Protocol):
    """Hears of drift; called in the engine's event loop, and must not raise."""

    def drifted(self, plugin: str, changes: Sequence[Change], repaired: bool) -> None:
        """Something was not as declared: what it was, and what it should be."""

    def settled(self) -> None:
        """What a loop says of its plugin has changed."""


class RepairLoop:
    """Watches what one plugin's section declares, and repairs it.

    `trouble` says what cannot be put right or watched, `drift` what was found different last, and
    `deviations` what is only observed and is different now.
    """

    def __init__(self, engine: Engine, plugin: Plugin, listener: DriftListener) -> None:
        self._engine = engine
        self.plugin = plugin
        self._listener = listener
        self._backoff: Backoff[ResourceKey] = Backoff()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._watched: Desired | None = None
        self._begun = False  # whether what is watched was found, or made, as declared once
        self.trouble = ""
        self.drift: tuple[float, Sequence[Change]] = (0.0, ())
        self.deviations: Sequence[Change] = ()

    def refresh(self) -> None:
        """What is kept may have changed: watch that."""
        desired = self._engine.kept.get(self.plugin.name)
        if desired != self._watched:
            self._watched = desired
            self._begun = False
            self._changed.set()
            self._wake.set()

    async def run(self) -> None:
        """Keep it so until cancelled; nothing is watched while there is nothing to keep."""
        while True:
            self._changed.clear()
            tasks = []
            if self._watched is not None and self._watched.resources:
                works = (self._watch(self._watched), self._keep())
                tasks = [asyncio.create_task(work) for work in works]
            try:
                await self._changed.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, desired: Desired) -> None:
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                async for _ in self.plugin.watch(desired):
                    self._wake.set()
                    pause_s = _RETRY_FIRST_S
            except PrivacyRouterError as error:
                _log.debug("not watching", plugin=self.plugin.name, reason=error.message)
            except Exception as error:  # a plugin's defect must not end the watch of all others
                _log.error("watching failed", plugin=self.plugin.name, reason=repr(error))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _RETRY_MOST_S)
            self._wake.set()  # what happened meanwhile was not seen

    async def _keep(self) -> None:
        while True:
            wait_s = min(_FULL_PASS_S, self._backoff.next_s(time.monotonic()) or _FULL_PASS_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
                await asyncio.sleep(_SETTLE_S)  # what happens together is looked at once
            self._wake.clear()
            await self.look()

    async def look(self) -> None:
        """Compare, put right what may be, tell what was found."""
        before = (self.trouble, self.deviations)
        try:
            async with self._engine.lock:
                await self._put_right()
            self.trouble = ""
        except PrivacyRouterError as error:
            self.trouble = error.message
            if self.trouble != before[0]:
                _log.error(
                    "not kept", plugin=self.plugin.name, reason=error.message, remedy=error.remedy
                )
        except Exception as error:  # a plugin's defect ends this look, not the keeping
            self.trouble = f"a defect: {type(error).__name__}: {error}"
            if self.trouble != before[0]:
                _log.error("not kept", plugin=self.plugin.name, reason=self.trouble, exc_info=error)
        if (self.trouble, self.deviations) != before:
            self._listener.settled()

    async def _put_right(self) -> None:
        desired = self._engine.kept.get(self.plugin.name)
        if desired is None or not desired.resources:
            self.deviations = ()
            return
        if not (available := await availability(self.plugin)):
            raise PrivacyRouterError(f"unavailable: {available.reason}", remedy=available.remedy)
        found = await self._differences(desired)
        self._note_deviations([c for c in found if c.mode is Mode.OBSERVE_ONLY])
        now_s = time.monotonic()
        due = [c for c in found if c.mode is Mode.ENFORCE and self._backoff.ready(c.key, now_s)]
        if due:
            await self._repair(desired, due)
        self._begun = True

    async def _differences(self, desired: Desired) -> Sequence[Change]:
        call = self.plugin.observe(desired)
        return self.plugin.diff(desired, await bounded(self.plugin, "read its state", call))

    async def _repair(self, desired: Desired, due: Sequence[Change]) -> None:
        keys = [change.key for change in due]
        self.drift = (time.time(), due)
        try:
            # what was harmless when it was applied need not be now: another device at that place
            call = self.plugin.check(desired, due)
            await bounded(self.plugin, "check what drifted", call)
            call = self.plugin.apply(desired, due, lambda _: None)
            await bounded(self.plugin, "put right what drifted", call)
            left = [c for c in await self._differences(desired) if c.key in set(keys)]
            if left:
                raise not_as_asked(left, "does not stay as it is set")
        except PrivacyRouterError:
            self._backoff.note(keys, time.monotonic(), failed=True)
            self._listener.drifted(self.plugin.name, due, False)
            raise
        self._backoff.note(keys, time.monotonic(), failed=False)
        self._tell_repaired(due)

    def _tell_repaired(self, due: Sequence[Change]) -> None:
        if not self._begun:  # a machine that has just started is not one that was changed
            _log.info("made as declared", plugin=self.plugin.name, changes=len(due))
        elif len(due) > _TOLD_MOST:
            what = ", ".join(str(change.key) for change in due[:_TOLD_MOST])
            more = f"{what} and {len(due) - _TOLD_MOST} more"
            _log.warning("repaired", plugin=self.plugin.name, changes=len(due), what=more)
        else:
            self._tell_each(due)
        for change in due:
            if self._backoff.contended(change.key):
                _log.error(
                    "another program keeps changing this; it is put right ever more slowly",
                    resource=str(change.key),
                )
        self._listener.drifted(self.plugin.name, due, True)

    def _tell_each(self, due: Sequence[Change]) -> None:
        for change in due:
            was, now = redacted(change.before), redacted(change.after)
            _log.warning("repaired", resource=str(change.key), was=was, now=now)

    def _note_deviations(self, found: Sequence[Change]) -> None:
        if found and found != self.deviations:
            self._listener.drifted(self.plugin.name, found, False)
        self.deviations = found


class Reconciler:
    """Runs the loop of each plugin's keeper; and what failed at a start, or could not be undone, is
    tried again."""

    def __init__(self, engine: Engine, listener: DriftListener) -> None:
        self._engine = engine
        self.loops: dict[str, Loop] = {
            name: plugin.keeper().loop(engine, listener) for name, plugin in engine.plugins.items()
        }

    async def run(self) -> None:
        """Keep watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for loop in self.loops.values():
                tasks.create_task(loop.run())
            tasks.create_task(self._retry())

    def refresh(self) -> None:
        """What is kept may have changed."""
        for loop in self.loops.values():
            loop.refresh()

    async def _retry(self) -> None:
        pause_s = _RETRY_FIRST_S
        while True:
            await asyncio.sleep(pause_s)
            if not self._engine.has_to_retry:
                pause_s = _RETRY_FIRST_S
                continue
            try:
                await self._engine.retry()
            except PrivacyRouterError as error:
                _log.error("still not rolled back", reason=error.message)
            pause_s = min(pause_s * 2, _RETRY_MOST_S)
