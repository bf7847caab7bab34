"""How a packet's way through the tables looks on a terminal, and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from privacy_router.cli.output import out
from privacy_router.node.tracing import tracked_words, verdict_words
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.notation import format_port, format_value
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.tables import name_of
from privacy_router.pipeline.trace.packet import format_packet
from privacy_router.pipeline.trace.walk import Sent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.pipeline.trace.packet import Packet
    from privacy_router.pipeline.trace.traverse import Rewrite, Step
    from privacy_router.pipeline.trace.walk import Walk

    PortNames = Mapping[int, str]


def show(walked: Walk, port_names: PortNames, differences: Sequence[str] | None) -> None:
    """Print the way, its end, and where the switch differs; None when it was not asked."""
    for line in lines(walked, port_names):
        out.print(line)
    colour = "green" if isinstance(walked.verdict, Sent) else "yellow"
    out.print(Text(verdict_words(walked.verdict, port_names), style=f"bold {colour}"))
    if differences is None:
        return
    if not differences:
        out.print("the switch does the same")
    for difference in differences:
        out.print(Text(f"different on the switch: {difference}", style="red"))


def lines(walked: Walk, port_names: PortNames) -> Iterator[Text]:
    """The packet, and below it table after table; not wrapped, so that it can be searched."""
    yield Text(packet_words(walked.packet, port_names))
    last = walked.steps[-1]
    for passage in walked.passages:
        if passage.state:
            yield Text(f"├─ tracked: {tracked_words(passage)}", style="cyan")
        for step in passage.steps:
            ends = step is last
            yield Text.assemble("└─ " if ends else "├─ ", _head(step, port_names))
            for detail in _details(step, port_names):
                yield Text.assemble("      " if ends else "│     ", detail)


def _head(step: Step, port_names: PortNames) -> Text:
    said = step_document(step, port_names)
    head = Text.assemble((step.table, "bold"), "  ", said["match"])
    if said["priority"] is not None:
        head.append(f"  (priority {said['priority']})", style="dim")
    return head


def _details(step: Step, port_names: PortNames) -> Iterator[Text]:
    said = step_document(step, port_names)
    yield Text(said["actions"])
    if said["reason"]:
        yield Text(f"because {said['origin']}: {said['reason']}", style="dim")
    yield from (Text(change, style="cyan") for change in said["changes"])
    yield from (Text(note, style="dim") for note in step.notes)


def document(
    walked: Walk, port_names: PortNames, differences: Sequence[str] | None
) -> dict[str, Any]:
    """The same for scripts; `differences` None when the switch was not asked."""
    sent = walked.verdict.ports if isinstance(walked.verdict, Sent) else ()
    return {
        "packet": packet_words(walked.packet, port_names),
        "passages": [
            {
                "tracked": tracked_words(passage) if passage.state else None,
                "steps": [step_document(step, port_names) for step in passage.steps],
            }
            for passage in walked.passages
        ],
        "verdict": "sent" if sent else "dropped",
        "ports": [_port(port, port_names) for port in sent],
        "summary": verdict_words(walked.verdict, port_names),
        "differences": differences,
    }


def step_document(step: Step, port_names: PortNames) -> dict[str, Any]:
    """What there is to say of a step, in words and with names."""
    rest = {"changes": [_change(one) for one in step.rewrites], "notes": list(step.notes)}
    if step.flow is None:
        flow = {"priority": None, "match": "no flow matches", "actions": "drop"}
        return {"table": step.table, **flow, "origin": "", "reason": "", **rest}
    return {
        "table": step.table,
        "priority": step.flow.priority,
        "match": format_match(step.flow.match, port_name=port_names.get) or "everything else",
        "actions": format_instructions(
            step.flow.instructions, port_name=port_names.get, table_name=name_of
        ),
        "origin": step.flow.origin,
        "reason": step.flow.reason,
        **rest,
    }


def packet_words(packet: Packet, port_names: PortNames) -> str:
    """The packet in the words of ovs-ofctl, with the port's name."""
    _, *rest = format_packet(packet).split(",")
    return ",".join([f"in_port={_port(packet['in_port'], port_names)}", *rest])


def _port(number: int, port_names: PortNames) -> str:
    return port_names.get(number) or format_port(number)


def _change(rewrite: Rewrite) -> str:
    before, after = (
        format_value(FIELDS[rewrite.field], value, None)
        for value in (rewrite.before, rewrite.after)
    )
    return f"{rewrite.field}: {before} → {after}"
