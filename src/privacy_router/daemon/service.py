"""The daemon: recover, apply the document, keep it, and answer on the bus until told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from privacy_router.client.names import bus_address
from privacy_router.config import load_document
from privacy_router.daemon.bus.connection import offer
from privacy_router.daemon.bus.view import View
from privacy_router.daemon.config_file import ConfigFile
from privacy_router.daemon.plugins import all_plugins
from privacy_router.engine.considered import Standing
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.errors import FAILURES, PrivacyRouterError
from privacy_router.host.dbus import Bus
from privacy_router.host.notify import Notifier
from privacy_router.node.lock import READ_CLIENTS, NodeLock
from privacy_router.node.machine import require_root
from privacy_router.node.supervision import Supervisor, words
from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from privacy_router.engine.transaction import RunProgress
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()
_ARENA_MAX: Final = -8


@dataclass(frozen=True)
class Order:
    """What a daemon is started for: `apply` the file in any case (`up`), or only when its
    content was not considered yet (a service that starts with the machine)."""

    config_file: Path
    paths: NodePaths
    apply: bool
    supervised: bool = False


def lock_node(order: Order) -> NodeLock:
    """Refuse what can be refused before anything is touched, and be the only daemon of this node.

    Raises PrivilegeError, ConfigError, StorageError, ConflictError.
    """
    require_root()
    if order.apply:
        load_document(order.config_file)
    lock = NodeLock(order.paths)
    lock.take()
    return lock


def serve(lock: NodeLock, order: Order, on_ready: Callable[[], None]) -> None:
    """Be the daemon until told to stop. Raises what the first apply does."""
    lock.note_pid()
    _keep_one_heap()
    gc.freeze()  # what was loaded by now stays; the collector need not walk it again and again
    asyncio.run(_serve(lock, order, on_ready))


async def _serve(lock: NodeLock, order: Order, on_ready: Callable[[], None]) -> None:
    daemon = Daemon(lock, order)
    try:
        await daemon.start()
        on_ready()
        await daemon.stay()
    finally:
        await daemon.end()


class Daemon:
    """All that lives as long as the daemon does."""

    def __init__(self, lock: NodeLock, order: Order) -> None:
        self._lock = lock
        self._order = order
        self._bus = Bus(bus_address(os.environ))
        self._node = PrivacyRouterPlugin(order.paths)
        plugins = all_plugins(Machine(self._bus), self._node)
        self.engine = Engine(plugins, Journal(order.paths.journal))
        self.file = ConfigFile(order.config_file, self.engine, order.paths.file_note)
        self.file.on_note = self._tell_state
        self.view = View(
            self.engine, self._node, self.file, self._reload, supervised=order.supervised
        )
        self.engine.listeners += [self.view, self]
        self._node.on_node = self.view.attach
        self._node.on_failure = self._fail
        self._notifier = Notifier(os.environ)
        self._stop = asyncio.Event()
        self._signal = signal.SIGTERM
        self._failure: BaseException | None = None
        self._found = Source()
        self._supervisor = Supervisor(lambda: None)
        self._hung_up = asyncio.Event()
        self._has_other_clients = asyncio.Event()

    async def start(self) -> None:
        """Undo what was cut short, then make the machine as the document says.

        Raises SystemExit, with the code that shells give it, when a signal says stop before that is
        done; then what was begun is undone. Raises what undoing it does.
        """
        self._handle_signals()
        if self._notifier.watchdog_s is not None:
            self._supervisor.keep("the watchdog", self._notifier.keep_alive)
        self._supervisor.keep("the lock file", self._lock.stay)
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            await self._give_up(self._found)
            raise SystemExit(128 + self._signal) from None

    async def _start(self) -> None:
        if self._order.supervised:
            self._begin()
        await self.engine.recover()
        self._found = self.engine.source
        if self._order.apply:
            await self.file.apply()
        else:
            await self._resume()
        self._notifier.ready(self._words())

    def _begin(self) -> None:
        """Keep watch, and answer on the bus."""
        self._supervisor.keep("what other plugins keep", self.view.reconciler.run)
        self._supervisor.keep("the file", self.file.run)
        self._supervisor.keep("SIGHUP", self._reload_when_told)
        self._supervisor.keep(READ_CLIENTS.name, self._read_clients_when_told)
        address = self._bus.address
        if address is not None:
            self._supervisor.keep("D-Bus", lambda: offer(self.view, address))
        self.view.reconciler.refresh()

    def _fail(self, error: BaseException) -> None:
        """A defect: end, and leave everything as it is; a service manager starts us anew."""
        self._failure = error
        self._stop.set()

    async def stay(self) -> None:
        """Until told to stop. Raises what ended it, if that was a defect."""
        if not self._order.supervised:
            self._begin()  # what it says belongs into the log, which is open by now
        await self._stop.wait()
        self._notifier.stopping()
        if self._failure is not None:
            raise self._failure
        await self._give_up(Source())

    async def _give_up(self, source: Source) -> None:
        """Told to stop by a person at a terminal: go back to that document, also from a run that
        had just been closed."""
        if self._signal == signal.SIGINT:
            await self.engine.apply(source)

    async def end(self) -> None:
        """Leave everything up and closed."""
        await self._supervisor.end()
        await _log_failure(self.file.end(), "the run directory still tells of the file")
        await self._node.leave()
        await self.engine.close()
        await self._bus.close()

    # --- told by the engine ----------------------------------------------------------------------

    def progress(self, progress: RunProgress) -> None:
        """A run goes on: a caller may be waiting for it."""
        self._notifier.status(f"{progress.phase} {progress.plugin} {progress.text}")

    def settled(self) -> None:
        """A run has ended."""
        _give_memory_back()
        self.file.stir()
        self._tell_state()

    def _tell_state(self) -> None:
        self._notifier.status(self._words())

    # --- documents -------------------------------------------------------------------------------

    async def _resume(self) -> None:
        """Go on with what was declared, unless the file says something new.

        A file that cannot be applied does not keep the machine from what was declared before.
        """
        try:
            await self.file.follow()
        except PrivacyRouterError as error:
            _log.error("the file was not applied", reason=error.message, remedy=error.remedy)

    async def _reload(self, caller_pid: int | None = None) -> None:
        """Apply the file if it has changed; else read the keys and the clients again, and make the
        machine so. `caller_pid` is the process that asks for it over D-Bus."""
        if await self.file.follow(caller_pid=caller_pid) is Standing.NEW:
            return
        if await self.engine.is_as_applied():
            await self._node.reload()
        else:
            await self._node.reload_clients()

    # --- signals and the service manager ---------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end_by, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, self._end_by, signal.SIGINT)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        loop.add_signal_handler(READ_CLIENTS, self._has_other_clients.set)

    def _end_by(self, number: signal.Signals) -> None:
        self._signal = number
        self._stop.set()

    async def _reload_when_told(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            _log.info("asked to read the configuration again")
            self._notifier.reloading()
            await _log_failure(self._reload(), "configuration not read again, the old one stays")
            self._notifier.ready(self._words())

    async def _read_clients_when_told(self) -> None:
        while True:
            await self._has_other_clients.wait()
            self._has_other_clients.clear()
            await _log_failure(
                self._node.reload_clients(), "clients not read again, the old ones stay"
            )
            self._tell_state()

    def _words(self) -> str:
        kept = sum(len(desired.resources) for desired in self.engine.kept.values())
        words = f"keeps {kept} resources of {len(self.engine.kept)} plugins"
        of_file = "" if self.file.note is None else self.file.note.words
        return "; ".join(filter(None, [words, of_file, self._node.trouble]))


async def _log_failure(work: Coroutine[Any, Any, None], what: str) -> None:
    """Do that; what fails is told, and the daemon goes on."""
    try:
        await work
    except Exception as error:
        _log.error(
            what,
            reason=words(error),
            remedy=getattr(error, "remedy", ""),
            exc_info=None if isinstance(error, FAILURES) else error,
        )


def _give_memory_back() -> None:
    """What a run took and is free again; malloc_trim(3)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _keep_one_heap() -> None:
    """Have all threads share a heap: only one of them runs at a time, and each heap more would cost
    memory. Elsewhere than on glibc there is nothing to say; mallopt(3)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
