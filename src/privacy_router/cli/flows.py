"""flows dump: what decides over every packet, in names."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import out, print_json

app = typer.Typer(help="The OpenFlow tables of the bridge.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The OpenFlow tables of the bridge."""


@app.command()
def dump(as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show the flows that are on the bridge now, with their counters and their reasons."""
    from privacy_router.node.inspection import read_flows
    from privacy_router.node.machine import require_root

    require_root()
    rows = asyncio.run(read_flows(load_config(config_file)))
    if as_json:
        print_json(rows)
        return
    _print_rows(rows)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("TABLE")
    table.add_column("PRIO", justify="right")
    table.add_column("PACKETS", justify="right")
    table.add_column("MATCH", overflow="fold")
    table.add_column("ACTIONS", overflow="fold")
    table.add_column("BECAUSE", style="dim", overflow="fold")
    for row in rows:
        cells = ("table", "priority", "packets", "match", "actions", "reason")
        table.add_row(*(str(row[cell]) for cell in cells))
    out.print(table if rows else "no flows: the node is down (privacy-router up)")
