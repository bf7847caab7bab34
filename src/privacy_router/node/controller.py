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
from typing import TYPE_CHECKING, Any

import structlog

from privacy_router.errors import PrivacyRouterError, VerificationError
from privacy_router.host import namespaces, processes
from privacy_router.host.netlink_library import NetlinkError
from privacy_router.host.nftables import NftablesError
from privacy_router.host.threads import in_thread
from privacy_router.host.uapi import UapiError
from privacy_router.node.apply import Applier, ApplyError
from privacy_router.node.engine import FlowEngine
from privacy_router.node.liveness import Liveness
from privacy_router.node.network_watch import NetworkWatch
from privacy_router.node.observe import observe, read_bridge
from privacy_router.node.tunnels import EndpointMemory
from privacy_router.node.unheard_watch import UnheardWatch
from privacy_router.ovsdb.watch import BridgeWatch
from privacy_router.plan.chain import GATEWAY_NAMESPACE, NAMESPACES
from privacy_router.plan.state import HOST, diff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from privacy_router.node.machine import Machine
    from privacy_router.ovsdb.watch import BridgeChange
    from privacy_router.plan.state import Change, DesiredState

_log = structlog.get_logger()

_PASSES = 5
_FULL_PASS_S = 30.0
_ENDPOINT_PERIOD_S = 2.0
_CALL_PERIOD_S = 0.3
_RETRY_FIRST_S = 0.2
_RETRY_MOST_S = 5.0
_FAILURES = (PrivacyRouterError, OSError, NetlinkError, NftablesError, UapiError)
_LOG_LIMIT_BYTES = 4 * 1024 * 1024


async def observe_all(desired: DesiredState, machine: Machine, engine: FlowEngine) -> list[Change]:
    """What is different from `desired` right now."""
    rest = await _differences(desired, machine)
    return [*rest, *await engine.differences()]


async def converge(desired: DesiredState, machine: Machine, engine: FlowEngine) -> list[Change]:
    """Make the node be `desired`; return the changes that were made.

    The flows come last in each pass: while ovsdb-server is away, vswitchd neither forwards nor
    answers, and waiting for it would keep ovsdb-server away.
    Raises VerificationError when what is read back stays different, and whatever a change raises.
    """
    made: list[Change] = []
    for attempt in range(1, _PASSES + 1):
        rest = await _differences(desired, machine)
        try:
            if rest:
                applier = Applier(desired, machine)
                await in_thread(applier.apply, rest, on_cancel=applier.stop)
        except ApplyError as error:
            if not error.retryable or attempt == _PASSES:
                raise
            made += rest
            continue  # something went while it was being changed; what is there now, is read again
        changes = rest + await engine.repair()
        if not changes:
            return made
        made += changes
    names = ", ".join(f"{c.key.kind.name.lower()} {c.key.name}" for c in changes[:5])
    raise VerificationError(
        f"the node does not become what it should be: {names}",
        remedy="another program may be changing the same things; see the logs in the run directory",
        retryable=True,
    )


async def _differences(desired: DesiredState, machine: Machine) -> list[Change]:
    return diff(desired.items, await in_thread(observe, desired, machine))


async def make_engine(
    desired: DesiredState, machine: Machine, on_lost: Callable[[], None] | None = None
) -> FlowEngine:
    """The flow engine of that node, with the ports that its bridge has now."""
    engine = FlowEngine(desired.bridge.name, machine.ovs_socket, desired.pipeline, on_lost)
    row = await in_thread(read_bridge, desired.bridge.name, machine)
    if row is not None:
        engine.set_rows(row.ports.values())
    return engine


def _waiting(asked: list[asyncio.Future[list[Change]]]) -> list[asyncio.Future[list[Change]]]:
    """Without those whose callers gave up."""
    return [one for one in asked if not one.done()]


def _ended() -> ApplyError:
    return ApplyError("the controller of the node has ended", retryable=True)


