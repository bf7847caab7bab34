"""A packet's way through the tables, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.node.tracing import tracked_words
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.tables import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.pipeline.trace.traverse import Step
    from privacy_router.pipeline.trace.walk import Walk

    Names = Mapping[int, str]


def step_lines(walked: Walk, names: Names) -> Iterator[str]:
    """A line for each table that the packet passed, and each look at its connection."""
    for passage in walked.passages:
        if passage.state:
            yield f"tracked: {tracked_words(passage)}"
        for step in passage.steps:
            yield _step_line(step, names)


def _step_line(step: Step, names: Names) -> str:
    if step.flow is None:
        return f"{step.table}: no flow matches → drop"
    match = format_match(step.flow.match, names.get) or "everything else"
    does = format_instructions(step.flow.instructions, names.get, name_of)
    because = f"{step.flow.origin}: {step.flow.reason}"
    return f"{step.table} {step.flow.priority}: {match} → {does} ({because})"
