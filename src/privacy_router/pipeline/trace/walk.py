"""Walk one packet through the compiled tables, as a switch would, without a switch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.openflow.constants import CtState
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.trace.packet import PacketError
from privacy_router.pipeline.trace.traverse import Run, WalkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.trace.packet import Packet
    from privacy_router.pipeline.trace.traverse import Step, Traversal

MAX_PASSAGES = 16


@dataclass(frozen=True)
class Dropped:
    """The packet ends in `table`, by `flow`, or because no flow wanted it."""

    table: str
    flow: Flow | None


@dataclass(frozen=True)
class Sent:
    """The packet leaves by these ports, by number."""

    ports: tuple[int, ...]


@dataclass(frozen=True)
class Walk:
    """All passages of a packet, and how it ends."""

    passages: tuple[Traversal, ...]
    verdict: Dropped | Sent

    @property
    def packet(self) -> Packet:
        """The packet as it came in."""
        return self.passages[0].steps[0].packet

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all passages."""
        return tuple(step for passage in self.passages for step in passage.steps)


def parse_ct_state(text: str) -> CtState:
    """What connection tracking says, e.g. "new", "est,rpl", "inv"; "trk" goes without saying.

    Raises PacketError for unknown words, and for what connection tracking never says.
    """
    state = CtState.TRK
    for word in text.replace("|", ",").replace("+", ",").split(","):
        name = word.strip().upper()
        if name and name not in CtState.__members__:
            raise _bad_state(text, f"there is no {word.strip()!r}")
        state |= CtState[name] if name else CtState(0)
    if state & CtState.INV and state & ~(CtState.TRK | CtState.INV):
        raise _bad_state(text, "an invalid packet is nothing else")
    if state & CtState.NEW and state & (CtState.EST | CtState.RPL):
        raise _bad_state(text, "what is new is neither established nor an answer")
    return state


def _bad_state(text: str, why: str) -> PacketError:
    return PacketError(
        f"connection state {text!r}: {why}", remedy="say new, est, est,rpl, rel or inv"
    )


def walk(flows: Iterable[Flow], packet: Packet, *, ct_states: Sequence[str] = ("new",)) -> Walk:
    """Follow `packet` from the first table to its end.

    Each time that it comes back from connection tracking, it does so in the next of `ct_states`;
    the last one counts for all further times. Meters are taken to have room. Raises WalkError for
    actions that are not modelled here and a packet that goes round for ever, PacketError for states
    that there are not.
    """
    states = [parse_ct_state(text) for text in ct_states] or [CtState.TRK | CtState.NEW]
    tables = _by_table(flows)
    waiting = deque([Run(dict(packet))])
    done: list[Run] = []
    while waiting:
        if len(done) == MAX_PASSAGES:
            raise WalkError(f"the packet is tracked more than {MAX_PASSAGES} times: it goes round")
        run = waiting.popleft()
        run.go(tables)
        done.append(run)
        for fork in run.forks:
            state = states[min(len(done) + len(waiting), len(states)) - 1]
            waiting.append(fork.resumed(state))
    return Walk(tuple(run.passage() for run in done), _verdict(done))


def _verdict(runs: Sequence[Run]) -> Dropped | Sent:
    ports = tuple(port for run in runs for port in run.ports)
    if ports:
        return Sent(ports)
    last = runs[-1].steps[-1]
    return Dropped(last.table, last.flow)


def _by_table(flows: Iterable[Flow]) -> dict[int, list[Flow]]:
    tables: dict[int, list[Flow]] = {}
    for flow in flows:
        tables.setdefault(number_of(flow.table), []).append(flow)
    return tables


def own_mac(flows: Iterable[Flow], in_port: int) -> int | None:
    """The MAC that packets of that port have as their source, going by the first table's flows."""
    for flow in flows:
        if number_of(flow.table) == 0 and flow.match.value("in_port") == in_port:
            mac = flow.match.value("eth_src")
            if mac is not None:
                return mac
    return None