def _in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Something that goes on beside the passes; what ends it by a defect is in the log."""
    task = asyncio.create_task(work)
    task.add_done_callback(_complain)
    return task


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a watch of the node ended; the clock does its work", reason=repr(error))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Controller:
    """Keeps one node; `reload` gives the desired state anew when keys or clients have changed.

    `on_pass` is told what each pass of keeping it so has changed, `trouble` says why the last one
    failed, and `flows` is there while it runs.
    """

    desired: DesiredState
    machine: Machine
    reload: Callable[[], DesiredState]
    on_pass: Callable[[list[Change]], None] | None = None
    trouble: str = ""
    flows: FlowEngine | None = None
    _asked: list[asyncio.Future[list[Change]]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False
    _reload_asked: bool = True  # clients may have come since `desired` was worked out
    _watched: dict[int, int] = field(default_factory=dict)
    _alive: dict[int, processes.Process] = field(default_factory=dict)

    async def run(self, on_ready: Callable[[], None], *, patient: bool = False) -> None:
        """Bring the node up, report it, and keep it until told to stop.

        Raises what the first convergence raises; later failures, and with `patient` the first ones
        too, are logged and tried again.
        """
        loop = asyncio.get_running_loop()
        engine = await make_engine(self.desired, self.machine, self._wake.set)
        self.flows = engine
        watch: BridgeWatch | None = None
        network = NetworkWatch(self._hear)
        tasks = [_in_background(self._keep_endpoints())]
        try:
            if not patient:
                await converge(self.desired, self.machine, engine)
            self._watch_processes(loop)
            watch = self._watch_bridge(engine, loop)
            tasks += [_in_background(engine.run()), _in_background(network.run())]
            tasks += [_in_background(watch.run()) for watch in self._polls()]
            on_ready()
            await self._keep(engine, network)
        finally:
            self.flows = None
            self._refuse_waiting()
            await _end(tasks)
            self._forget_processes(loop)
            await engine.close()
            if watch is not None:
                await in_thread(watch.end)

    def _hear(self) -> None:
        """Look at once, unless the last look ended badly: then it is tried again soon anyhow, and
        what is heard may be of the failed try."""
        if not self.trouble:
            self._wake.set()

    def _places(self) -> set[str]:
        """The namespaces that the node has something in: often nothing in the host's."""
        return {key.where for key in self.desired.items} & {HOST, *NAMESPACES}

    def _watch_bridge(self, engine: FlowEngine, loop: asyncio.AbstractEventLoop) -> BridgeWatch:
        """Ports of containers are the engine's; all else of the bridge takes a look at the node."""

        def tell(change: BridgeChange) -> None:
            engine.note_rows(change.ports)
            ours = {port.name for port in self.desired.bridge.ports}
            if change.bridge or not ours.isdisjoint(change.ports):
                self._wake.set()

        def on_change(change: BridgeChange) -> None:
            loop.call_soon_threadsafe(tell, change)

        return BridgeWatch(self.machine.ovs_socket, self.desired.bridge.name, on_change)

    def _polls(self) -> tuple[UnheardWatch, Liveness]:
        """What looks at what no event tells of."""

        def desired() -> DesiredState:
            return self.desired

        return (
            UnheardWatch(desired, self.machine, self._hear),
            Liveness(desired, self.machine, self._alive.values, self._hear),
        )

    def stop(self) -> None:
        """Have `run` return; the node stays as it is."""
        self._stopping = True
        self._wake.set()

    def replace(self, desired: DesiredState) -> None:
        """Keep another state from now on, on the same bridge. Raises what compiling it does, and
        keeps the old one."""
        if self.flows is not None:
            self.flows.set_pipeline(desired.pipeline)
        self.desired = desired

    def ask_reload(self) -> None:
        """Have keys and clients read again with the next pass, which is now."""
        self._reload_asked = True
        self._wake.set()

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

    async def _reload(self) -> None:
        self._reload_asked = False
        try:
            desired = await in_thread(self.reload)
            self.replace(desired)
        except _FAILURES as error:
            _log.error("configuration not read again, the old one stays", reason=str(error))

    async def _keep(self, engine: FlowEngine, network: NetworkWatch) -> None:
        loop = asyncio.get_running_loop()
        delay_s = _RETRY_FIRST_S
        while not self._stopping:
            self._wake.clear()
            if self._reload_asked:
                await self._reload()
            try:
                await self._pass(engine)
                delay_s = _RETRY_FIRST_S
                timeout_s = _FULL_PASS_S
            except _FAILURES as error:
                remedy = getattr(error, "remedy", "")
                _log.error(
                    "repair failed, trying again", reason=str(error), remedy=remedy, in_s=delay_s
                )
                timeout_s = delay_s
                delay_s = min(delay_s * 2, _RETRY_MOST_S)
            self._watch_processes(loop)
            network.follow(self._places())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)

    async def _pass(self, engine: FlowEngine) -> None:
        """One pass, whose outcome those are told who asked for it, and who is told of all."""
        asked, self._asked = self._asked, []
        made: list[Change] = []
        try:
            made = await self._repair(engine)
            self.trouble = ""
            for one in _waiting(asked):
                one.set_result(made)
        except _FAILURES as error:
            self.trouble = str(error)
            for one in _waiting(asked):
                one.set_exception(error)
            raise
        finally:
            if self.on_pass is not None:
                self.on_pass(made)

    async def _repair(self, engine: FlowEngine) -> list[Change]:
        made = await converge(self.desired, self.machine, engine)
        for change in made:
            _log.warning("repaired", kind=change.key.kind.name.lower(), what=change.key.name)
        await in_thread(self._trim_logs)
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
            except _FAILURES as error:
                lost = False
                _log.debug("the gateway does not answer", reason=str(error))
            await asyncio.sleep(_CALL_PERIOD_S if lost else _ENDPOINT_PERIOD_S)
