"""How a packet's way through the tables looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from privacy_router.cli.output import out
from privacy_router.report.trace import (
    is_sent,
    packet_words,
    step_document,
    tracked_words,
    verdict_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.pipeline.trace.traverse import Step
    from privacy_router.pipeline.trace.walk import Walk

    PortNames = Mapping[int, str]


def show(walked: Walk, port_names: PortNames, differences: Sequence[str] | None) -> None:
    """Print the way, its end, and where the switch differs; None when it was not asked."""
    for line in lines(walked, port_names):
        out.print(line)
    colour = "green" if is_sent(walked) else "yellow"
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
