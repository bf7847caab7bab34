"""What the objects on the bus show: read from the machine at most every two seconds, and then only
when a caller asks or something has happened."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from privacy_router.client.errors import NoNodeError
from privacy_router.client.status import ClientStatus, HopStatus
from privacy_router.daemon.clients import Clients
from privacy_router.engine.calls import availability
from privacy_router.engine.checkpoints import Checkpoints
from privacy_router.engine.model import AVAILABLE, Availability
from privacy_router.engine.plugin import Trust
from privacy_router.engine.reconcile import Reconciler
from privacy_router.errors import FAILURES, PrivacyRouterError
from privacy_router.host.threads import MACHINE, context_of, in_thread
from privacy_router.node import clients
from privacy_router.node.converge import observe_all
from privacy_router.node.inspection import port_names
from privacy_router.node.outside import NOT_ASKED
from privacy_router.node.status import (
    Kept,
    ask_chain,
    look_at_kept,
    quick_status,
    read_status,
    status_of,
)
from privacy_router.plugins.privacy_router.resources import item_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from privacy_router.client.status import NodeStatus
    from privacy_router.daemon.bus.authority import Action, Authority
    from privacy_router.daemon.bus.callers import Callers
    from privacy_router.daemon.config_file import ConfigFile
    from privacy_router.engine.engine import Engine
    from privacy_router.engine.keeper import Loop
    from privacy_router.engine.model import Change as ResourceChange
    from privacy_router.engine.plugin import Plugin
    from privacy_router.engine.transaction import RunProgress
    from privacy_router.hops.gateway.clients import Client
    from privacy_router.node.controller import Controller
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.status import Local
    from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
    from privacy_router.values.items import Change

_log = structlog.get_logger()
_FRESH_S = 2.0
_PLUGINS_FRESH_S = 10.0
_PATIENCE_S = 1.0


class Listener(Protocol):
    """Shows it on a bus; all is called in the daemon's event loop."""

    def refreshed(self) -> None:
        """There is a new reading."""

    def port(self, name: str, there: bool) -> None:
        """A port of the mesh has its flows, or is gone."""

    def progress(self, number: int, progress: RunProgress) -> None:
        """A run goes on."""

    def drifted(self, plugin: str, changes: Sequence[ResourceChange], repaired: bool) -> None:
        """Something was not as it was declared."""


@dataclass(frozen=True)
class Audience:
    """A bus on which it is shown: the objects there, who calls, and who may do what."""

    listener: Listener
    callers: Callers
    authority: Authority


@dataclass(frozen=True)
class ClientNow:
    """A client that is registered, and what its tunnel says."""

    client: Client
    status: ClientStatus


@dataclass(frozen=True)
class PluginNow:
    """A plugin, whether it can work here, and the loop that keeps what it declares (None until the
    daemon has begun to)."""

    plugin: Plugin
    available: Availability
    loop: Loop | None


