"""The whole node as one plugin: its changes are those of the domains it consists of.

They are made as one by the node's own applier, which knows in which order processes, ports and
devices need each other, and are kept so by its controller, which is told by the kernel, the
database and the switch of what happens.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from privacy_router.config import PrivacyRouterConfig
from privacy_router.engine.calls import unwaited
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Change, Desired, Observed, ResourceKey, Value
from privacy_router.engine.plugin import EVERYTHING, Plugin, Trust
from privacy_router.errors import PrivacyRouterError
from privacy_router.host.threads import NODE, context_of, in_thread
from privacy_router.node import clients, lifecycle, ownership, warp
from privacy_router.node import machine as machines
from privacy_router.node.controller import Controller, make_engine
from privacy_router.node.flows.table import FlowError
from privacy_router.node.inspection import port_names
from privacy_router.node.kinds.registry import KINDS
from privacy_router.node.observe import observe
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.secrets import KeptNode, make_keys, note_files, read_keys
from privacy_router.node.teardown import tear_down
from privacy_router.plan.compile import compile_node, plan_node
from privacy_router.plugins.privacy_router import resources as words
from privacy_router.plugins.privacy_router.intent import Draft, Intent, NodeObserved, firm
from privacy_router.plugins.privacy_router.keeper import NodeKeeper
from privacy_router.plugins.privacy_router.runtime_flows import RuntimeFlows, with_flows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from privacy_router.config import PrivacyFlow
    from privacy_router.engine.plugin import Progress
    from privacy_router.hops.keys import NodeKeys
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.node.paths import NodePaths
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change as ItemChange

_log = structlog.get_logger()
_STOP_S: Final = 30.0
_NOT_READ: Final = "not read again, and the node keeps those that it has"
_KEYS: Final = "keys and clients were"
_CLIENTS: Final = "clients were"
_ENDPOINT: Final = "the address of WARP's endpoint was"


class PrivacyRouterPlugin(Plugin):
    """Keeps a node on this machine.

    `on_node` is told of the controller whenever a node begins to be kept, and of None when that
    ends; `on_failure` of a controller that ended by a defect. `going_down`: what is undone is taken
    down, from any state before.
    """

    name = "privacy_router"
    title = "The whole node: every hop, its bridge and its flows"
    after = frozenset({"packagekit", "pcidecl", "net", "dns", "systemd", "login1"})
    capabilities = EVERYTHING
    timeout_s = 180.0

    def __init__(self, paths: NodePaths, *, going_down: bool = False) -> None:
        self._paths = paths
        self.added_flows = RuntimeFlows(paths.runtime_flows)
        self._going_down = going_down
        self._compiled_last: tuple[Any, DesiredState | None] = (None, None)
        self._kept: Intent | None = None
        self._task: asyncio.Task[None] | None = None
        self._before: Intent | None = None
        self._unread: dict[str, str] = {}
        self.controller: Controller | None = None
        self.on_node: Callable[[Controller | None], None] = lambda _: None
        self.on_failure: Callable[[BaseException], None] = lambda _: None

    @property
    def domains(self) -> frozenset[str]:
        """Its own, and those that its items belong to."""
        return frozenset({self.name, *KINDS.domains.values()})

    def keeper(self) -> NodeKeeper:
        """The node's controller."""
        return NodeKeeper(self)

    @property
    def trouble(self) -> str:
        """Why keys or clients could not be read again; the node keeps those that it has."""
        return "; ".join(f"{what} {_NOT_READ}: {why}" for what, why in self._unread.items())

    # --- what should be --------------------------------------------------------------------------

    async def prepare(self, section: Any) -> None:
        """Look whether a node can run here, and have its keys (and a WARP account) ready."""
        if self._kept is None or self._kept.config != section:
            await unwaited(lambda: self._prepare(section))

    def _prepare(self, config: PrivacyRouterConfig) -> None:
        lifecycle.ready_machine(config, self._paths)
        make_keys(config, self._paths, self._kept_keys)

    @property
    def _kept_keys(self) -> KeptNode | None:
        return None if self._kept is None else self._kept.kept

    def declare(self, section: Any) -> Desired:
        """The node of that configuration, with the keys that are there; all of them are."""
        if section is None:
            return Desired()
        intent = self._intent(section, machines.inspect(section, self._paths))
        return Desired(words.resources_of(intent.state.items), intent)

    def draft(self, section: Any, trust: Trust) -> Desired:
        """The node of that configuration to look at: stand-ins take the place of unknown keys, and
        of a caller's document no path is opened."""
        if section is None:
            return Desired()
        opens = trust is Trust.OWNER
        keys = plan_keys(section, self._paths, kept=self._kept_keys, opens_named_files=opens)
        machine = machines.inspect(section, self._paths)
        config = with_flows(section, self.added_flows.all())
        state = plan_node(config, keys, machine.facts, machine.hops)
        return Desired(words.resources_of(state.items), Draft(section, machine, state))

    def _intent(self, config: PrivacyRouterConfig, machine: NodeHost) -> Intent:
        """The node of the keys and clients that are there.

        Raises MissingFileError for a key that was there before.
        """
        keys = read_keys(config, self._paths, self._kept_keys)
        return self._compiled(config, machine, keys, self.added_flows.all())

    def _compiled(
        self,
        config: PrivacyRouterConfig,
        machine: NodeHost,
        keys: NodeKeys,
        flows: Sequence[PrivacyFlow],
    ) -> Intent:
        """The node of these keys, with these flows besides the configuration's."""
        inputs = (config, tuple(flows), keys, machine.facts)
        known, state = self._compiled_last
        if state is None or known != inputs:
            with_added = with_flows(config, flows)
            state = compile_node(with_added, keys, machine.facts, machine.hops)
            self._compiled_last = (inputs, state)
        return Intent(config, machine, keys, state)

    # --- what is ---------------------------------------------------------------------------------

    async def observe(self, desired: Desired) -> Observed:
        """The node's items, and the differences of its flows."""
        intent: Intent | Draft | None = desired.payload or self._kept
        if intent is None:
            return Observed()
        items = await in_thread(observe, intent.state, intent.machine)
        if desired.payload is None:
            return NodeObserved(words.values_of(items))
        changes = await self._flow_changes(intent)
        return NodeObserved(words.values_of(items), changes)

    async def _flow_changes(self, intent: Intent | Draft) -> list[Change]:
        """Where the flows are not as they should be; as one, where the switch does not answer,
        which is for the applier to put right."""
        flows = self._kept_flows(intent) or await make_engine(intent.state, intent.machine)
        try:
            changes = await flows.differences()
        except FlowError as error:
            key = ResourceKey("openflow", "switch", intent.state.bridge.name)
            return [Change(key, error.message, "answers")]
        finally:
            if self.controller is None or flows is not self.controller.flows:
                await flows.close()
        return words.flow_changes(changes, port_names(intent.state, flows))

    def _kept_flows(self, intent: Intent | Draft) -> FlowKeeper | None:
        """The flows of the controller, whose connections are there, if it is to keep the same."""
        kept, controller = self._kept, self.controller
        if kept is None or controller is None:
            return None
        same = kept.config == intent.config and controller.desired.items == intent.state.items
        return controller.flows if same else None

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """The node that is kept, its flows in words too."""
        if self._kept is None:
            return Observed()
        items = await in_thread(observe, self._kept.state, self._kept.machine)
        values = words.values_of(items) | await self._flow_values(self._kept)
        return Observed(values if keys is None else {k: values[k] for k in keys if k in values})

    async def _flow_values(self, intent: Intent) -> dict[ResourceKey, Value]:
        flows = await make_engine(intent.state, intent.machine)
        try:
            counted = await flows.counted()
        finally:
            await flows.close()
        names = port_names(intent.state, flows)
        return {
            ResourceKey("openflow", "flow", f"{intent.state.bridge.name}/{one.flow.key}"): (
                words.flow_value(one.flow, names)
            )
            for one in counted
        }

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """What is missing or different, what is too much, and the flows."""
        surplus = [
            Change(key, observed.values[key], None)
            for key in sorted(observed.values.keys() - desired.resources.keys())
        ]
        flows = observed.flow_changes if isinstance(observed, NodeObserved) else ()
        found = (*surplus, *super().diff(desired, observed), *flows)
        draft = desired.payload if isinstance(desired.payload, Draft) else None
        notes = {} if draft is None else words.notes_of(draft.state)
        return [replace(c, by=self.name, note=notes.get(c.key, "")) for c in found]

    # --- changing --------------------------------------------------------------------------------

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse another bridge while a node is up."""
        del changes
        intent = firm(desired)
        if intent is None or self._kept is None:
            return
        old, new = self._kept.config.bridge_name, intent.config.bridge_name
        if old != new:
            raise RefusedError(
                f"plugins.privacy_router.bridge_name: the node is up on {old}",
                remedy=f"privacy-router down, then up with {new}",
            )

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """The configuration that is kept now; without one, whether there is an unmanaged node:
        one that no document declared, so that nothing says how to bring it back."""
        del changes
        self._before = self._kept
        if self._kept is not None:
            return {"section": self._kept.config.model_dump(mode="json")}
        machine = await in_thread(machines.inspect, PrivacyRouterConfig(), self._paths)
        return {"section": None, "unmanaged_node": await in_thread(ownership.is_there, machine)}

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Make the node so: converge on it, or take it down."""
        del changes
        intent = firm(desired)
        if intent is None:
            tell("taking the node down")
            await self._take_down()
        else:
            tell(words.words_of(self._kept, intent))
            await self._converge(intent)

    async def verify(self, desired: Desired) -> list[Change]:
        """Converging is reading back until there is no difference, or raising."""
        del desired
        return []

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """Keep what was kept before, or take down what was begun."""
        section = checkpoint["section"]
        if section is None and words.is_unmanaged(checkpoint) and not self._going_down:
            _log.warning("the node was not declared by any document; it stays as it is, closed")
            return
        if section is None or self._going_down:
            tell("taking the node down")
            await self._take_down()
            return
        intent = await in_thread(self._intent_before, PrivacyRouterConfig.model_validate(section))
        if intent is not None:
            await self._converge(intent)

    def _intent_before(self, config: PrivacyRouterConfig) -> Intent | None:
        """The node of before a run, with the keys and the profile that it had: the files may say
        what is being undone. After a restart of ours only the files know."""
        if self._before is not None and self._before.config == config:
            return self._with_clients(self._before)
        return firm(self.declare(config))

    async def keep(self, desired: Desired) -> None:
        """Have a controller on what is declared, also after a restart of ours."""
        intent = firm(desired)
        if intent is not None and self._task is None and not self._going_down:
            await self._start(intent, patient=True)

    async def _converge(self, intent: Intent) -> None:
        if self.controller is None or self._task is None:
            await self._start(intent, patient=False)
            return
        before, self._kept = self._kept, intent
        try:
            self.controller.replace(intent.state)
            await self.controller.repair()
        except BaseException:
            self._kept = before
            raise
        self._unread.clear()

    async def _start(self, intent: Intent, *, patient: bool) -> None:
        controller = Controller(
            intent.state, intent.machine, self._clients_again, self._endpoint_again
        )
        self._kept, self.controller = intent, controller
        await in_thread(note_files, self._paths)
        ready = asyncio.Event()
        running = controller.run(ready.set, patient=patient)
        task = asyncio.create_task(running, context=context_of(NODE))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if not ready.is_set():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._kept = self.controller = None
        if task.done():
            await task
        self._task = task
        task.add_done_callback(self._ended)
        self.on_node(controller)

    async def reload(self) -> None:
        """Read the keys and the clients of the kept node again, and make the machine so.

        Raises what reading them does, and then keeps the node with what it has.
        """
        await self._follow(self._keys_again)

    async def reload_clients(self) -> None:
        """The same with the clients only: their register is the node's own, and of the other files
        some may hold what was not to be applied."""
        await self._follow(self._clients_again)

    async def _follow(self, read: Callable[[], DesiredState]) -> None:
        controller = self.controller
        if controller is None:
            return
        controller.replace(await in_thread(read))
        await controller.repair()

    def _keys_again(self) -> DesiredState:
        """The state to keep, with the keys and clients of now. Called in a thread.

        Raises what reading them does; `trouble` says so until it works again.
        """
        state = self._read(_KEYS, lambda kept: self._intent(kept.config, kept.machine))
        self._unread.clear()
        return state

    def _clients_again(self) -> DesiredState:
        """The same with the keys that the node has."""
        return self._read(_CLIENTS, self._with_clients)

    def _endpoint_again(self) -> DesiredState:
        """The same with the address of WARP's endpoint that was chosen last."""
        return self._read(_ENDPOINT, self._with_endpoint)

    def _read(self, what: str, read: Callable[[Intent], Intent]) -> DesiredState:
        kept = self._kept
        if kept is None:
            raise RefusedError("no node is kept")
        try:
            intent = read(kept)
        except PrivacyRouterError as error:
            self._unread[what] = error.message
            raise
        self._unread.pop(what, None)
        if self._kept is kept:  # else another node is kept by now
            self._kept = intent
        return intent.state

    def _with_clients(self, intent: Intent) -> Intent:
        """That node with the clients that are registered now."""
        known = clients.load_fitting(intent.config, self._paths, known=bool(intent.keys.clients))
        keys = replace(intent.keys, clients=known)
        return self._compiled(intent.config, intent.machine, keys, self.added_flows.all())

    def _with_endpoint(self, intent: Intent) -> Intent:
        """That node with WARP's peer where it was found now; of a profile that is another one by
        now nothing is taken."""
        tunnel, found = intent.keys.warp, warp.read_tunnel(intent.config, self._paths)
        if tunnel is None or tunnel.ends != found.ends:
            return intent
        keys = replace(intent.keys, warp=replace(tunnel, endpoint=found.endpoint))
        return self._compiled(intent.config, intent.machine, keys, self.added_flows.all())

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the node's controller ended", reason=repr(error))
            self.on_failure(error)

    # --- flows at run time -----------------------------------------------------------------------

    async def change_flows(self, flows: Sequence[PrivacyFlow]) -> list[ItemChange]:
        """Have these flows besides the configuration's, and no others; what that changed.

        Raises ConfigError and FlowRefusedError for what would bypass a hop or is no flow; then, and
        when the switch refuses them, all is as it was.
        """
        kept, controller = self._kept, self.controller
        if kept is None or controller is None:
            raise RefusedError("no node is up", remedy="privacy-router up")
        before = self.added_flows.all()
        intent = await in_thread(self._compiled, kept.config, kept.machine, kept.keys, flows)
        self.added_flows.write(flows)
        old = controller.desired
        try:
            controller.replace(intent.state)
            return await controller.repair()
        except BaseException:
            self.added_flows.write(before)
            controller.replace(old)
            raise

    # --- ending ----------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Keep the node no longer; it stays up and closed."""
        task, self._task = self._task, None
        controller, self.controller = self.controller, None
        if task is None or controller is None:
            return
        self.on_node(None)
        controller.stop()
        await asyncio.wait({task}, timeout=_STOP_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _take_down(self) -> None:
        kept, self._kept = self._kept, None
        self._unread.clear()
        await self.leave()
        config = PrivacyRouterConfig() if kept is None else kept.config
        machine = await in_thread(machines.inspect, config, self._paths)
        await in_thread(tear_down, machine, config.bridge_name)
