"""A flow of the pipeline, in names; `entry` gives it the switch's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.openflow.text import format_match
from privacy_router.pipeline.cookies import Layer, cookie
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.openflow.match import Match


@dataclass(frozen=True)
class Flow:
    """What a packet must have, and what then becomes of it.

    `reason` is the part of the configuration (or of the design) that the flow comes from; it is
    for people and does not count when flows are compared.
    """

    table: str
    priority: int
    match: Match
    instructions: tuple[Instruction, ...]
    layer: Layer = field(compare=False)
    reason: str = field(compare=False)

    @property
    def key(self) -> str:
        """What makes it the same flow on the switch: table, priority and match."""
        return flow_key(number_of(self.table), self.priority, self.match)

    @property
    def cookie(self) -> int:
        """The owner's mark."""
        return cookie(self.layer)


def flow_key(table_number: int, priority: int, match: Match) -> str:
    """The identity of a flow as text, the same for a desired and an observed one."""
    return f"{table_number:03d} {priority:05d} {format_match(match)}"
