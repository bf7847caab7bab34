"""flows: what decides over every packet; the flows that are there, and what is not as it should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from privacy_router.cli import flow_explain, flow_watch
from privacy_router.cli.asking import config_of
from privacy_router.cli.deferred import commands
from privacy_router.cli.flow_trace import trace
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import out, print_json
from privacy_router.cli.resource_view import SIGNS
from privacy_router.errors import ExitCode
from privacy_router.report.changes import FlowDifference, all_are_missing
from privacy_router.report.flows import table_names

app = commands(help="The OpenFlow tables of the bridge.", no_args_is_help=True)


def _table_name(name: str | None) -> str | None:
    known = table_names()
    if name is not None and name not in known:
        raise typer.BadParameter(f"there is no table {name}; there are {', '.join(known)}")
    return name


@app.command()
def dump(
    table: Annotated[
        str | None,
        typer.Option("--table", "-t", callback=_table_name, help="Only this table, by its name."),
    ] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show the flows that are on the bridge now, with their counters and their reasons."""
    from privacy_router.daemon.local import flows

    flows.require_root()
    rows = flows.dump(config_of(config_file))
    wanted = [row for row in rows if table in (None, row["table"])]
    if as_json:
        print_json(wanted)
    elif rows:
        _print_rows(wanted)
    else:
        out.print("no flows: the node is down (privacy-router up)")


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """A line a flow, whole however long it is, so that it can be searched."""
    table = None
    for row in rows:
        if row["table"] != table:
            table = row["table"]
            out.print(Text(f"{table}\n  PRIO    PACKETS", style="bold"))
        line = Text(f"{row['priority']:>6} {row['packets']:>10}  ")
        line.append(f"{row['match'] or 'everything else'} → {row['actions']}")
        line.append(f"  {_because(row)}", style="dim")
        out.print(line)


def _because(row: dict[str, Any]) -> str:
    words = row["reason"] + (f" ({row['origin']})" if row["origin"] else "")
    over = row.get("over_limit")
    return f"{words}; dropped as too many: {over}" if over else words


@app.command()
def diff(as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show which flows and meters of the bridge are not as they should be.

    Exit code 8 when there are any. A controller that runs repairs them within a moment.
    """
    from privacy_router.daemon.local.flows import pending, require_root

    require_root()
    found = pending(config_of(config_file))
    if as_json:
        print_json({"changes": [one.as_dict for one in found]})
    else:
        _print_differences(found)
    if found:
        raise SystemExit(ExitCode.CHECK_FAILED)


_VERDICTS = {"add": "is missing", "remove": "should not be there", "change": "is different"}


def _print_differences(found: Sequence[FlowDifference]) -> None:
    if all_are_missing(found):
        out.print("every flow is missing: the node is down, or another program deleted them all")
        out.print("privacy-router up brings them")
        return
    for one in found:
        sign, colour = SIGNS[one.verb]
        line = Text(f"{sign} {one.name}", style=colour)
        line.append(f"  {_VERDICTS[one.verb]}", style="dim")
        if one.because:
            line.append(f": {one.because}", style="dim")
        out.print(line)
    count = f"{len(found)} difference(s); `privacy-router up` repairs them"
    out.print(count if found else "[green]✓[/] every flow and meter is as it should be")


app.command()(flow_explain.explain)
app.command()(trace)
app.command()(flow_watch.watch)
