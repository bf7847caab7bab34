"""What the bridge should have now: the pipeline's programs, port by port, as ports come and go.

Held port by port, so that a container that appears costs what its own flows cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.node.flows.changes import between, flow_mods, strange_flow
from privacy_router.pipeline.allocation import port_of
from privacy_router.pipeline.compile import sending_flows
from privacy_router.pipeline.flow import Program, join
from privacy_router.pipeline.mesh import Mesh
from privacy_router.pipeline.rivals import PipelineError, Rivals
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privacy_router.node.flows.changes import Changes
    from privacy_router.openflow import FlowMod, FlowStats
    from privacy_router.pipeline.compile import Pipeline
    from privacy_router.pipeline.flow import Flow, RateLimit
    from privacy_router.values.bridges import PortRow

_BASE = ""


class FlowPlan:
    """The flows and meters of one bridge. `mac_of` gives the MAC of the container behind a port
    whose own MAC is another, or None."""

    def __init__(
        self, pipeline: Pipeline, mac_of: Callable[[str], str | None], *, closed: bool = False
    ) -> None:
        self._mac_of = mac_of
        self._rows: dict[str, PortRow] = {}
        self.pipeline, self._closed = pipeline, closed
        self._compile()

    def use(self, pipeline: Pipeline, *, closed: bool) -> None:
        """Take another configuration, with the tunnel closed or open.

        Opening and closing cost what the hops' flows cost, however many containers there are.
        """
        is_new = pipeline is not self.pipeline
        self.pipeline, self._closed = pipeline, closed
        if is_new:
            self._compile()
        else:
            self._hold(_BASE, self._base())

    def _base(self) -> Program:
        return self.pipeline.closed if self._closed else self.pipeline.base

    def _compile(self) -> None:
        base = self._base()
        self.mesh = Mesh(self.pipeline.config)
        for row in self._rows.values():
            self.mesh.put(row, self._mac_of(row.name))
        self._programs: dict[str, Program] = {}
        self._mods: dict[str, tuple[FlowMod, ...]] = {}
        self._owners: dict[int, str] = {}
        self._sending = Rivals()
        self._outrivalled: set[str] = set()
        self._hold(_BASE, base)
        self._sending.add(sending_flows(base))
        self._put(self.mesh.ports)

    @property
    def closed(self) -> bool:
        """Whether the tunnel's packets are to be dropped."""
        return self._closed

    def set_rows(self, rows: Iterable[PortRow]) -> None:
        """Take in all ports of the bridge, as the database has them."""
        self._rows = {row.name: row for row in rows}
        self._compile()

    # --- asking ----------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        """All flows and meters."""
        return join(self._programs.values())

    @property
    def mods(self) -> list[FlowMod]:
        """All flows, as commands that add them."""
        return [mod for part in self._mods.values() for mod in part]

    @property
    def rates(self) -> dict[int, RateLimit]:
        """All meters, by number."""
        return {rate.meter_id: rate for part in self._programs.values() for rate in part.rates}

    def mods_under(self, cookie: int) -> list[FlowMod]:
        """The flows that should have that cookie."""
        part = self._mods.get(self._owner(cookie), ())
        return [mod for mod in part if mod.cookie == cookie]

    def base(self) -> tuple[dict[int, list[FlowMod]], tuple[RateLimit, ...]]:
        """What is there without any container: flows by cookie, and meters."""
        by_cookie: dict[int, list[FlowMod]] = {}
        for mod in self._mods.get(_BASE, ()):
            by_cookie.setdefault(mod.cookie, []).append(mod)
        return by_cookie, self._rates_of(_BASE)

    def flow_of(self, mod: FlowMod | FlowStats) -> Flow:
        """The flow that a command or a reading is about, with its reason."""
        part = self._programs.get(self._owner(mod.cookie), Program())
        for flow in part.flows:
            same_place = number_of(flow.table) == mod.table_id and flow.priority == mod.priority
            if same_place and flow.match == mod.match:
                return flow
        return strange_flow(mod)

    def size_of(self, name: str) -> int:
        """How many flows came with a port."""
        return len(self._programs.get(name, Program()).flows)

    def loose_macs(self, names: Iterable[str]) -> dict[str, str]:
        """The MACs of those ports that happen to have them, since none was asked for."""
        ports = [self.mesh.ports[name] for name in names if name in self.mesh.ports]
        return {
            port.name: port.mac
            for port in ports
            if self._rows[port.name].mac is None and self._rows[port.name].mac_in_use == port.mac
        }

    def _owner(self, cookie: int) -> str:
        return self._owners.get(port_of(cookie), _BASE)

    # --- ports that come and go ------------------------------------------------------------------

    def take_row(self, name: str, row: PortRow | None) -> set[str]:
        """Take in a row that changed, None for a port that is gone; the mesh ports that changed."""
        if row is None:
            self._rows.pop(name, None)
            return self.mesh.remove(name)
        before = self._rows.get(name)
        if before is not None and row.mac is None and row.ofport == before.ofport:
            # vswitchd forgets the MAC of a port that went into another namespace
            row = replace(row, mac=before.mac or before.mac_in_use)
        if before == row:
            return set()
        self._rows[name] = row
        return self.mesh.put(row, self._mac_of(name))

    def recompile(self, names: Iterable[str]) -> Changes | None:
        """Compile the flows of ports that changed; what has to be sent, or None when other ports'
        flows speak of them, so that all was compiled anew."""
        # What gave way to a rival that goes now has its turn.
        names = sorted(self._outrivalled.union(names))
        if not self.pipeline.speaks_of.isdisjoint(names):
            self._compile()
            return None
        old = [mod for name in names for mod in self._mods.get(name, ())]
        meters = {rate.meter_id for name in names for rate in self._rates_of(name)}
        self._put(names)
        new = [mod for name in names for mod in self._mods.get(name, ())]
        return between(old, new, meters, [r for name in names for r in self._rates_of(name)])

    def _rates_of(self, name: str) -> tuple[RateLimit, ...]:
        return self._programs.get(name, Program()).rates

    def _put(self, names: Iterable[str]) -> None:
        """Compile the flows of these ports, in the place of those that they had."""
        names = list(names)
        for name in names:
            self._forget(name)
        for name in names:
            self._hold(name, self._compiled(name))

    def _compiled(self, name: str) -> Program:
        """What comes with a port; nothing when its flows may not be, which `left_out` says."""
        gave_way = name in self._outrivalled
        self._outrivalled.discard(name)
        port = self.mesh.ports.get(name)
        if port is None:
            return Program()
        try:
            program = self.pipeline.of_port(port, self.mesh.ports)
            self._sending.add(sending_flows(program))
        except PrivacyRouterError as error:
            self.mesh.left_out[name] = str(error)
            if isinstance(error, PipelineError):
                self._outrivalled.add(name)
            return Program()
        if gave_way:
            self.mesh.left_out.pop(name, None)
        return program

    def _forget(self, name: str) -> None:
        program = self._programs.pop(name, Program())
        for flow in program.flows[:1]:
            if self._owners.get(flow.port) == name:  # another port may have its number by now
                del self._owners[flow.port]
        self._mods.pop(name, None)
        self._sending.remove(sending_flows(program))

    def _hold(self, name: str, program: Program) -> None:
        if program.flows:
            self._programs[name], self._mods[name] = program, flow_mods(program)
            self._owners[program.flows[0].port] = name
