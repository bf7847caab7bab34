"""flows explain: each flow in words, and which part of the configuration asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import out, print_json, say
from privacy_router.report.flows import Explained, table_names


def explain(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILTER]",
            help="A table, a port, or any text of the match, the actions, the reason or the key.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say of each flow in words what it does, and which part of the configuration asks for it.

    For the ports that are on the bridge now; without root, or when the node is down, for those
    that the configuration names.
    """
    from privacy_router.daemon.local import flows

    found, is_live = flows.explain(load_config(config_file), wanted or "")
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    _print(found)
    if not is_live:
        say("for the ports that the configuration names: the node is down, or you are not root")


def _print(found: Sequence[Explained]) -> None:
    table = None
    for one in found:
        text = one.text
        if text.table != table:
            table = text.table
            out.print(Text(f"\n{table_names().index(table)} {table}", style="bold"))
        head = f"  {text.priority:>5}  {text.matched} → {text.actions}"
        out.print(Text(head, style="dim"))
        out.print(Text(f"         {one.words}"))