class View:
    """The machine as the engine keeps it, and the node as it was read last.

    `controller` is there while a node is kept.
    """

    def __init__(
        self,
        engine: Engine,
        node_plugin: PrivacyRouterPlugin,
        file: ConfigFile,
        reload: Callable[[int | None], Awaitable[None]],
        *,
        supervised: bool = False,
    ) -> None:
        self.engine = engine
        self.node_plugin = node_plugin
        self.file = file
        self.checkpoints = Checkpoints(engine)
        self.reload = reload
        self.supervised = supervised
        self.reconciler = Reconciler(engine, self)
        self.controller: Controller | None = None
        self._audience: Audience | None = None
        self.hops: dict[str, HopStatus] = {}
        self.clients: dict[str, ClientNow] = {}
        self.plugins = {
            name: PluginNow(plugin, AVAILABLE, None) for name, plugin in engine.plugins.items()
        }
        self.rtt_ms: dict[str, float] = {}
        self.pending: list[Change] = []
        self.last_repair: tuple[int, list[Change]] = (0, [])
        self._read_at: float | None = None
        self._looked_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def node(self) -> Controller:
        """The controller of the node. Raises NoNodeError."""
        if self.controller is None:
            raise NoNodeError
        return self.controller

    @property
    def flows(self) -> FlowKeeper:
        """The flows of the node. Raises NoNodeError."""
        if self.node.flows is None:
            raise NoNodeError
        return self.node.flows

    @property
    def trouble(self) -> str:
        """What is amiss, or nothing."""
        of_node = [] if self.controller is None else self.controller.complaints()
        of_plugins = [
            f"{name}: {loop.trouble}"
            for name, loop in self.reconciler.loops.items()
            if loop.trouble and name != self.node_plugin.name  # that is in `of_node`
        ]
        waiting = [f"{name}: {reason}" for name, reason in self.engine.troubles.items()]
        note = self.file.note
        of_file = note.words if note is not None and note.is_waiting else ""
        own = (self.engine.trouble, of_file, *of_node, self.node_plugin.trouble)
        return "; ".join(filter(None, [*own, *waiting, *of_plugins]))

    @property
    def state(self) -> str:
        """`idle` without a node, `starting` until it was read once, then `up`, or `quiet` when
        nothing has passed the chain within the last seconds, or `degraded` when anything is
        amiss."""
        if self.controller is None:
            return "degraded" if self.trouble else "idle"
        if self._read_at is None:
            return "starting"
        if self.trouble or any(hop.state not in ("up", "quiet") for hop in self.hops.values()):
            return "degraded"
        return "up" if self.controller.health.is_proven else "quiet"

    @property
    def names(self) -> dict[int, str]:
        """The bridge's ports by their OpenFlow numbers."""
        if self.controller is None or self.controller.flows is None:
            return {}
        return port_names(self.controller.desired, self.controller.flows)

    @asynccontextmanager
    async def admitted(
        self, arguments: Sequence[Any], longest: int, *, looks: bool
    ) -> AsyncIterator[None]:
        """Have a call carried out inside, within the limits of its caller (callers.py)."""
        if self._audience is None:
            yield
            return
        async with self._audience.callers.admitted(arguments, longest, looks=looks):
            yield

    async def trust(self) -> Trust:
        """Whose a document is that the present caller hands over."""
        audience = self._audience
        if audience is None or (await audience.callers.identity()).is_root:
            return Trust.OWNER
        return Trust.CALLER

    async def caller_pid(self) -> int | None:
        """The process of the present caller, if the bus knows callers."""
        audience = self._audience
        return None if audience is None else (await audience.callers.identity()).pid

    async def require(self, action: Action) -> None:
        """Refuse who may not do that. Raises the bus' AccessDenied."""
        if self._audience is not None:
            await self._audience.authority.require(action)

    # --- on a bus --------------------------------------------------------------------------------

    def show_to(self, audience: Audience) -> None:
        """It is shown there from now on."""
        self._audience = audience

    def hide(self) -> None:
        """It is shown nowhere any more."""
        self._audience = None

    @property
    def registered(self) -> Clients:
        """The clients of the node. Raises NoNodeError."""
        node = self.node
        return Clients(node.desired.pipeline.config, node.machine, self._read_clients)

    async def _read_clients(self) -> bool:
        async with self.engine.lock:
            await self.node_plugin.reload_clients()
        return True

    # --- told by the engine and the reconciler ---------------------------------------------------

    def progress(self, progress: RunProgress) -> None:
        """A run goes on."""
        number = self.engine.running
        self._tell(lambda listener: listener.progress(number, progress))

    def settled(self) -> None:
        """What is kept, or what a loop says, has changed."""
        self._looked_at = None
        self.reconciler.refresh()
        self._read_for_listener()

    def drifted(self, plugin: str, changes: Sequence[ResourceChange], repaired: bool) -> None:
        """Something was not as it was declared."""
        self._tell(lambda listener: listener.drifted(plugin, changes, repaired))
        self._read()

    def attach(self, controller: Controller | None) -> None:
        """A node is kept from now on, or none any more."""
        self.controller = controller
        if controller is None:
            self.hops, self.clients, self.rtt_ms, self.pending = {}, {}, {}, []
        else:
            self.follow()
        self._read_for_listener()

    # --- told by the controller ------------------------------------------------------------------

    def follow(self) -> None:
        """Be told by the controller and its flows."""
        self.node.on_pass = self._note_pass
        self.node.health.on_change = self._read_for_listener
        self.flows.on_repaired = self.note_repair
        self.flows.on_port = self._note_port

    async def leave(self) -> None:
        """End a reading that goes on."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _note_pass(self, made: list[Change]) -> None:
        if made:
            self.note_repair(made)
        else:
            self._read()

    def note_repair(self, made: list[Change]) -> None:
        """These changes were made, perhaps none."""
        if not made:
            return
        self.last_repair = (int(time.time()), made)
        self._tell(lambda listener: self._tell_of_node(listener, made))
        self._read()

    def _tell_of_node(self, listener: Listener, made: list[Change]) -> None:
        listener.drifted(self.node_plugin.name, item_changes(made, self.names), True)

    def _note_port(self, name: str, there: bool) -> None:
        self._tell(lambda listener: listener.port(name, there))

    def _tell(self, what: Callable[[Listener], None]) -> None:
        """The controller calls this, and must not be hurt by what the bus makes of it."""
        if self._audience is None:
            return
        try:
            what(self._audience.listener)
        except Exception as error:
            _log.error("D-Bus was not told", error=type(error).__name__, reason=str(error))

    # --- reading ---------------------------------------------------------------------------------

    async def fresh(self) -> None:
        """Return when what is here is no older than two seconds, or the machine takes too long.

        A chain through which nothing passes at the moment is asked, since a caller wants to know.
        """
        if self.controller is not None:
            await self.controller.health.prove(_PATIENCE_S)
        if self._read_at is None or time.monotonic() - self._read_at > _FRESH_S:
            await asyncio.wait({self._read()}, timeout=_PATIENCE_S)

    def _read_for_listener(self) -> None:
        if self._audience is not None:
            self._read()

    def _read(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._refresh(), context=context_of(MACHINE))
        return self._reading

    async def _refresh(self) -> None:
        try:
            if self.controller is not None:
                changes = await self.differences() if self.controller.trouble else []
                await in_thread(self._look, self.controller, changes)
            await self._look_at_plugins()
        except FAILURES as error:
            _log.debug("the state for D-Bus was not read", reason=str(error))
        finally:
            self._read_at = time.monotonic()
            self._reading = None
        self._tell(lambda listener: listener.refreshed())

    def _look(self, controller: Controller, changes: list[Change]) -> None:
        config, machine = controller.desired.pipeline.config, controller.machine
        known = clients.load(config, machine.paths) if config.wireguard.enabled else ()
        hops, statuses = quick_status(config, machine, known, changes, controller.health.rows())
        self.hops = {hop.name: hop for hop in hops}
        self.clients = {
            client.name: ClientNow(client, status)
            for client, status in zip(known, statuses, strict=True)
        }

    async def differences(self) -> list[Change]:
        """What is different on the node now. Raises what reading it does, and NoNodeError."""
        self.pending = await observe_all(self.node.desired, self.node.machine, self.flows)
        return self.pending

    async def status(self) -> NodeStatus:
        """The node as it is now, without asking anything through its chain. Raises NoNodeError, and
        what reading it does."""
        local = await look_at_kept(self.node.desired, self.node.machine, self.flows, os.getpid())
        return await in_thread(self._status_of, local)

    def _status_of(self, local: Local) -> NodeStatus:
        source = self.engine.journal.source_in_force() or self.engine.source
        document = source.name if Path(source.name).is_absolute() else ""
        told = ask_chain(local, may_ask=False)
        return status_of(local, told, NOT_ASKED, Kept(document, self.file.difference(source)))

    async def probe(self) -> NodeStatus:
        """The same, after asking the outside with a few small requests; the round trips to the
        hops stay known."""
        config = self.node.desired.pipeline.config
        found = await in_thread(lambda: read_status(config, probe=True))
        self.rtt_ms = {hop.name: hop.rtt_ms for hop in found.hops if hop.rtt_ms is not None}
        return found

    async def _look_at_plugins(self) -> None:
        """Services come and go more seldom than bytes."""
        now_s = time.monotonic()
        if self._looked_at is not None and now_s - self._looked_at < _PLUGINS_FRESH_S:
            return
        self._looked_at = now_s
        plugins = self.engine.plugins.values()
        found = await asyncio.gather(*(self._availability(plugin) for plugin in plugins))
        for plugin, available in zip(plugins, found, strict=True):
            loop = self._loop(plugin.name)
            self.plugins[plugin.name] = PluginNow(plugin, available, loop)

    async def _availability(self, plugin: Plugin) -> Availability:
        try:
            return await availability(plugin)
        except PrivacyRouterError as error:
            return Availability(error.message, error.remedy)

    def _loop(self, name: str) -> Loop | None:
        return self.reconciler.loops.get(name)
