"""The flow engine: keeps the bridge's flows as the pipeline has them, whatever ports come and go.

What the bridge needs is held port by port, so that a container that appears costs what its own
flows cost. Everything else (start, repair, a changed configuration) compares the whole.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.node.contention import WINDOW_S, Contention
from privacy_router.node.flow_changes import (
    Counted,
    between,
    flow_mods,
    items,
    meters_of,
    strange_flow,
)
from privacy_router.node.flows import FlowError, FlowTable
from privacy_router.node.proxmox import container_mac
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.pipeline.flow import Program, flow_key, join
from privacy_router.pipeline.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from privacy_router.node.flow_changes import Changes
    from privacy_router.node.machine import Machine
    from privacy_router.openflow import FlowMod
    from privacy_router.ovsdb.model import PortRow
    from privacy_router.pipeline.compile import Pipeline
    from privacy_router.plan.state import Change

_log = structlog.get_logger()
_BASE = ""


class FlowEngine:
    """The flows of one bridge.

    With `on_lost` it keeps watch: drift is repaired by `run`, and the end of the connection is
    told. Without, it only answers.
    """

    def __init__(
        self,
        bridge_name: str,
        machine: Machine,
        pipeline: Pipeline,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._bridge_name = bridge_name
        self._database = machine.ovs_socket
        self._wake = asyncio.Event()
        self._table = FlowTable(
            bridge_name,
            machine.management_socket_dir / f"{bridge_name}.mgmt",
            self._note_drift if on_lost is not None else None,
            on_lost,
        )
        self._on_lost = on_lost
        self._lock = asyncio.Lock()
        self._drifted = False
        self._pending: dict[str, PortRow | None] = {}
        self._rows: dict[str, PortRow] = {}
        self._contention = Contention()
        self.set_pipeline(pipeline)

    # --- what should be there --------------------------------------------------------------------

    def set_pipeline(self, pipeline: Pipeline) -> None:
        """Another configuration; takes effect with the next repair. Raises what compiling does,
        and keeps the old one."""
        mesh = Mesh(pipeline.config)
        for row in self._rows.values():
            mesh.put(row, container_mac(row.name))
        base = pipeline.base
        self._pipeline, self._mesh = pipeline, mesh
        programs = {_BASE: base, **{name: self._program_of(name) for name in mesh.ports}}
        self._programs = programs
        self._mods = {name: flow_mods(program) for name, program in programs.items()}

    def set_rows(self, rows: Iterable[PortRow]) -> None:
        """All ports of the bridge, as the database has them; takes effect with the next repair."""
        self._rows = {row.name: row for row in rows}
        self.set_pipeline(self._pipeline)

    @property
    def program(self) -> Program:
        """All flows and meters that the bridge should have."""
        return join(self._programs.values())

    @property
    def mesh(self) -> Mesh:
        """The ports of the mesh, and those that were left out."""
        return self._mesh

    # --- the whole -------------------------------------------------------------------------------

    async def differences(self) -> list[Change]:
        """What is different on the switch now. Raises FlowError."""
        return self._items(await self._compare())

    async def repair(self) -> list[Change]:
        """Compare all, and change what is different. Raises FlowError; nothing half done."""
        async with self._lock:
            self._drifted = False
            changes = await self._compare()
            await self._table.apply(changes)
            return self._items(changes)

    async def counted(self) -> list[Counted]:
        """The flows of ours on the switch, with what they counted."""
        known = {flow.key: flow for flow in self.program.flows}
        drops = await self._table.meter_drops()
        found = []
        for stats in await self._table.statistics():
            key = flow_key(stats.table_id, stats.priority, stats.match)
            flow = known.get(key) or strange_flow(stats)
            over = [drops.get(number, 0) for number in meters_of(flow)]
            counts = (stats.packet_count, stats.byte_count)
            found.append(Counted(flow, *counts, over[0] if over else None))
        return found

    async def close(self) -> None:
        """Close the connection; the flows stay."""
        await self._table.close()

    async def _compare(self) -> Changes:
        mods = [mod for part in self._mods.values() for mod in part]
        rates = {rate.meter_id: rate for part in self._programs.values() for rate in part.rates}
        return await self._table.compare(mods, rates)

    def _items(self, changes: Changes) -> list[Change]:
        if not changes:
            return []
        return items(changes, self._bridge_name, {flow.key: flow for flow in self.program.flows})

    # --- as it happens ---------------------------------------------------------------------------

    def note_rows(self, rows: Mapping[str, PortRow | None]) -> None:
        """Rows that changed; None for a port that is gone. `run` deals with them."""
        self._pending.update(rows)
        self._wake.set()

    def _note_drift(self) -> None:
        self._drifted = True
        self._wake.set()

    async def run(self) -> None:
        """Follow ports and drift until cancelled. What fails is left to the next whole repair,
        which is asked for by `on_lost`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._follow_ports()
                if self._drifted:
                    await self._repair_drift()
            except PrivacyRouterError as error:
                _log.error("flows not up to date, trying again", reason=str(error))
                if self._on_lost is not None:
                    self._on_lost()

    async def _repair_drift(self) -> None:
        made = await self.repair()
        for change in made:
            _log.warning("repaired", kind=change.key.kind.name.lower(), what=change.key.name)
        for key in self._contention.note(time.monotonic(), (change.key.name for change in made)):
            _log.error(
                "another program keeps changing the flows of this bridge; only one may have it",
                bridge=self._bridge_name,
                flow=key,
                within_s=WINDOW_S,
            )

    async def _follow_ports(self) -> None:
        async with self._lock:
            pending, self._pending = self._pending, {}
            changed: set[str] = set()
            for name, row in pending.items():
                changed |= self._take_row(name, row)
            if not changed:
                return
            started = time.monotonic()
            if changed & self._pipeline.speaks_of:
                self.set_pipeline(self._pipeline)
                await self._table.apply(await self._compare())
            else:
                await self._replace({name: self._program_of(name) for name in changed})
            for name in sorted(changed):
                self._tell(name, time.monotonic() - started)
        await self._pin_macs()

    async def _pin_macs(self) -> None:
        """Ports that somebody else made keep their MAC, whatever becomes of vswitchd."""
        loose = {
            name: port.mac
            for name, port in self._mesh.ports.items()
            if self._rows[name].mac is None and self._rows[name].mac_in_use == port.mac
        }
        if loose:
            await asyncio.to_thread(self._pin, loose)

    def _pin(self, macs: Mapping[str, str]) -> None:
        with OvsDatabase(self._database) as database:
            database.pin_macs(self._bridge_name, macs)

    def _take_row(self, name: str, row: PortRow | None) -> set[str]:
        if row is None:
            self._rows.pop(name, None)
            return self._mesh.remove(name)
        if self._rows.get(name) == row:
            return set()
        before = self._rows.get(name)
        if before is not None and row.mac is None and row.ofport == before.ofport:
            row = replace(row, mac=before.mac or before.mac_in_use)
        self._rows[name] = row
        changed = self._mesh.put(row, container_mac(name))
        if name in self._mesh.left_out:
            _log.warning("port left out", port=name, reason=self._mesh.left_out[name])
        return changed

    def _program_of(self, name: str) -> Program:
        """What comes with a port; nothing, and a word about it, when its flows may not be."""
        port = self._mesh.ports.get(name)
        if port is None:
            return Program()
        try:
            return self._pipeline.of_port(port, self._mesh.ports)
        except PrivacyRouterError as error:
            self._mesh.left_out[name] = str(error)
            _log.error("port left out", port=name, reason=str(error))
            return Program()

    async def _replace(self, programs: Mapping[str, Program]) -> None:
        """Put new programs in the place of some ports' old ones, and look whether they are there.

        Raises FlowError; then the whole is to be compared.
        """
        new = {name: flow_mods(program) for name, program in programs.items()}
        old = {name: self._mods.get(name, ()) for name in programs}
        changes = between(
            [mod for mods in old.values() for mod in mods],
            [mod for mods in new.values() for mod in mods],
            {rate.meter_id for name in programs for rate in self._held(name).rates},
            [rate for program in programs.values() for rate in program.rates],
        )
        for name, program in programs.items():
            self._hold(name, program, new[name])
        await self._table.apply(changes)
        touched = [mod for mods in (*old.values(), *new.values()) for mod in mods]
        cookies = {mod.cookie for mod in touched}
        if not await self._table.confirm([m for mods in new.values() for m in mods], cookies):
            raise FlowError("the switch does not have the flows that it was given", retryable=True)

    def _held(self, name: str) -> Program:
        return self._programs.get(name, Program())

    def _hold(self, name: str, program: Program, mods: tuple[FlowMod, ...]) -> None:
        if program.flows:
            self._programs[name], self._mods[name] = program, mods
        else:
            self._programs.pop(name, None)
            self._mods.pop(name, None)

    def _tell(self, name: str, took_s: float) -> None:
        port = self._mesh.ports.get(name)
        if port is None:
            _log.info("port gone, its flows too", port=name)
        else:
            flows = len(self._held(name).flows)
            took_ms = round(took_s * 1000, 1)
            _log.info("port has its flows", port=name, flows=flows, took_ms=took_ms)
