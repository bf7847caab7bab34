"""One passage of a packet through the tables: which flow takes it, and what that does to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.openflow.action_text import Names, format_action
from privacy_router.openflow.actions import DecNwTtl, Output, SetField, SetNwTtl
from privacy_router.openflow.constants import CtFlag, CtState, EtherType, NatFlag, PortNumber
from privacy_router.openflow.fields import FIELDS, WIDE_REGISTERS
from privacy_router.openflow.instructions import (
    ApplyActions,
    GotoTable,
    Meter,
    canonical_instructions,
)
from privacy_router.openflow.nicira import NO_TABLE, Ct, Load, Move, Nat, Note, SetFieldMasked
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.rivals import same_effect
from privacy_router.pipeline.tables import TABLES, name_of
from privacy_router.pipeline.trace.packet import LATER_FRAGMENT, is_of_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.match import Match
    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.trace.packet import Packet

NOT_TRACKED: Final = CtState(0)
_UNMODELLED_FIELDS: Final = {"conj_id", "actset_output", "in_phy_port"}
_IP: Final = (EtherType.IPV4, EtherType.IPV6)


class WalkError(PrivacyRouterError):
    """The walk met something that it cannot follow the way a switch does."""


@dataclass(frozen=True)
class Rewrite:
    """A field of the packet, or a register, that a flow changed."""

    field: str
    before: int
    after: int


@dataclass(frozen=True)
class Step:
    """What happened in one table.

    `flow` None: no flow wanted the packet, which drops it. `rivals` match as well, with the same
    priority: a switch may take one of them instead. `packet` is as it came to the table.
    `effects` are what was done beyond `rewrites`, in the words of ovs-ofctl and its numbers;
    `notes` say what was assumed, and what did not come of it.
    """

    table: str
    flow: Flow | None
    packet: Packet
    rivals: tuple[Flow, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    effects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traversal:
    """One way through the tables: from the port, or from connection tracking, to an end.

    `state` is what connection tracking was assumed to say (0 before it was asked), `zone` the
    zone in which, and `packet` what the packet was like at the end.
    """

    state: CtState
    zone: int
    steps: tuple[Step, ...]
    packet: Packet


# --- which flow ---------------------------------------------------------------------------------


def matches(match: Match, packet: Mapping[str, int]) -> bool:
    """Whether the packet has what `match` asks for; absent fields are zero, as on a switch.

    Raises WalkError where that hangs on a field that is not modelled.
    """
    unmodelled = ""
    for item in match:
        name, mask = item.field.name, item.mask
        if name in _UNMODELLED_FIELDS or not item.field.known:
            unmodelled = name
        elif (packet.get(name, 0) if mask is None else packet.get(name, 0) & mask) != item.value:
            return False
    if unmodelled:
        raise WalkError(f"a flow matches on {unmodelled}, which the walk does not model")
    return True


def _best(flows: Sequence[Flow], packet: Mapping[str, int]) -> list[Flow]:
    """The flows of the highest priority that match; more than one where the switch may choose."""
    best: list[Flow] = []
    for flow in flows:
        if (best and flow.priority < best[0].priority) or not matches(flow.match, packet):
            continue
        if best and flow.priority > best[0].priority:
            best = []
        best.append(flow)
    return sorted(best, key=lambda flow: flow.key) if len(best) > 1 else best


def _ambiguity(best: Sequence[Flow]) -> list[str]:
    return [
        f"ambiguous: «{format_match(rival.match)}» has the same priority {rival.priority}, and"
        f" does {format_instructions(rival.instructions, table_name=name_of)}"
        for rival in best[1:]
        if not same_effect(best[0], rival)
    ]


# --- what it does -------------------------------------------------------------------------------


@dataclass
class Run:
    """A passage in the making."""

    packet: dict[str, int]
    table: int = 0
    state: CtState = NOT_TRACKED
    zone: int = 0
    steps: list[Step] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    forks: list[Run] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def passage(self) -> Traversal:
        steps = tuple(self.steps)
        return Traversal(self.state, self.zone, steps, MappingProxyType(self.packet))

    def resumed(self, state: CtState) -> Run:
        """As it comes back from connection tracking."""
        packet = {**self.packet, "ct_state": int(state), "ct_zone": self.zone}
        return Run(packet, self.table, state, self.zone)

    def go(self, tables: Mapping[int, Sequence[Flow]]) -> None:
        number: int | None = self.table
        while number is not None:
            number = self._visit(number, tables.get(number, ()))

    def _visit(self, number: int, flows: Sequence[Flow]) -> int | None:
        """Do what the table says; gives the next table."""
        before = dict(self.packet)
        best = _best(flows, self.packet)
        flow = best[0] if best else None
        rivals = tuple(best[1:])
        self.effects, self.notes = [], _ambiguity(best)
        onward = self._follow(flow, number) if flow is not None else None
        rewrites = tuple(
            Rewrite(name, before.get(name, 0), value)
            for name, value in sorted(self.packet.items())
            if before.get(name, 0) != value
        )
        words = tuple(self.effects), tuple(self.notes)
        packet = MappingProxyType(before)
        step = Step(name_of(number), flow, packet, rivals, rewrites, *words)
        self.steps.append(step)
        return onward

    def _follow(self, flow: Flow, number: int) -> int | None:
        onward = None
        for instruction in canonical_instructions(flow.instructions):
            match instruction:
                case Meter(meter_id):
                    self.effects.append(format_instructions((instruction,)))
                    self.notes.append(f"meter {meter_id}: taken to have room")
                case ApplyActions(actions):
                    if not all(self._act(action, flow) for action in actions):
                        return None
                case GotoTable(table_id):
                    self.effects.append(format_instructions((instruction,)))
                    onward = _checked_table(flow, number, table_id)
                case _:
                    raise _not_modelled(flow, format_instructions((instruction,)))
        return onward

    def _act(self, action: Action, flow: Flow) -> bool:
        """Do it; False when it is the end of this passage."""
        act = _ACTIONS.get(type(action))
        if act is None:
            raise _not_modelled(flow, format_action(action, Names(table=name_of)))
        if isinstance(action, Output | Ct):
            self.effects.append(format_action(action, Names()))
        return act(self, action, flow)


def _checked_table(flow: Flow, number: int, table_id: int) -> int:
    if not number < table_id < len(TABLES):
        raise WalkError(f"«{flow.key}» leads from table {flow.table} to {name_of(table_id)}")
    return table_id


def _not_modelled(flow: Flow, words: str) -> WalkError:
    return WalkError(
        f"the walk does not model {words} (in table {flow.table}, {format_match(flow.match)})",
        remedy="ask the switch instead: ovs-appctl ofproto/trace",
    )


def _output(run: Run, action: Output, flow: Flow) -> bool:
    in_port = run.packet["in_port"]
    if action.port == PortNumber.IN_PORT:
        run.ports.append(in_port)
    elif action.port == in_port:
        run.notes.append("not sent: a switch sends back to where it came from only by IN_PORT")
    elif action.port <= PortNumber.MAX or action.port == PortNumber.LOCAL:
        run.ports.append(action.port)
    else:
        raise _not_modelled(flow, format_action(action, Names()))
    return True


def _write(run: Run, flow: Flow, name: str, value: int, mask: int) -> bool:
    known = FIELDS.get(name)
    if known is None or name in WIDE_REGISTERS or name in _UNMODELLED_FIELDS:
        raise _not_modelled(flow, f"writing {name}")
    lacking = any(run.packet.get(need, 0) not in values for need, values in known.needs if values)
    if lacking or (run.packet.get("ip_frag") == LATER_FRAGMENT and is_of_transport(name)):
        run.notes.append(f"{name} is not written: the packet has none")
    else:
        run.packet[name] = run.packet.get(name, 0) & ~mask | value & mask
    return True


def _set_field(run: Run, action: SetField, flow: Flow) -> bool:
    return _write(run, flow, action.field, action.value, -1)


def _set_field_masked(run: Run, action: SetFieldMasked, flow: Flow) -> bool:
    return _write(run, flow, action.field, action.value, action.mask)


def _load(run: Run, action: Load, flow: Flow) -> bool:
    mask = (1 << action.bits) - 1 << action.offset
    return _write(run, flow, action.field, action.value << action.offset, mask)


def _move(run: Run, action: Move, flow: Flow) -> bool:
    if action.source in WIDE_REGISTERS or action.source not in FIELDS:
        raise _not_modelled(flow, f"reading {action.source}")
    value = run.packet.get(action.source, 0) >> action.source_offset
    mask = (1 << action.bits) - 1 << action.destination_offset
    return _write(run, flow, action.destination, value << action.destination_offset, mask)


def _set_ttl(run: Run, action: SetNwTtl, flow: Flow) -> bool:
    return _write(run, flow, "nw_ttl", action.ttl, -1)


def _decrease_ttl(run: Run, _action: DecNwTtl, flow: Flow) -> bool:
    if run.packet.get("eth_type") not in _IP:
        return True
    ttl = run.packet.get("nw_ttl", 0)
    if ttl <= 1:
        run.notes.append(f"dropped: the TTL of {ttl} cannot be counted down")
        return False
    return _write(run, flow, "nw_ttl", ttl - 1, -1)


def _track(run: Run, action: Ct, flow: Flow) -> bool:
    """Connection tracking: a copy goes on with the state known, the rest of the flow without."""
    if action.alg:
        raise _not_modelled(flow, format_action(action, Names(table=name_of)))
    zone = action.zone
    if action.zone_field is not None:
        bits = (1 << (action.zone & 0x3F) + 1) - 1
        zone = run.packet.get(action.zone_field, 0) >> (action.zone >> 6) & bits
    packet = {name: value for name, value in run.packet.items() if not name.startswith("ct_")}
    run.packet = dict(packet)
    for nested in action.actions:
        if not isinstance(nested, Nat):
            raise _not_modelled(flow, format_action(action, Names(table=name_of)))
        run.notes.append(_translate(packet, nested))
    committed = " and remembered" if action.flags & CtFlag.COMMIT else ""
    run.notes.append(f"looked up{committed} in connection tracking zone {zone}")
    if action.table_id != NO_TABLE:
        run.forks.append(Run(packet, action.table_id, zone=zone))
    return True


def _translate(packet: dict[str, int], nat: Nat) -> str:
    """Change what NAT changes, and say what was assumed."""
    if nat.address_min is None:
        return "address translation: taken to have nothing to translate"
    end = "src" if nat.flags & NatFlag.SRC else "dst"
    packet[f"ipv{nat.address_min.version}_{end}"] = int(nat.address_min)
    for name in (f"tcp_{end}", f"udp_{end}", f"sctp_{end}"):
        if nat.port_min is not None and packet.get("ip_proto") in FIELDS[name].needs[0][1]:
            packet[name] = nat.port_min
    return f"address translation: taken to give the first of its range, {nat.address_min}"


def _note(_run: Run, _action: Note, _flow: Flow) -> bool:
    return True


_ACTIONS: Final[dict[type[Any], Callable[[Run, Any, Flow], bool]]] = {
    Output: _output,
    SetField: _set_field,
    SetFieldMasked: _set_field_masked,
    Load: _load,
    Move: _move,
    SetNwTtl: _set_ttl,
    DecNwTtl: _decrease_ttl,
    Ct: _track,
    Note: _note,
}
