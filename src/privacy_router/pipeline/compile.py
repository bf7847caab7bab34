"""(configuration, segment, ports found) → flows and meters: pure, every flow with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from privacy_router.pipeline import (
    classify,
    functions,
    hops,
    neighbours,
    security,
    sources,
    tracking,
    ttl,
)
from privacy_router.pipeline.checks import check
from privacy_router.pipeline.flow import Program, join
from privacy_router.pipeline.mesh import expected_ports
from privacy_router.pipeline.rivals import Rivals, require_agreement
from privacy_router.pipeline.tables import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.chain.order import Segment
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.mesh import MeshPort


def sending_flows(program: Program) -> Iterator[Flow]:
    """The flows of tables that send: the only ones that can rival those of another port."""
    return (flow for flow in program.flows if table_of(flow.table).sends)


@dataclass(frozen=True)
class Pipeline:
    """The compiler of one configuration.

    What a bridge needs is `base` (tables, hops, everything that is there from the start) and, for
    each port of the mesh, `of_port`: so a port that comes or goes costs what it brings, however
    many others there are. All of it is empty when `openflow.enabled` is false.
    """

    config: PrivacyRouterConfig
    segment: Segment

    @cached_property
    def base(self) -> Program:
        """Raises FlowRefusedError for a privacy flow that would bypass a hop, PipelineError."""
        if not self.config.openflow.enabled:
            return Program()
        program = join((self._tables(), self._hops()))
        check(program, self._zones)
        require_agreement(program.flows)
        return program

    @cached_property
    def closed(self) -> Program:
        """The same with the tunnel closed: no packet of a hop passes, those of the mesh do."""
        if not self.config.openflow.enabled:
            return Program()
        return Program(tuple(classify.closed(self.segment))) + self.base

    def of_port(self, port: MeshPort, others: Mapping[str, MeshPort]) -> Program:
        """What comes with one port; `others` are all ports of the mesh by name, itself included.

        What it sends may rival what another port's flows send: a caller that joins them has to put
        them into one `Rivals`. Raises FlowRefusedError for a function or a policy that may not be,
        PipelineError.
        """
        if not self.config.openflow.enabled:
            return Program()
        flows: list[Flow] = [
            *classify.mesh_port(self.config, port),
            *neighbours.answers_for(port),
            *functions.mesh_port(self.config, port, others),
        ]
        limits = Program()
        if self.config.openflow.enable_security_flows:
            flows += sources.mesh_port(self.config, port)
            limits = security.rates(self.config, port.name, port.ofport, neighbours=True)
        program = Program(tuple(flows)) + limits
        named = [others[name] for name in self.speaks_of if name in others]
        check(program, {**self._zones, **{other.ofport: "mesh" for other in (*named, port)}})
        require_agreement(flow for flow in program.flows if not table_of(flow.table).sends)
        self._require_agreement_with_base(program.flows)
        return program

    def require_valid(self) -> None:
        """Raise what is wrong with the flows of the configuration, before a port shows it.

        The ports of the configured containers are assumed to be there.
        """
        self.compile(expected_ports(self.config))

    def compile(self, ports: Mapping[str, MeshPort]) -> Program:
        """Everything that a bridge with these ports of the mesh needs."""
        programs = [self.base, *(self.of_port(port, ports) for port in ports.values())]
        sending = Rivals()
        for program in programs:
            sending.add(sending_flows(program))
        return join(programs)

    def _require_agreement_with_base(self, flows: Iterable[Flow]) -> None:
        """Raise PipelineError for a flow of a port that rivals one that is for every port; those
        of another port are about packets of that one alone."""
        for flow in flows:
            common = self._common.get((flow.table, flow.priority))
            if common is not None:
                require_agreement((*common, flow))

    @cached_property
    def _common(self) -> dict[tuple[str, int], list[Flow]]:
        found: dict[tuple[str, int], list[Flow]] = {}
        for flow in self.base.flows:
            if not flow.port and not table_of(flow.table).sends:
                found.setdefault((flow.table, flow.priority), []).append(flow)
        return found

    @cached_property
    def speaks_of(self) -> frozenset[str]:
        """The ports that flows of other ports name: when one of them changes, all do."""
        return functions.referenced(self.config)

    @cached_property
    def _zones(self) -> dict[int, str]:
        return {port.ofport: "privacy" for port in self.segment.stations}

    def _tables(self) -> Program:
        flows = [
            *classify.misses(),
            classify.tagged(),
            *tracking.mesh_lookups(),
            *tracking.states(),
        ]
        flows += [tracking.mesh_begins(), *ttl.onward(self.config)]
        if self.config.openflow.enable_security_flows:
            flows += [classify.group_senders(), *security.hostile(self.config), *ttl.expired()]
        return Program(tuple(flows))

    def _hops(self) -> Program:
        secure = self.config.openflow.enable_security_flows
        flows: list[Flow] = []
        limits = Program()
        for port in self.segment.stations:
            flows += classify.hop_port(port, secure=secure)
            if secure:
                flows += sources.hop_port(self.segment, port)
                limits += security.rates(self.config, port.port, port.ofport, neighbours=False)
        if secure:
            flows += tracking.privacy_lookups(self.segment)
            flows += tracking.privacy_begins(self.segment)
        flows += hops.hop_flows(self.config, self.segment)
        return Program(tuple(flows)) + limits
