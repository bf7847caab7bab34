"""The daemon: recover, apply the document, keep it, and answer on the bus until told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.config import load_document, read_text
from privacy_router.daemon.bus.naming import bus_address
from privacy_router.daemon.bus.presence import offer
from privacy_router.daemon.bus.view import View
from privacy_router.daemon.plugins import all_plugins
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.reconcile import Reconciler
from privacy_router.errors import FAILURES, PrivacyRouterError, StorageError
from privacy_router.host.dbus import Bus
from privacy_router.host.notify import Notifier
from privacy_router.host.threads import in_thread
from privacy_router.node.lock import NodeLock
from privacy_router.node.machine import require_root
from privacy_router.node.supervision import Supervisor, words
from privacy_router.plugins.place import Place
from privacy_router.plugins.privacy_router import PrivacyRouterPlugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.engine.transaction import Progress
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()
_ARENA_MAX: Final = -8
_CONSIDERED: Final = "considered"


@dataclass(frozen=True)
class Order:
    """What a daemon is started for: `apply` the file whatever was there (`up`), or only when it is
    another than what was considered last (a service that starts with the machine)."""

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


def source_of(path: Path) -> Source:
    """The document in a file. Raises StorageError, ConfigError."""
    return Source(read_text(path), str(path.absolute().parent), str(path))


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
        plugins = all_plugins(Place(self._bus), self._node)
        self._journal = Journal(order.paths.journal)
        self.engine = Engine(plugins, self._journal)
        self.view = View(self.engine, self._node, self._reload, supervised=order.supervised)
        self._reconciler = Reconciler(self.engine, self.view)
        self.view.reconciler = self._reconciler
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
            await self._apply_file()
        else:
            await self._resume()
        self._notifier.ready(self._words())

    def _begin(self) -> None:
        """Keep watch, and answer on the bus."""
        self._supervisor.keep("what other plugins keep", self._reconciler.run)
        self._supervisor.keep("SIGHUP", self._reload_when_told)
        address = self._bus.address
        if address is not None:
            self._supervisor.keep("D-Bus", lambda: offer(self.view, address))
        self._reconciler.refresh()

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
        await self._node.leave()
        await self.engine.close()
        await self._bus.close()

    # --- told by the engine ----------------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """A run goes on: somebody may be waiting for it."""
        self._notifier.status(f"{progress.phase} {progress.plugin} {progress.text}")

    def settled(self) -> None:
        """A run has ended."""
        _give_memory_back()
        self._notifier.status(self._words())

    # --- documents -------------------------------------------------------------------------------

    async def _resume(self) -> None:
        """Go on with what was declared, unless the file says something new.

        A file that cannot be applied does not keep the machine from what was declared before.
        """
        try:
            source = await in_thread(source_of, self._order.config_file)
            if _digest(source) != await in_thread(self._journal.fact, _CONSIDERED):
                await self._apply(source)
        except PrivacyRouterError as error:
            _log.error("the file was not applied", reason=error.message, remedy=error.remedy)

    async def _apply_file(self) -> None:
        await self._apply(await in_thread(source_of, self._order.config_file))

    async def _apply(self, source: Source) -> None:
        """Apply the file, and remember that it was considered, whatever came of that: one that
        failed, or was rolled back, is not tried again at every start."""
        try:
            await self.engine.apply(source)
        except PrivacyRouterError:
            try:
                await self._remember(source)
            except StorageError as error:
                _log.error("this is not remembered", reason=error.message)
            raise
        await self._remember(source)

    async def _remember(self, source: Source) -> None:
        await in_thread(self._journal.remember, _CONSIDERED, _digest(source))

    async def _reload(self) -> None:
        """Read the file, the keys and the clients again, and make the machine so."""
        source = await in_thread(source_of, self._order.config_file)
        if not source.same_as(self.engine.source):
            await self._apply(source)
        else:
            await self._node.reload()

    # --- signals and the service manager ---------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end_by, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, self._end_by, signal.SIGINT)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)

    def _end_by(self, number: signal.Signals) -> None:
        self._signal = number
        self._stop.set()

    async def _reload_when_told(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            _log.info("asked to read the configuration again")
            self._notifier.reloading()
            try:
                await self._reload()
            except Exception as error:
                _log.error(
                    "configuration not read again, the old one stays",
                    reason=words(error),
                    remedy=getattr(error, "remedy", ""),
                    exc_info=None if isinstance(error, FAILURES) else error,
                )
            self._notifier.ready(self._words())

    def _words(self) -> str:
        kept = sum(len(desired.resources) for desired in self.engine.kept.values())
        words = f"keeps {kept} resources of {len(self.engine.kept)} plugins"
        return f"{words}; {self._node.trouble}" if self._node.trouble else words


def _digest(source: Source) -> str:
    return hashlib.sha256(f"{source.base}\0{source.text}".encode()).hexdigest()


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
