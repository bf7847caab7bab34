"""What the objects on the bus show: read from the machine at most every two seconds, and then only
when somebody asks or something has happened."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.nftables import NftablesError
from privacy_router.host.uapi import UapiError
from privacy_router.node import clients
from privacy_router.node.controller import observe_all
from privacy_router.node.inspection import port_names
from privacy_router.node.status import ClientStatus, HopStatus, glance

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.hops.gateway import Client
    from privacy_router.node.controller import Controller
    from privacy_router.node.engine import FlowEngine
    from privacy_router.plan.state import Change

_log = structlog.get_logger()
_FRESH_S = 2.0
_PATIENCE_S = 1.0
FAILURES = (PrivacyRouterError, OSError, NetlinkError, NftablesError, UapiError)


class Listener(Protocol):
    """Whoever shows it; all is called in the controller's event loop."""

    def refreshed(self) -> None:
        """There is a new reading."""

    def repaired(self, changes: list[Change]) -> None:
        """These changes were made."""

    def port(self, name: str, there: bool) -> None:
        """A port of the mesh has its flows, or is gone."""


@dataclass(frozen=True)
class ClientNow:
    """A client that is registered, and what its tunnel says."""

    client: Client
    status: ClientStatus


class View:
    """The node as it was read last."""

    def __init__(self, controller: Controller, engine: FlowEngine) -> None:
        self.controller = controller
        self.engine = engine
        self.listener: Listener | None = None
        self.hops: dict[str, HopStatus] = {}
        self.clients: dict[str, ClientNow] = {}
        self.rtt_ms: dict[str, float] = {}
        self.pending: list[Change] = []
        self.last_repair: tuple[int, list[Change]] = (0, [])
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """`starting` until it was read once, then `up`, or `degraded` when anything is amiss."""
        if self._read_at is None:
            return "starting"
        well = not self.controller.trouble and all(hop.state == "up" for hop in self.hops.values())
        return "up" if well else "degraded"

    @property
    def names(self) -> dict[int, str]:
        """The bridge's ports by their OpenFlow numbers."""
        return port_names(self.controller.desired, self.engine)

    # --- told by the controller ------------------------------------------------------------------

    def follow(self) -> None:
        """Be told by controller and engine from now on."""
        self.controller.on_pass = self._note_pass
        self.engine.on_repaired = self.note_repair
        self.engine.on_port = self._note_port

    async def leave(self) -> None:
        """No longer be told; ends a reading that goes on."""
        self.controller.on_pass = self.engine.on_repaired = self.engine.on_port = None
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
        self._tell(lambda listener: listener.repaired(made))
        self._read()

    def _note_port(self, name: str, there: bool) -> None:
        self._tell(lambda listener: listener.port(name, there))

    def _tell(self, what: Callable[[Listener], None]) -> None:
        """The controller calls this, and must not be hurt by what the bus makes of it."""
        if self.listener is None:
            return
        try:
            what(self.listener)
        except Exception as error:
            _log.error("D-Bus was not told", error=type(error).__name__, reason=str(error))

    # --- reading ---------------------------------------------------------------------------------

    async def fresh(self) -> None:
        """Return when what is here is no older than two seconds, or the machine takes too long."""
        if self._read_at is None or time.monotonic() - self._read_at > _FRESH_S:
            await asyncio.wait({self._read()}, timeout=_PATIENCE_S)

    def _read(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._refresh())
        return self._reading

    async def _refresh(self) -> None:
        try:
            changes = await self.differences() if self.controller.trouble else []
            await asyncio.to_thread(self._look, changes)
        except FAILURES as error:
            _log.debug("the state for D-Bus was not read", reason=str(error))
        finally:
            self._read_at = time.monotonic()
            self._reading = None
        self._tell(lambda listener: listener.refreshed())

    def _look(self, changes: list[Change]) -> None:
        config, machine = self.controller.desired.pipeline.config, self.controller.machine
        known = clients.load(config, machine.paths) if "gateway" in config.chain_hops else ()
        hops, statuses = glance(config, machine, known, changes)
        self.hops = {hop.name: hop for hop in hops}
        self.clients = {
            client.name: ClientNow(client, status)
            for client, status in zip(known, statuses, strict=True)
        }

    async def differences(self) -> list[Change]:
        """What is different on the machine now. Raises what reading it does."""
        self.pending = await observe_all(
            self.controller.desired, self.controller.machine, self.engine
        )
        return self.pending
