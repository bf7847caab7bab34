"""What the pipeline compiles to: flows in names, and the meters that they use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.openflow.instructions import Meter
from privacy_router.openflow.text import format_match
from privacy_router.pipeline.allocation import Layer, cookie
from privacy_router.pipeline.tables import number_of
from privacy_router.values.items import ItemValue, Key, Kind, Plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.openflow.entries import FlowStats
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.openflow.match import Match


@dataclass(frozen=True)
class Flow(ItemValue):
    """What a packet must have, and what then becomes of it.

    `origin` is the key of the configuration that the flow comes from (or "chain", "pipeline"), and
    `reason` says in words what it is for; they are for people and do not count when flows are
    compared. `port` is the OpenFlow number of the port that it came with, 0 for none.
    """

    table: str
    priority: int
    match: Match
    instructions: tuple[Instruction, ...]
    layer: Layer = field(compare=False)
    origin: str = field(compare=False)
    reason: str = field(compare=False)
    port: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        """What makes it the same flow on the switch: table, priority and match."""
        return flow_key(number_of(self.table), self.priority, self.match)

    @property
    def cookie(self) -> int:
        """The owner's mark."""
        return cookie(self.layer, self.port)


@dataclass(frozen=True)
class Counted:
    """A flow with the packets and bytes that it has seen; `over_limit` are the packets that the
    meter of the flow dropped (it may have other flows), None without one."""

    flow: Flow
    packets: int
    size_bytes: int
    over_limit: int | None


def meters_of(flow: Flow | FlowStats) -> Iterator[int]:
    """The meters that a flow goes through."""
    return (item.meter_id for item in flow.instructions if isinstance(item, Meter))


def flow_key(table_number: int, priority: int, match: Match) -> str:
    """The identity of a flow as text, the same for a desired and an observed one."""
    return f"{table_number:03d} {priority:05d} {format_match(match)}"


@dataclass(frozen=True)
class RateLimit:
    """A meter that drops what exceeds `packets_per_s`, after a burst of as many."""

    meter_id: int
    packets_per_s: int
    reason: str = field(compare=False)


@dataclass(frozen=True)
class Program:
    """Flows and the meters that they use: of the whole bridge, or what comes with one port."""

    flows: tuple[Flow, ...] = ()
    rates: tuple[RateLimit, ...] = ()

    def __add__(self, other: Program) -> Program:
        return Program(self.flows + other.flows, self.rates + other.rates)


def join(programs: Iterable[Program]) -> Program:
    """All of them as one."""
    parts = list(programs)
    flows = tuple(flow for part in parts for flow in part.flows)
    return Program(flows, tuple(rate for part in parts for rate in part.rates))


# --- as items -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeterKey(Key, kind=Kind.METER):
    """A meter of the bridge `where` by its number. Value: `MeterState`."""

    number: int

    @property
    def name(self) -> str:
        """With its number."""
        return f"meter {self.number}"


@dataclass(frozen=True)
class MeterState(ItemValue):
    """A meter: what it lets pass, None where only is known that it is another rate; `is_used`: a
    flow that is wanted leads through it."""

    packets_per_s: int | None
    is_used: bool = True

    def plain(self) -> Plain:
        """As it prints."""
        return str(self)

    def __str__(self) -> str:
        if not self.is_used:
            return "without use"
        return "another rate" if self.packets_per_s is None else f"{self.packets_per_s} packets/s"


@dataclass(frozen=True)
class FlowKey(Key, kind=Kind.FLOW):
    """A flow of the bridge `where` by `Flow.key`. Value: `Flow`."""

    flow: str

    @property
    def name(self) -> str:
        """Table, priority and match."""
        return self.flow
