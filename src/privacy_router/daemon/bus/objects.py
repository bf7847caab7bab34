"""The interfaces of the manager, the hops and the clients."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from dbus_fast import Variant
from dbus_fast.annotations import DBusDict, DBusSignature, DBusStr
from dbus_fast.service import dbus_signal

from privacy_router import __version__
from privacy_router.daemon.bus.interface import Interface, Reading, answers
from privacy_router.daemon.bus.naming import client_path, hop_path
from privacy_router.daemon.bus.rows import change_rows
from privacy_router.node.status import read_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.daemon.bus.view import ClientNow, View
    from privacy_router.node.status import HopStatus, NodeStatus
    from privacy_router.plan.state import Change

Changes = Annotated[list[tuple[str, str, str, str]], DBusSignature("a(ssss)")]
Repairs = Annotated[list[tuple[str, str, str]], DBusSignature("a(sss)")]
Probed = Annotated[tuple[str, dict[str, float]], DBusSignature("sa{sd}")]
Nothing = Annotated[None, DBusSignature("")]
_NEVER = -1.0


class Manager(Interface):
    """The node as a whole."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Version": Reading("s", lambda _: __version__),
        "State": Reading("s", lambda self: self.view.state),
        "Trouble": Reading("s", lambda self: self.view.controller.trouble),
        "Bridge": Reading("s", lambda self: self.view.controller.desired.bridge.name),
        "Hops": Reading("ao", lambda self: [hop_path(name) for name in self.view.hops]),
        "Clients": Reading("ao", lambda self: [client_path(name) for name in self.view.clients]),
        "LastRepair": Reading("(ta(sss))", lambda self: self.last_repair()),
        "Pending": Reading("a(ssss)", lambda self: self.rows(self.view.pending)),
    }

    def __init__(self, view: View) -> None:
        super().__init__("org.opdbus.Manager", view)

    def last_repair(self) -> tuple[int, list[tuple[str, str, str]]]:
        """When something was put right last, in seconds since 1970, and what."""
        at_s, changes = self.view.last_repair
        return (at_s, self.short(changes))

    def rows(self, changes: Sequence[Change]) -> list[tuple[str, str, str, str]]:
        """Verb, kind, where and name of each."""
        return change_rows(changes, self.view.names) if changes else []

    def short(self, changes: Sequence[Change]) -> list[tuple[str, str, str]]:
        """Verb, kind and name of each."""
        return [(verb, kind, name) for verb, kind, _, name in self.rows(changes)]

    @answers("Plan")
    async def plan(self) -> Changes:
        """What is different from the configuration now: verb, kind, where, name."""
        return self.rows(await self._differences())

    @answers("Status")
    async def status(self) -> DBusDict:
        """The state in one answer, read now, without asking the outside."""
        pending = await self._differences()
        await self.view.fresh()
        hops = [(hop.name, hop.state, hop.detail) for hop in self.view.hops.values()]
        clients = [(name, now.status.endpoint or "") for name, now in self.view.clients.items()]
        return {
            "State": Variant("s", "degraded" if pending else self.view.state),
            "Trouble": Variant("s", self.view.controller.trouble),
            "ControllerPid": Variant("u", os.getpid()),
            "Hops": Variant("a(sss)", hops),
            "Clients": Variant("a(ss)", clients),
            "Pending": Variant("a(ssss)", self.rows(pending)),
        }

    @answers("Probe")
    async def probe(self) -> Probed:
        """Ask the outside with a few small requests: which address sites see, "" when none
        answers, and milliseconds to the far side of each hop."""
        config = self.view.controller.desired.pipeline.config
        found = await asyncio.to_thread(read_status, config, probe=True)
        self.view.rtt_ms = _round_trips(found)
        return (found.exit_ip or "", self.view.rtt_ms)

    @answers("Reload")
    async def reload(self) -> Nothing:
        """Read the configuration and the clients again, and make the node so."""
        controller = self.view.controller
        await asyncio.to_thread(controller.reload)  # a broken one is the caller's to know
        controller.ask_reload()
        await controller.repair()

    @answers("Repair")
    async def repair(self) -> Changes:
        """A full pass now; what it changed."""
        return self.rows(await self.view.controller.repair())

    async def _differences(self) -> list[Change]:
        found = await self.view.differences()
        self.tell()
        return found

    @dbus_signal(name="Repaired")
    def repaired(self, changes: list[Change]) -> Repairs:
        """Something was put right: verb, kind, name."""
        return self.short(changes)

    @dbus_signal(name="PortAdded")
    def port_added(self, name: str) -> DBusStr:
        """A port of the mesh has its flows."""
        return name

    @dbus_signal(name="PortRemoved")
    def port_removed(self, name: str) -> DBusStr:
        """A port of the mesh is gone, and its flows too."""
        return name


def _round_trips(found: NodeStatus) -> dict[str, float]:
    return {hop.name: hop.rtt_ms for hop in found.hops if hop.rtt_ms is not None}


class Hop(Interface):
    """One hop of the chain. Bytes are those of its bridge port, as the hop sees them."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Name": Reading("s", lambda self: self.now.name),
        "State": Reading("s", lambda self: self.now.state),
        "Detail": Reading("s", lambda self: self.now.detail),
        "Port": Reading("s", lambda self: self.now.port),
        "RxBytes": Reading("t", lambda self: self.now.rx_bytes, steady=False),
        "TxBytes": Reading("t", lambda self: self.now.tx_bytes, steady=False),
        "HandshakeAge": Reading("d", lambda self: _known(self.now.handshake_age_s), steady=False),
        "RoundTrip": Reading("d", lambda self: self.round_trip(), steady=False),
    }

    def __init__(self, view: View, name: str) -> None:
        self._last = view.hops[name]
        super().__init__("org.opdbus.Hop", view)

    @property
    def now(self) -> HopStatus:
        """As it was read last, also when the chain has it no longer."""
        self._last = self.view.hops.get(self._last.name, self._last)
        return self._last

    def round_trip(self) -> float:
        """Milliseconds to its far side when `Probe` was called last; -1 for no answer."""
        return _known(self.view.rtt_ms.get(self._last.name))


class Client(Interface):
    """One client device. Its keys are nobody's business here."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Name": Reading("s", lambda self: self.now.client.name),
        "Address": Reading("as", lambda self: [str(self.now.client.v4), str(self.now.client.v6)]),
        "Endpoint": Reading("s", lambda self: self.now.status.endpoint or ""),
        "RxBytes": Reading("t", lambda self: self.now.status.rx_bytes, steady=False),
        "TxBytes": Reading("t", lambda self: self.now.status.tx_bytes, steady=False),
        "HandshakeAge": Reading(
            "d", lambda self: _known(self.now.status.handshake_age_s), steady=False
        ),
    }

    def __init__(self, view: View, name: str) -> None:
        self._last = view.clients[name]
        super().__init__("org.opdbus.Client", view)

    @property
    def now(self) -> ClientNow:
        """As it was read last, also when it was removed since."""
        self._last = self.view.clients.get(self._last.client.name, self._last)
        return self._last


def _known(value: Any) -> float:
    return _NEVER if value is None else float(value)
