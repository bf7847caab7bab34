"""flows watch: each change of a flow, when it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from privacy_router.cli.asking import config_of
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import out, print_json_lines

if TYPE_CHECKING:
    from privacy_router.daemon.local.flows import FlowChange, Moment

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def watch(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0, help="End after so long.", show_default="never"),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="End after so many changes.", show_default="never"),
    ] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show each flow that is added, removed or changed, and whose it is, until Ctrl-C.

    With --json, one object a line.
    """
    from privacy_router.daemon.local.flows import require_root

    require_root()
    try:
        asyncio.run(_watch(config_file, seconds, count, as_json=as_json))
    except TimeoutError:
        return


async def _watch(
    config_file: Any, seconds: float | None, count: int | None, *, as_json: bool
) -> None:
    from privacy_router.daemon.local.flows import watch as moments

    left = count
    async with (
        asyncio.timeout(seconds),
        aclosing(moments(lambda: config_of(config_file))) as all_,
    ):
        async for moment in all_:
            shown = moment.flows if left is None else moment.flows[:left]
            _show(moment, shown, as_json=as_json)
            if left is not None:
                left -= len(shown)
                if not left:
                    return


def _show(moment: Moment, flows: tuple[FlowChange, ...], *, as_json: bool) -> None:
    if as_json:
        print_json_lines(_records(moment, flows))
        return
    for line in _lines(moment, flows):
        out.print(line)


def _records(moment: Moment, flows: tuple[FlowChange, ...]) -> Iterator[dict[str, Any]]:
    from privacy_router.report.flows import text_of

    at = {"at": moment.at.isoformat(timespec="milliseconds")}
    for change in flows:
        text = text_of(change.flow, moment.port_names)
        yield {
            **at,
            "event": change.verb,
            "table": text.table,
            "priority": text.priority,
            "match": text.match,
            "actions": text.actions,
            "cookie": f"{change.cookie:#x}",
            "whose": change.whose,
            "origin": text.origin,
            "reason": text.reason,
        }
    for port in moment.ports:
        yield {
            **at,
            "event": "port",
            "port": port.port,
            "added": port.added,
            "removed": port.removed,
        }
    for note in moment.notes:
        yield {**at, "event": "note", "text": note}


def _lines(moment: Moment, flows: tuple[FlowChange, ...]) -> Iterator[Text]:
    time = moment.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    for change in flows:
        yield _line(time, change, moment.port_names)
    for port in moment.ports:
        parts = [f"gets {port.added} flow(s)"] if port.added else []
        parts += [f"loses {port.removed} flow(s)"] if port.removed else []
        yield Text(f"{time}   {port.port} {' and '.join(parts)}", style="bold")
    for note in moment.notes:
        yield Text(f"{time}   {note}", style="dim")


def _line(time: str, change: FlowChange, port_names: Mapping[int, str]) -> Text:
    from privacy_router.report.flows import text_of

    sign, colour = _SIGNS[change.verb]
    text = text_of(change.flow, port_names)
    line = Text(f"{time} {sign} {text.line}", style=colour)
    why = f": {text.because}" if change.ours else ""
    line.append(f"  {change.whose}{why}", style="dim")
    return line
