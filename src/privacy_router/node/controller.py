"""The controller: make the node what it should be, then keep watch and bring back what breaks.

One rule for all of it: read everything back, take the difference, apply the difference, read
again. The first start, a repair, a changed configuration and a controller that was killed halfway
are the same case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import FAILURES
from privacy_router.hops.gateway.hop import GATEWAY_NAMESPACE
from privacy_router.host import namespaces, processes
from privacy_router.host.threads import in_thread
from privacy_router.node import converge, places
from privacy_router.node.bridge_row import read_bridge
from privacy_router.node.endpoint_memory import EndpointMemory
from privacy_router.node.endpoint_watch import EndpointWatch
from privacy_router.node.flows.keeper import FlowKeeper
from privacy_router.node.health import HealthWatch
from privacy_router.node.kinds.session import ApplyError
from privacy_router.node.liveness import Liveness
from privacy_router.node.network_watch import NetworkWatch
from privacy_router.node.supervision import Supervisor, words
from privacy_router.node.unheard_watch import UnheardWatch
from privacy_router.ovsdb.watch import BridgeWatch
from privacy_router.values.items import HOST, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from privacy_router.node.machine import NodeHost
    from privacy_router.ovsdb.watch import BridgeChange
    from privacy_router.plan.desired import DesiredState, NodeState
    from privacy_router.values.items import Change

_log = structlog.get_logger()

_FULL_PASS_S = 30.0
_ENDPOINT_PERIOD_S = 2.0
_CALL_PERIOD_S = 0.3
_RETRY_FIRST_S = 0.2
_RETRY_MOST_S = 5.0
_OWN_EVENTS_S = 1.0
"""For how long after a pass the kernel's events may still be told of that pass' own doings."""
_LOG_LIMIT_BYTES = 4 * 1024 * 1024


async def make_engine(
    desired: NodeState, machine: NodeHost, on_lost: Callable[[], None] | None = None
) -> FlowKeeper:
    """The flow engine of that node, with the ports that its bridge has now.

    One that keeps watch (`on_lost`) begins closed: what it puts right before the node was read back
    must not open the tunnel.
    """
    name, socket = desired.bridge.name, machine.ovs_socket
    engine = FlowKeeper(name, socket, desired.pipeline, on_lost, closed=on_lost is not None)
    row = await in_thread(read_bridge, desired.bridge.name, machine)
    if row is not None:
        engine.set_rows(row.ports.values())
    return engine


def _waiting(asked: list[asyncio.Future[list[Change]]]) -> list[asyncio.Future[list[Change]]]:
    """Without those whose callers gave up."""
    return [one for one in asked if not one.done()]


def _ended() -> ApplyError:
    return ApplyError("the controller of the node has ended", retryable=True)


@dataclass
class Controller:
    """Keeps one node; `reload` gives the desired state anew when clients have changed,
    `endpoint_again` when another address was chosen for WARP's endpoint.

    `on_pass` is told what each pass of keeping it so has changed, `trouble` says why the last one
    failed, and `flows` is there while it runs. A look that fails, by any exception, is a failed
    pass, which is tried again; a watch that ends is begun anew, and `degraded` meanwhile.
    """

    desired: DesiredState
    machine: NodeHost
    reload: Callable[[], DesiredState]
    endpoint_again: Callable[[], DesiredState] | None = None
    on_pass: Callable[[list[Change]], None] | None = None
    trouble: str = ""
    flows: FlowKeeper | None = None
    _asked: list[asyncio.Future[list[Change]]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False
    _failed_at: float = -_OWN_EVENTS_S  # by the loop's clock: when the last failed pass ended
    _watched: dict[int, int] = field(default_factory=dict)
    _alive: dict[int, processes.Process] = field(default_factory=dict)
    _supervisor: Supervisor = field(init=False)
    _endpoint: EndpointWatch = field(init=False)
    health: HealthWatch = field(init=False)
    _told: str = ""
    _bridge_watch: BridgeWatch | None = None
    _read_back: DesiredState | None = None  # the last state that the whole node was found in

    def __post_init__(self) -> None:
        """What a watch that ended did not see is looked for by a pass."""
        self._supervisor = Supervisor(self._on_change)
        self._endpoint = EndpointWatch(lambda: self.desired, self.machine, self._adopt_endpoint)
        self.health = HealthWatch(
            self.machine,
            lambda: self.desired.pipeline.config,
            self.complaints,
            lambda: self.flows is not None and self.flows.closed,
        )

    def complaints(self) -> list[str]:
        """What does not work of keeping the node: the last pass, watches that ended."""
        watches = [f"the watch of {name} ended: {why}" for name, why in self.degraded.items()]
        return [*filter(None, [self.trouble, self._endpoint.trouble]), *watches]

    @property
    def degraded(self) -> Mapping[str, str]:
        """The watches that do not work at the moment, with the reason: their work is done by the
        clock."""
        deaf = self._bridge_watch.trouble if self._bridge_watch is not None else ""
        return {**self._supervisor.degraded, **({"the bridge": deaf} if deaf else {})}

    async def run(self, on_ready: Callable[[], None], *, patient: bool = False) -> None:
        """Bring the node up, report it, and keep it until told to stop.

        Raises what the first convergence raises; later failures, and with `patient` the first ones
        too, are logged and tried again.
        """
        loop = asyncio.get_running_loop()
        engine = await make_engine(self.desired, self.machine, self._wake.set)
        self.flows = engine
        network = NetworkWatch(self._on_network_change, self._supervisor)
        self._supervisor.keep("the clients' endpoints", self._keep_endpoints)
        try:
            if not patient:
                await self._converge(engine)
            self._watch_processes(loop)
            self._supervisor.keep("the bridge", lambda: self._watch_bridge(engine))
            self._supervisor.keep("the flows", engine.run)
            self._supervisor.keep("the run directory", self._watch_places)
            self._supervisor.keep("the namespaces", network.run)
            self._supervisor.keep("what passes", self.health.run)
            self._supervisor.keep("WARP's endpoint", self._endpoint.run)
            self._supervisor.keep("what no event tells of", self._watch_unheard)
            self._supervisor.keep("whether processes serve", self._watch_liveness)
            on_ready()
            await self._keep(engine, network)
        finally:
            self.flows = None
            self._refuse_waiting()
            await self._supervisor.end()
            self._forget_processes(loop)
            await engine.close()

    def _on_change(self) -> None:
        """Look at once, unless the last look ended badly: then it is tried again soon anyhow, and
        what is heard may be of the failed try."""
        if not self.trouble:
            self._wake.set()

    def _on_network_change(self) -> None:
        """Look at once, also after a failed pass: what made it fail, an uplink that was gone, may
        just have come back. Only what that pass did itself is no reason to try again."""
        if asyncio.get_running_loop().time() >= self._failed_at + _OWN_EVENTS_S:
            self._wake.set()

    def _places(self) -> set[str]:
        """The namespaces that the node has something in: often nothing in the host's."""
        return {key.where for key in self.desired.items} & {HOST, *self.machine.hops.namespaces}

    async def _watch_bridge(self, engine: FlowKeeper) -> None:
        """Ports of containers are the engine's; all else of the bridge takes a look at the node."""
        loop = asyncio.get_running_loop()

        def tell(change: BridgeChange) -> None:
            engine.note_rows(change.ports)
            ours = {port.name for port in self.desired.bridge.ports}
            if change.bridge or not ours.isdisjoint(change.ports):
                self._wake.set()

        def on_change(change: BridgeChange) -> None:
            loop.call_soon_threadsafe(tell, change)

        watch = BridgeWatch(self.machine.ovs_socket, self.desired.bridge.name, on_change)
        self._bridge_watch = watch
        try:
            await asyncio.wrap_future(watch.ended)
        finally:
            self._bridge_watch = None
            await in_thread(watch.end)

    async def _watch_places(self) -> None:
        await places.watch(self.machine, lambda: self.desired, self._on_change)

    async def _watch_unheard(self) -> None:
        await UnheardWatch(lambda: self.desired, self.machine, self._on_change).run()

    async def _watch_liveness(self) -> None:
        running = self._alive.values
        await Liveness(lambda: self.desired, self.machine, running, self._on_change).run()

    def stop(self) -> None:
        """Have `run` return; the node stays as it is."""
        self._stopping = True
        self._wake.set()

    def replace(self, desired: DesiredState) -> None:
        """Keep another state from the next pass on, on the same bridge. Raises what compiling it
        does, and keeps the old one."""
        _ = desired.pipeline.base
        self.desired = desired

    async def repair(self) -> list[Change]:
        """Have a full pass now; what it changed. Raises what it fails with, ApplyError where none
        comes any more."""
        if self.flows is None:
            raise _ended()
        asked: asyncio.Future[list[Change]] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._wake.set()
        return await asked

    def _refuse_waiting(self) -> None:
        """Tell those who still wait for a pass that none comes any more."""
        asked, self._asked = self._asked, []
        for one in _waiting(asked):
            one.set_exception(_ended())

    async def _adopt_endpoint(self) -> None:
        """Have WARP's tunnel lead where the state directory says now. Raises what a pass fails
        with."""
        await self._reload(self.endpoint_again)
        await self.repair()

    async def _reload(self, read: Callable[[], DesiredState] | None = None) -> None:
        before = self.desired
        try:
            desired = await in_thread(read or self.reload)
            if self.desired is before:  # else another was given meanwhile
                self.replace(desired)
        except Exception as error:
            self._log_failure("configuration not read again, the old one stays", error)

    async def _keep(self, engine: FlowKeeper, network: NetworkWatch) -> None:
        loop = asyncio.get_running_loop()
        delay_s = _RETRY_FIRST_S
        await self._reload()  # clients may have come since `desired` was worked out
        while not self._stopping:
            self._wake.clear()
            try:
                await self._pass(engine)
                self._watch_processes(loop)
                network.follow(self._places())
                delay_s = _RETRY_FIRST_S
                timeout_s = _FULL_PASS_S
            except Exception as error:
                self.trouble = words(error)
                self._failed_at = loop.time()
                self._log_failure("repair failed, trying again", error, in_s=delay_s)
                timeout_s = delay_s
                delay_s = min(delay_s * 2, _RETRY_MOST_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)

    def _log_failure(self, what: str, error: Exception, **more: object) -> None:
        """Say what failed; the trace of a defect once."""
        reason = words(error)
        defect = None if isinstance(error, FAILURES) or reason == self._told else error
        self._told = reason
        remedy = getattr(error, "remedy", "")
        _log.error(what, reason=reason, remedy=remedy, exc_info=defect, **more)

    async def _pass(self, engine: FlowKeeper) -> None:
        """One pass, whose outcome those are told who asked for it, and who is told of all."""
        asked, self._asked = self._asked, []
        made: list[Change] = []
        try:
            made = await self._repair(engine)
            self.trouble = ""
            for one in _waiting(asked):
                one.set_result(made)
        except Exception as error:
            self.trouble = words(error)
            for one in _waiting(asked):
                one.set_exception(error)
            raise
        finally:
            if self.on_pass is not None:
                self.on_pass(made)

    async def _repair(self, engine: FlowKeeper) -> list[Change]:
        is_known = self.desired is self._read_back
        made = await self._converge(engine)
        if made:
            self.health.stir()
        if made and is_known:
            _log.warning("repaired", changes=len(made), what=summary(made))
        elif made:
            _log.info("the node is as declared", changes=len(made))
        await in_thread(self._trim_logs)
        return made

    async def _converge(self, engine: FlowKeeper) -> list[Change]:
        desired = self.desired
        if desired is self._read_back:
            return await converge.repair(desired, self.machine, engine)
        self._read_back = None
        made = await converge.change(desired, self.machine, engine)
        self._read_back = desired
        return made

    def _trim_logs(self) -> None:
        for path in self.machine.paths.logs.glob("*.log"):
            if path.stat().st_size > _LOG_LIMIT_BYTES:
                path.write_bytes(b"")  # opened for append by its writer, so this is safe

    # --- processes -------------------------------------------------------------------------------

    def _watch_processes(self, loop: asyncio.AbstractEventLoop) -> None:
        for process in processes.running(self.machine.owner):
            if process.pid not in self._watched:
                descriptor = processes.open_pidfd(process)
                if descriptor is not None:
                    self._watched[process.pid] = descriptor
                    self._alive[process.pid] = process
                    loop.add_reader(descriptor, self._ended, loop, process)

    def _ended(self, loop: asyncio.AbstractEventLoop, process: processes.Process) -> None:
        descriptor = self._watched.pop(process.pid)
        del self._alive[process.pid]
        loop.remove_reader(descriptor)
        os.close(descriptor)
        processes.reap(process)
        _log.warning("process ended", process=process.name, pid=process.pid)
        self._wake.set()

    def _forget_processes(self, loop: asyncio.AbstractEventLoop) -> None:
        for descriptor in self._watched.values():
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()

    # --- clients ---------------------------------------------------------------------------------

    async def _keep_endpoints(self) -> None:
        """Note down where clients are, and call those that a restarted gateway lost."""
        memory = EndpointMemory(self.machine, namespaces.path_of(GATEWAY_NAMESPACE))
        while True:
            try:
                lost = await in_thread(memory.refresh)
            except FAILURES as error:
                lost = False
                _log.debug("the gateway does not answer", reason=str(error))
            await asyncio.sleep(_CALL_PERIOD_S if lost else _ENDPOINT_PERIOD_S)
