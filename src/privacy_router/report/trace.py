"""A packet's way through the tables in text (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.openflow.constants import CtState
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.notation import format_port, format_value
from privacy_router.pipeline.trace.packet import format_packet
from privacy_router.pipeline.trace.walk import Sent
from privacy_router.report.flows import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.pipeline.trace.packet import Packet
    from privacy_router.pipeline.trace.traverse import Rewrite, Step, Traversal
    from privacy_router.pipeline.trace.walk import Dropped, Walk

    Names = Mapping[int, str]


def is_sent(walked: Walk) -> bool:
    """Whether the packet leaves the bridge."""
    return isinstance(walked.verdict, Sent)


def verdict_words(verdict: Dropped | Sent, names: Names) -> str:
    """How the packet ends, in a line."""
    if isinstance(verdict, Sent):
        return f"sent out of {', '.join(_port(port, names) for port in verdict.ports)}"
    because = verdict.flow.reason if verdict.flow is not None else "no flow matches"
    return f"dropped in table {verdict.table}: {because}"


def tracked_words(passage: Traversal) -> str:
    """What connection tracking said before a passage, and in which zone."""
    said = passage.state & ~CtState.TRK
    names = [str(flag.name).lower() for flag in CtState if said & flag]
    return f"{','.join(names) or 'nothing known'}, zone {passage.zone}"


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
    text = text_of(step.flow, names)
    return f"{text.step} ({text.origin}: {text.reason})"


def document(walked: Walk, names: Names, differences: Sequence[str] | None) -> dict[str, Any]:
    """The way for scripts; `differences` None when the switch was not asked."""
    sent = walked.verdict.ports if isinstance(walked.verdict, Sent) else ()
    return {
        "packet": packet_words(walked.packet, names),
        "passages": [
            {
                "tracked": tracked_words(passage) if passage.state else None,
                "steps": [step_document(step, names) for step in passage.steps],
            }
            for passage in walked.passages
        ],
        "verdict": "sent" if sent else "dropped",
        "ports": [_port(port, names) for port in sent],
        "summary": verdict_words(walked.verdict, names),
        "differences": differences,
    }


def step_document(step: Step, names: Names) -> dict[str, Any]:
    """What there is to say of a step, in words and with names."""
    rest = {"changes": [_change(one) for one in step.rewrites], "notes": list(step.notes)}
    if step.flow is None:
        flow = {"priority": None, "match": "no flow matches", "actions": "drop"}
        return {"table": step.table, **flow, "origin": "", "reason": "", **rest}
    text = text_of(step.flow, names)
    return {"table": step.table, "priority": text.priority, **text.value, **rest}


def packet_words(packet: Packet, names: Names) -> str:
    """The packet in the notation of ovs-ofctl, with the port's name."""
    _, *rest = format_packet(packet).split(",")
    return ",".join([f"in_port={_port(packet['in_port'], names)}", *rest])


def _port(number: int, names: Names) -> str:
    return names.get(number) or format_port(number)


def _change(rewrite: Rewrite) -> str:
    before, after = (
        format_value(FIELDS[rewrite.field], value, None)
        for value in (rewrite.before, rewrite.after)
    )
    return f"{rewrite.field}: {before} → {after}"
