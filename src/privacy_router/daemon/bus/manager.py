"""The interface of the whole: documents, runs, checkpoints, and the node's state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from dbus_fast import Variant
from dbus_fast.annotations import DBusDict, DBusDouble, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import dbus_signal

from privacy_router import __version__
from privacy_router.client.names import client_path, hop_path, plugin_path
from privacy_router.client.rows import CLIENT_SIGNATURE
from privacy_router.daemon.bus.authority import Action
from privacy_router.daemon.bus.callers import DOCUMENT_CHARS
from privacy_router.daemon.bus.interface import Interface, Reading, answers
from privacy_router.daemon.bus.values import Changed, Resources, changed, resources, variant
from privacy_router.engine.document import Source
from privacy_router.engine.model import Observed, ResourceKey
from privacy_router.engine.plugin import Trust
from privacy_router.host.threads import in_thread
from privacy_router.report.changes import change_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.daemon.bus.values import Row
    from privacy_router.daemon.bus.view import View
    from privacy_router.engine.engine import Outcome
    from privacy_router.engine.model import Change as ResourceChange
    from privacy_router.engine.transaction import RunProgress
    from privacy_router.values.items import Change

Changes = Annotated[list[tuple[str, str, str, str]], DBusSignature("a(ssss)")]
Probed = Annotated[tuple[str, dict[str, float]], DBusSignature("sa{sd}")]
Ran = Annotated[tuple[int, list[Any]], DBusSignature("ua(ssssa{sv})")]
Checkpoints = Annotated[list[tuple[str, float, bool, int]], DBusSignature("a(sdbu)")]
Shown = Annotated[tuple[str, list[Any]], DBusSignature("sa(sssv)")]
Runs = Annotated[list[Any], DBusSignature("a(udssa(ssssa{sv}))")]
Step = Annotated[tuple[int, str, str, int, int, str], DBusSignature("ussuus")]
Drifted = Annotated[tuple[str, list[Any], bool], DBusSignature("sa(ssssa{sv})b")]
ClientStruct = Annotated[tuple[Any, ...], DBusSignature(CLIENT_SIGNATURE)]
Clients = Annotated[tuple[list[Any], str], DBusSignature(f"a{CLIENT_SIGNATURE}s")]
AddedClient = Annotated[tuple[Any, str, str], DBusSignature(f"{CLIENT_SIGNATURE}ss")]
Nothing = Annotated[None, DBusSignature("")]


class Manager(Interface):
    """The machine as declared, and the node as a whole."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Version": Reading("s", lambda _: __version__),
        "State": Reading("s", lambda self: self.view.state),
        "Trouble": Reading("s", lambda self: self.view.trouble),
        "Supervised": Reading("b", lambda self: self.view.supervised),
        "Awaiting": Reading("u", lambda self: self.view.engine.confirmation.number or 0),
        "AwaitingSeconds": Reading("d", lambda self: self.seconds_left(), steady=False),
        "Bridge": Reading("s", lambda self: self.bridge()),
        "Plugins": Reading("ao", lambda self: [plugin_path(n) for n in self.view.engine.plugins]),
        "Hops": Reading("ao", lambda self: [hop_path(name) for name in self.view.hops]),
        "Clients": Reading("ao", lambda self: [client_path(name) for name in self.view.clients]),
        "LastRepair": Reading("(ta(sss))", lambda self: self.last_repair()),
        "Pending": Reading("a(ssss)", lambda self: self.rows(self.view.pending)),
    }

    def __init__(self, view: View) -> None:
        super().__init__("org.opdbus.Manager", view)

    def bridge(self) -> str:
        """The node's bridge; none without a node."""
        controller = self.view.controller
        return "" if controller is None else controller.desired.bridge.name

    def seconds_left(self) -> float:
        """Until the run that waits is undone; 0 when none waits."""
        waits = self.view.engine.confirmation
        return 0.0 if waits.number is None else waits.left_s

    def last_repair(self) -> tuple[int, list[tuple[str, str, str]]]:
        """When something of the node was put right last, in seconds since 1970, and what."""
        at_s, changes = self.view.last_repair
        return (at_s, self.short(changes))

    def rows(self, changes: Sequence[Change]) -> list[tuple[str, str, str, str]]:
        """Verb, kind, where and name of each."""
        return change_rows(changes, self.view.names) if changes else []

    def short(self, changes: Sequence[Change]) -> list[tuple[str, str, str]]:
        """Verb, kind and name of each."""
        return [(verb, kind, name) for verb, kind, _, name in self.rows(changes)]

    # --- documents and runs ----------------------------------------------------------------------

    @answers("Plan", longest=DOCUMENT_CHARS)
    async def plan(self, document: DBusStr, base: DBusStr) -> Changed:
        """What a document would change; "" for the one that is kept. Its relative paths start at
        the directory `base`. Of a document of a caller other than root no path is opened: what
        depends on one is noted as not known."""
        trust = await self.view.trust() if document else Trust.OWNER
        source = self._source(document, base)
        return changed((await self.view.engine.preview(source, trust=trust)).changes)

    @answers("Apply", Action.APPLY)
    async def apply(self, document: DBusStr, base: DBusStr, confirm_within: DBusDouble) -> Ran:
        """Make the machine as a document says, as one transaction; the run's number (0: there was
        nothing to do) and what was changed. With `confirm_within` seconds (0: none) it is undone
        unless Confirm is called in time."""
        source = self._source(document, base)
        outcome = await self.view.engine.apply(
            source, _seconds(confirm_within), caller_pid=await self.view.caller_pid()
        )
        self.view.file.overrule()
        return _ran(outcome)

    @answers("Confirm", Action.CONFIRM)
    async def confirm(self) -> DBusUInt32:
        """Keep the run that waits to be confirmed; its number."""
        return await self.view.engine.confirm()

    @answers("Rollback", Action.RESTORE)
    async def rollback(self) -> DBusUInt32:
        """Undo the run that waits to be confirmed, or that could not be undone; its number."""
        return await self.view.engine.roll_back()

    @answers("Query")
    async def query(self, plugin: DBusStr) -> Resources:
        """What is there now: plugin, kind, name, value. "" for all plugins."""
        return resources(await self.view.engine.query(plugin))

    @answers("ListRuns")
    async def list_runs(self) -> Runs:
        """The newest runs: number, when (seconds since 1970), phase, reason, and what they changed
        (without the values)."""
        runs = await in_thread(self.view.engine.journal.runs)
        return [
            (run.number, run.started_at_s, run.phase.value, run.reason, _past(run.changes))
            for run in runs
        ]

    def _source(self, document: str, base: str) -> Source:
        return Source(document, base) if document else self.view.engine.source

    # --- checkpoints -----------------------------------------------------------------------------

    @answers("ListCheckpoints")
    async def list_checkpoints(self) -> Checkpoints:
        """Name, when (seconds since 1970), whether made by a run, and how many resources."""
        found = await self.view.checkpoints.all()
        return [(one.name, one.made_at_s, one.automatic, len(one.observed)) for one in found]

    @answers("MakeCheckpoint", Action.APPLY)
    async def make_checkpoint(self, name: DBusStr) -> Nothing:
        """Keep the present under a name."""
        await self.view.checkpoints.make(name)

    @answers("ShowCheckpoint", Action.RESTORE)
    async def show_checkpoint(self, name: DBusStr) -> Shown:
        """The document of then, and the resources that it was about."""
        one = await self.view.checkpoints.find(name)
        rows = one.observed
        values = {ResourceKey(*key): value for *key, value in rows if value is not None}
        return (one.source.text, resources(Observed(values)))

    @answers("DiffCheckpoint")
    async def diff_checkpoint(self, name: DBusStr) -> Changed:
        """What is different now: `before` is now, `after` was then."""
        return changed(await self.view.checkpoints.difference(name))

    @answers("RestoreCheckpoint", Action.RESTORE)
    async def restore_checkpoint(self, name: DBusStr, confirm_within: DBusDouble) -> Ran:
        """Apply the document of then; "" for the state before the last run."""
        outcome = await self.view.checkpoints.restore(
            name, _seconds(confirm_within), caller_pid=await self.view.caller_pid()
        )
        self.view.file.overrule()
        return _ran(outcome)

    @answers("DropCheckpoint", Action.APPLY)
    async def drop_checkpoint(self, name: DBusStr) -> Nothing:
        """Forget one."""
        await self.view.checkpoints.drop(name)

    @answers("PruneCheckpoints", Action.APPLY)
    async def prune_checkpoints(self, keep: DBusUInt32) -> DBusUInt32:
        """Forget all that runs made but the newest; how many went."""
        return await self.view.checkpoints.prune(keep)

    # --- clients ---------------------------------------------------------------------------------

    @answers("AddClient", Action.APPLY)
    async def add_client(self, name: DBusStr) -> AddedClient:
        """Register a client, answered when the gateway's device has it: the client, its
        configuration (the only copy, which has its private key), and what keeps that from working
        everywhere. Where the device does not get it there is no client either."""
        new = await self.view.registered.add(name)
        return (new.client.as_tuple(), new.configuration, new.remark)

    @answers("RemoveClient", Action.APPLY)
    async def remove_client(self, name: DBusStr) -> ClientStruct:
        """Forget a client, answered when the gateway's device has it no more."""
        return (await self.view.registered.remove(name)).as_tuple()

    @answers("ShowClient")
    async def show_client(self, name: DBusStr) -> ClientStruct:
        """Name, addresses, public key, when it was added (ISO 8601), endpoint, seconds since its
        last handshake (-1 for never), bytes received and sent."""
        return (await self.view.registered.show(name)).as_tuple()

    @answers("ListClients")
    async def list_clients(self) -> Clients:
        """All clients as ShowClient has them, and why the gateway could not be asked about them."""
        found = await self.view.registered.list()
        return ([client.as_tuple() for client in found.clients], found.trouble)

    # --- the node --------------------------------------------------------------------------------

    @answers("Status")
    async def status(self) -> DBusDict:
        """The state in one answer, read now, without asking the outside."""
        pending = await self._differences() if self.view.controller is not None else []
        await self.view.fresh()
        hops = [(hop.name, hop.state, hop.detail) for hop in self.view.hops.values()]
        clients = [(name, now.status.endpoint or "") for name, now in self.view.clients.items()]
        return {
            "State": Variant("s", "degraded" if pending else self.view.state),
            "Trouble": Variant("s", self.view.trouble),
            "ControllerPid": Variant("u", os.getpid()),
            "Hops": Variant("a(sss)", hops),
            "Clients": Variant("a(ss)", clients),
            "Pending": Variant("a(ssss)", self.rows(pending)),
        }

    @answers("Describe")
    async def describe(self) -> DBusDict:
        """All that `privacy-router status --no-probe --json` shows, read now, without asking
        anything through the chain; what is not known is left out."""
        found = (await self.view.status()).as_dict()
        return {name: variant(value) for name, value in found.items() if value is not None}

    @answers("Probe", Action.FLOWS)
    async def probe(self) -> Probed:
        """Ask the outside with a few small requests: which address sites see, "" when none
        answers, and milliseconds to the far side of each hop."""
        found = await self.view.probe()
        return (found.exit_ip or "", self.view.rtt_ms)

    @answers("Reload", Action.APPLY)
    async def reload(self) -> Nothing:
        """Apply the file if its content is new, else read the keys and the clients again."""
        await self.view.reload(await self.view.caller_pid())

    @answers("Repair", Action.FLOWS)
    async def repair(self) -> Changes:
        """A full pass over the node now; what it changed."""
        return self.rows(await self.view.node.repair())

    async def _differences(self) -> list[Change]:
        found = await self.view.differences()
        self.tell()
        return found

    # --- signals ---------------------------------------------------------------------------------

    @dbus_signal(name="Progress")
    def progress(self, number: int, progress: RunProgress) -> Step:
        """A run goes on: its number, phase, plugin, steps done and in all, and words."""
        return (
            number,
            progress.phase,
            progress.plugin,
            progress.done,
            progress.total,
            progress.text,
        )

    @dbus_signal(name="Drift")
    def drifted(self, plugin: str, changes: Sequence[ResourceChange], repaired: bool) -> Drifted:
        """Something was not as declared, also of the node; whether it was put right."""
        return (plugin, changed(changes), repaired)

    @dbus_signal(name="PortAdded")
    def port_added(self, name: str) -> DBusStr:
        """A port of the mesh has its flows."""
        return name

    @dbus_signal(name="PortRemoved")
    def port_removed(self, name: str) -> DBusStr:
        """A port of the mesh is gone, and its flows too."""
        return name


def _ran(outcome: Outcome) -> tuple[int, list[Row]]:
    return (outcome.number, changed(outcome.changes))


def _seconds(asked: float) -> float:
    """A negative or endless wait is none at all."""
    return asked if 0 < asked < float("inf") else 0.0


def _past(rows: Sequence[Sequence[Any]]) -> list[Row]:
    found = []
    for verb, plugin, kind, name, mode, by in rows:
        details = {"mode": variant(mode), **({"by": variant(by)} if by else {})}
        found.append((verb, plugin, kind, name, details))
    return found
