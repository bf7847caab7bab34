"""Whose flows, groups, meters and policies are: what the switch itself can say. Pure.

A flow says by its cookie that it is op-dbus's. Groups and meters have no cookie, and a policy for
which there is no port yet has no flow. So each of them has an *anchor*: a flow in a table of its
own that no packet matches, and that leads to the group or through the meter. An anchor comes in
the same bundle as what it is for. The switch deletes it together with its group or meter (OpenFlow
1.3.5, 6.5 and 5.7), so that what another program makes with that number is not taken for ours.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from privacy_router.config.plugins.openflow import TABLE_MAX
from privacy_router.openflow import ApplyActions, FlowMod, Group, Match, Meter
from privacy_router.pipeline.allocation import DECLARED_OWNER, OWNER_MASK

if TYPE_CHECKING:
    from privacy_router.openflow import FlowStats, Instruction

ANCHOR_TABLE: Final = TABLE_MAX + 1
_ANCHOR_PRIORITY: Final = 65535
_KIND_SHIFT: Final = 32
_NUMBER_MASK: Final = 0xFFFFFFFF


class Part(IntEnum):
    """What part of a section a flow comes from; bits 32 to 47 of its cookie."""

    FLOW = 1
    POLICY = 2
    ANCHOR = 3


class Anchored(IntEnum):
    """What an anchor is for; bits 32 to 47 of the metadata that it asks for."""

    GROUP = 1
    METER = 2
    POLICY = 3


class Mark(NamedTuple):
    """Something that is op-dbus's: a group or meter by number, a policy by that of its name."""

    kind: Anchored
    number: int


def cookie(part: Part, number: int = 0) -> int:
    """48 to 63 the owner, 32 to 47 the part, 0 to 31 a policy's number."""
    return DECLARED_OWNER | part << _KIND_SHIFT | number


def is_ours(value: int) -> bool:
    """Whether a flow with that cookie is op-dbus's."""
    return value & OWNER_MASK == DECLARED_OWNER


def part_of(value: int) -> Part | None:
    """What part of a section a cookie of ours names."""
    try:
        return Part(value >> _KIND_SHIFT & 0xFFFF) if is_ours(value) else None
    except ValueError:
        return None


def number_of(value: int) -> int:
    """The number of a policy in a cookie of ours; 0 for none."""
    return value & _NUMBER_MASK


def policy_number(name: str) -> int:
    """The number of a policy, 32 bits of its name."""
    return zlib.crc32(name.encode())


def anchor(mark: Mark) -> FlowMod:
    """The command that adds the anchor of that."""
    return FlowMod(
        match=Match(metadata=DECLARED_OWNER | mark.kind << _KIND_SHIFT | mark.number),
        instructions=_leads_to(mark),
        table_id=ANCHOR_TABLE,
        priority=_ANCHOR_PRIORITY,
        cookie=cookie(Part.ANCHOR),
    )


def _leads_to(mark: Mark) -> tuple[Instruction, ...]:
    match mark.kind:
        case Anchored.GROUP:
            return (ApplyActions((Group(mark.number),)),)
        case Anchored.METER:
            return (Meter(mark.number),)
    return ()


def mark_of(flow: FlowMod | FlowStats) -> Mark | None:
    """What a flow is the anchor of, also where its actions were changed; else None."""
    metadata = flow.match.value("metadata")
    if flow.table_id != ANCHOR_TABLE or not is_ours(flow.cookie) or metadata is None:
        return None
    try:
        kind = Anchored(metadata >> _KIND_SHIFT & 0xFFFF)
    except ValueError:
        return None
    return Mark(kind, metadata & _NUMBER_MASK)
