"""Keeps the bridge's flows as the pipeline has them, while ports come and flows drift.

Start, repair and a changed configuration compare the whole. A port that comes or goes, and a flow
that another controller changed, cost what they are, however many others there are.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.threads import in_thread
from privacy_router.node.flows.changes import (
    Changes,
    items,
    zones_looked_up,
)
from privacy_router.node.flows.desired import FlowPlan
from privacy_router.node.flows.table import FlowError, FlowTable
from privacy_router.node.proxmox import container_mac
from privacy_router.node.remembered import forget_zones
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.pipeline.flow import Counted, meters_of
from privacy_router.values.backoff import Backoff
from privacy_router.values.items import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from privacy_router.pipeline.compile import Pipeline
    from privacy_router.pipeline.flow import Program
    from privacy_router.pipeline.mesh import Mesh
    from privacy_router.values.bridges import PortRow
    from privacy_router.values.items import Change

_log = structlog.get_logger()
_CONTENDED_MOST_S = 2.0  # also in a fight a flow is put back within 3 s (docs/security.md)
_COOKIES_AT_ONCE = 16  # looked up one by one; with more of them, comparing all is quicker


class FlowKeeper:
    """The flows of one bridge; `database` is the socket of its ovsdb-server, beside which vswitchd
    puts the bridge's own.

    With `on_trouble` it keeps watch, which takes `run`: and what it cannot put right by itself
    (the switch is gone) it tells. Without, it only answers. `on_repaired` is told what it put back
    while it kept watch, and `on_port` of ports of the mesh that have their flows, or are gone.

    While it is `closed`, the flows that it wants drop what any hop sends; see `node.converge`.
    """

    def __init__(
        self,
        bridge_name: str,
        database: Path,
        pipeline: Pipeline,
        on_trouble: Callable[[], None] | None = None,
        *,
        closed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bridge_name = bridge_name
        self._clock = clock
        self._database = database
        self._plan = FlowPlan(pipeline, container_mac, closed=closed)
        self._wake = asyncio.Event()
        self._socket = database.parent / f"{bridge_name}.mgmt"
        self._table = FlowTable(
            bridge_name,
            self._socket,
            self._note_drift if on_trouble is not None else None,
            on_trouble,
        )
        self._on_trouble = on_trouble
        self._lock = asyncio.Lock()
        self._drifted: set[int | None] = set()
        self._pending: dict[str, PortRow | None] = {}
        self._unpinned: set[str] = set()
        self._backoff = Backoff[str](most_s=_CONTENDED_MOST_S)
        self.on_repaired: Callable[[list[Change]], None] | None = None
        self.on_port: Callable[[str, bool], None] | None = None

    # --- what should be there --------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the tunnel is to be closed."""
        return self._plan.closed

    def close_tunnel(self, pipeline: Pipeline) -> None:
        """Want the flows of that configuration, with the tunnel closed; takes effect with the next
        repair."""
        self._plan.use(pipeline, closed=True)

    def open_tunnel(self, pipeline: Pipeline) -> None:
        """The same with the tunnel open."""
        self._plan.use(pipeline, closed=False)

    def set_rows(self, rows: Iterable[PortRow]) -> None:
        """All ports of the bridge, as the database has them; takes effect with the next repair."""
        self._plan.set_rows(rows)

    @property
    def program(self) -> Program:
        """All flows and meters that the bridge should have."""
        return self._plan.program

    @property
    def mesh(self) -> Mesh:
        """The ports of the mesh, and those that were left out."""
        return self._plan.mesh

    # --- the whole -------------------------------------------------------------------------------

    async def differences(self) -> list[Change]:
        """What is different on the switch now. Raises FlowError."""
        return self._items(await self._compare())

    async def repair(self) -> list[Change]:
        """Compare all, and change what is different. Raises FlowError; nothing half done."""
        async with self._lock:
            self._drifted.clear()
            return await self._repair_all()

    async def _repair_all(self) -> list[Change]:
        changes = await self._compare()
        try:
            await self._apply(changes)
        except FlowError:
            await self._repair_base()
            raise
        return self._items(changes)

    async def _repair_base(self) -> None:
        """The tunnel does not wait for a container whose flows the switch refuses."""
        wanted, rates = self._plan.base()
        await self._apply(await self._table.compare_under(wanted, rates))

    async def _apply(self, changes: Changes) -> None:
        """Put changes in force, and have connections tracked anew where they were not tracked."""
        await self._table.apply(changes)
        zones = zones_looked_up(changes.flows)
        if zones:
            await in_thread(forget_zones, zones, self._socket)

    async def counted(self) -> list[Counted]:
        """The flows of ours on the switch, with what they counted."""
        drops = await self._table.meter_drops()
        found = []
        for stats in await self._table.statistics():
            flow = self._plan.flow_of(stats)
            over = [drops.get(number, 0) for number in meters_of(flow)]
            counts = (stats.packet_count, stats.byte_count)
            found.append(Counted(flow, *counts, over[0] if over else None))
        return found

    async def close(self) -> None:
        """Close the connection; the flows stay."""
        await self._table.close()

    async def _compare(self) -> Changes:
        return await self._table.compare(self._plan.mods, self._plan.rates)

    def _items(self, changes: Changes) -> list[Change]:
        return items(changes, self._bridge_name, self._plan.flow_of)

    # --- as it happens ---------------------------------------------------------------------------

    def note_rows(self, rows: Mapping[str, PortRow | None]) -> None:
        """Rows that changed; None for a port that is gone. `run` deals with them."""
        self._pending.update(rows)
        self._wake.set()

    def _note_drift(self, cookie: int | None) -> None:
        if len(self._drifted) > _COOKIES_AT_ONCE:
            self._drifted = {None}  # all is compared; a switch that floods us fills nothing
        self._drifted.add(cookie)
        self._wake.set()

    async def run(self) -> None:
        """Follow ports and drift until cancelled. What fails is told, and left to a repair."""
        self._unpinned |= self.mesh.ports.keys()
        self._wake.set()
        while True:
            await self._woken()
            try:
                await self._follow_ports()
                await self._follow_drift()
                await self._pin_macs()
            except PrivacyRouterError as error:
                _log.error(
                    "flows not up to date, trying again", reason=str(error), remedy=error.remedy
                )
                if self._on_trouble is not None:
                    self._on_trouble()

    async def _woken(self) -> None:
        """Wait for something to follow, or for the end of a pause of what is contended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next_s(self._clock())):
                await self._wake.wait()
        self._wake.clear()

    async def _follow_drift(self) -> None:
        async with self._lock:
            drifted, self._drifted = self._drifted, set()
            if not drifted:
                return
            made = await self._repair_under(drifted)
        if not made:
            return
        _log.warning("repaired", changes=len(made), what=summary(made))
        self._note_contended([change.key.name for change in made])
        if self.on_repaired is not None:
            self.on_repaired(made)

    def _note_contended(self, names: Sequence[str]) -> None:
        """Note what was put back, and tell of the flows that another program keeps changing."""
        self._backoff.note(names, self._clock(), failed=False)
        contended = [name for name in names if self._backoff.contended(name)]
        if contended:
            _log.error(
                "another program keeps changing the flows of this bridge; only one may have it",
                bridge=self._bridge_name,
                flow=contended[0],
                flows=len(contended),
            )

    async def _repair_under(self, cookies: set[int | None]) -> list[Change]:
        """Repair what has these cookies; all, where one is not known or a meter is missing too.
        Flows that another program keeps changing wait, and are compared again then."""
        try:
            changes = await self._compare_under(cookies)
            due = self._due(changes)
            await self._apply(due)
        except FlowError:
            return await self._repair_all()
        if due != changes:
            self._drifted |= cookies
        return self._items(due)

    async def _compare_under(self, cookies: set[int | None]) -> Changes:
        known = [cookie for cookie in cookies if cookie is not None]
        if len(known) < len(cookies) or len(known) > _COOKIES_AT_ONCE:
            return await self._compare()
        return await self._table.compare_under({c: self._plan.mods_under(c) for c in known})

    def _due(self, changes: Changes) -> Changes:
        """Of the changes those that may be made now."""
        now_s = self._clock()
        if self._backoff.next_s(now_s) is None:
            return changes
        flow_of, ready = self._plan.flow_of, self._backoff.ready
        return changes.among(lambda mod: ready(flow_of(mod).key, now_s))

    async def _follow_ports(self) -> None:
        async with self._lock:
            pending, self._pending = self._pending, {}
            changed: set[str] = set()
            for name, row in pending.items():
                changed |= self._plan.take_row(name, row)
                self._tell_left_out(name)
            if not changed:
                return
            started = time.monotonic()
            await self._replace(changed)
            took_ms = round((time.monotonic() - started) * 1000, 1)
        for name in sorted(changed):
            self._tell(name, took_ms)
        self._unpinned |= changed

    async def _replace(self, names: set[str]) -> None:
        """Put the flows of changed ports in the place of the old ones, and look whether they are
        there. Raises FlowError; then the whole is to be compared."""
        changes = self._plan.recompile(names)
        if changes is None:
            await self._repair_all()
            return
        cookies = {mod.cookie for mod in changes.flows.messages()}
        await self._table.apply(changes, {c: self._plan.mods_under(c) for c in cookies})

    async def _pin_macs(self) -> None:
        """Ports that another program made keep their MAC when vswitchd starts anew."""
        names, self._unpinned = self._unpinned, set()
        loose = self._plan.loose_macs(names)
        if loose:
            await in_thread(self._pin, loose)

    def _pin(self, macs: Mapping[str, str]) -> None:
        with OvsDatabase(self._database) as database:
            database.pin_macs(self._bridge_name, macs)

    def _tell(self, name: str, took_ms: float) -> None:
        flows = self._plan.size_of(name)
        if flows:
            _log.info("port has its flows", port=name, flows=flows, took_ms=took_ms)
        elif name not in self.mesh.ports:
            _log.info("port gone, its flows too", port=name)
        self._tell_left_out(name)
        if self.on_port is not None and (flows or name not in self.mesh.ports):
            self.on_port(name, bool(flows))

    def _tell_left_out(self, name: str) -> None:
        reason = self.mesh.left_out.get(name)
        if reason is not None:
            _log.warning("port left out", port=name, reason=reason)
