"""Flows of one table and priority that want overlapping packets: which one wins, the switch chooses
(OpenFlow 1.3.5, 5.3). So there must be none with different effects.

A match is one number: the bits that it wants, under a mask of the bits that it looks at. Two
overlap unless they want a bit differently that both look at. Flows with the same mask are held
together, and for each other mask by the bits that both look at, so that a flow is compared with
masks and not with flows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from privacy_router.errors import InvalidError
from privacy_router.openflow.fields import FIELDS, WIDE_REGISTERS
from privacy_router.openflow.instructions import canonical_instructions
from privacy_router.openflow.match import Match, MatchItem
from privacy_router.openflow.text import format_match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.flow import Flow


class PipelineError(InvalidError):
    """The compiled flows contradict each other or what the tables declare."""


def same_effect(one: Flow, other: Flow) -> bool:
    """Whether both flows do the same with a packet; another meter is another effect."""
    if one.instructions == other.instructions:
        return True
    return canonical_instructions(one.instructions) == canonical_instructions(other.instructions)


class Bits(NamedTuple):
    """A match as one number: `value` is what it wants of the bits in `mask`."""

    value: int
    mask: int


class _Place(NamedTuple):
    """Where a field, as its OXM header says it, is in that number."""

    shift: int
    byte_count: int
    full_mask: int
    is_masked: bool


def _places() -> dict[bytes, _Place]:
    """The places of all fields. Wide registers consist of others and have none."""
    places: dict[bytes, _Place] = {}
    shift = 0
    for field in FIELDS.values():
        if field.name not in WIDE_REGISTERS:
            for header, is_masked in ((field.header, False), (field.masked_header, True)):
                places[header] = _Place(shift, field.byte_count, field.full_mask, is_masked)
            shift += field.bits
    return places


_PLACES: Final = _places()
_MATCH_HEADER_BYTES, _OXM_HEADER_BYTES, _EXPERIMENTER_BYTES = 4, 4, 4


def bits_of(match: Match) -> Bits:
    """The match as one number, read from its wire: there may be a hundred thousand of them.

    A field that is not known counts as not looked at, which can make matches overlap that do not,
    and never the other way round.
    """
    wire = match.wire
    at, end = _MATCH_HEADER_BYTES, int.from_bytes(wire[2:4], "big")
    value = mask = 0
    while at < end:
        start = at + _OXM_HEADER_BYTES
        following = start + wire[start - 1]  # the header's last byte is the length of the rest
        place = _PLACES.get(wire[at:start])
        if place is None:
            start += _EXPERIMENTER_BYTES
            place = _PLACES.get(wire[at:start])
        at = following
        if place is None:
            continue
        shift, size, full, is_masked = place
        value |= int.from_bytes(wire[start : start + size], "big") << shift
        mask |= (int.from_bytes(wire[start + size : at], "big") if is_masked else full) << shift
    return Bits(value, mask)


def overlap(one: Match, other: Match) -> bool:
    """Whether a packet can have what both ask for."""
    here, there = bits_of(one), bits_of(other)
    return not (here.value ^ there.value) & here.mask & there.mask


def shared(one: Match, other: Match) -> Match:
    """The packets that two overlapping matches both want."""
    items = {item.field: item for item in one}
    for item in other:
        before = items.get(item.field, MatchItem(item.field, 0, 0))
        full = item.field.full_mask
        masks = [full if mask is None else mask for mask in (before.mask, item.mask)]
        items[item.field] = MatchItem(item.field, before.value | item.value, masks[0] | masks[1])
    return Match.of_items(_full_masks_dropped(items.values()))


def _full_masks_dropped(items: Iterable[MatchItem]) -> list[MatchItem]:
    return [
        MatchItem(item.field, item.value, None if item.mask == item.field.full_mask else item.mask)
        for item in items
    ]


_Effects = dict["tuple[Instruction, ...]", dict[int, "Flow"]]


class _Shape:
    """Flows of one table and priority that look at the same bits."""

    def __init__(self, mask: int) -> None:
        self.mask = mask
        self.flows: dict[int, Flow] = {}
        # bits that another shape looks at as well → what is wanted of them → effect → flows
        self._by_common: dict[int, dict[int, _Effects]] = {}

    def rival_of(self, flow: Flow, bits: Bits) -> Flow | None:
        """A flow that wants a packet that `flow` wants, and does something else with it."""
        if bits.mask == self.mask:
            return self.flows.get(bits.value)  # the same match twice is one flow on the switch
        common = bits.mask & self.mask
        if common not in self._by_common:
            self._by_common[common] = {}
            for value, other in self.flows.items():
                self._note(common, value, other)
        effects = self._by_common[common].get(bits.value & common, {})
        for others in effects.values():
            for other in others.values():
                if same_effect(flow, other):
                    break
                return other
        return None

    def add(self, flow: Flow, value: int) -> None:
        self.flows[value] = flow
        for common in self._by_common:
            self._note(common, value, flow)

    def _note(self, common: int, value: int, flow: Flow) -> None:
        effects = self._by_common[common].setdefault(value & common, {})
        effects.setdefault(flow.instructions, {})[value] = flow

    def remove(self, flow: Flow, value: int) -> None:
        del self.flows[value]
        for common, wanted in self._by_common.items():
            effects = wanted[value & common]
            del effects[flow.instructions][value]
            if not effects[flow.instructions]:
                del effects[flow.instructions]


class Rivals:
    """Flows that are in force together, none of which rivals another."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        """Raises PipelineError as `add` does."""
        self._shapes: dict[tuple[str, int], dict[int, _Shape]] = {}
        self.add(flows)

    def add(self, flows: Iterable[Flow]) -> None:
        """Take these in, all or none.

        Raises PipelineError, which names both, for a flow that wants packets that another wants
        at the same priority of the same table, and does something else with them.
        """
        added: list[Flow] = []
        try:
            for flow in flows:
                self._add(flow)
                added.append(flow)
        except PipelineError:
            self.remove(added)
            raise

    def _add(self, flow: Flow) -> None:
        bits = bits_of(flow.match)
        shapes = self._shapes.setdefault((flow.table, flow.priority), {})
        for shape in shapes.values():
            rival = shape.rival_of(flow, bits)
            if rival is not None:
                raise _rivalry(flow, rival)
        if bits.mask not in shapes:
            shapes[bits.mask] = _Shape(bits.mask)
        shapes[bits.mask].add(flow, bits.value)

    def remove(self, flows: Iterable[Flow]) -> None:
        """Forget flows that were taken in."""
        for flow in flows:
            bits = bits_of(flow.match)
            shapes = self._shapes[flow.table, flow.priority]
            shapes[bits.mask].remove(flow, bits.value)
            if not shapes[bits.mask].flows:
                del shapes[bits.mask]


def _rivalry(one: Flow, other: Flow) -> PipelineError:
    packets = format_match(shared(one.match, other.match)) or "every packet"
    return PipelineError(
        f"{one.origin} and {other.origin} want the same packets at priority {one.priority} in the"
        f" table {one.table}: «{one.reason}» and «{other.reason}» both want {packets}",
        remedy="give one of them another priority (the higher one wins), or matches that exclude"
        " each other",
    )


def require_agreement(flows: Iterable[Flow]) -> None:
    """Raise PipelineError as `Rivals.add` does, when two of these are rivals."""
    groups: dict[tuple[str, int], list[Flow]] = {}
    for flow in flows:
        groups.setdefault((flow.table, flow.priority), []).append(flow)
    for group in groups.values():
        if len(group) > 1 and not _are_at_one(group):
            Rivals(group)


def _are_at_one(group: list[Flow]) -> bool:
    """Whether they are different flows that all do the same, which is quick to see."""
    effect = group[0].instructions
    if any(flow.instructions != effect for flow in group):
        return False
    return len({flow.match for flow in group}) == len(group)
