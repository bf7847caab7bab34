"""flows explain: each flow in words, and which part of the configuration asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import out, print_json, say
from privacy_router.errors import InvalidError
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import TABLES, number_of


class NoSuchFlowError(InvalidError):
    """Nothing fits what was asked for."""


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
    from privacy_router.node.inspection import program

    compiled, port_names, machine = program(load_config(config_file))
    in_order = sorted(compiled.flows, key=lambda flow: (number_of(flow.table), -flow.priority))
    rows = [_row(flow, port_names) for flow in in_order]
    chosen = rows if wanted is None else choose(rows, wanted, port_names)
    if as_json:
        print_json(chosen)
        return
    _print(chosen)
    if machine is None:
        say("for the ports that the configuration names: the node is down, or you are not root")


def _row(flow: Flow, port_names: Mapping[int, str]) -> dict[str, Any]:
    from privacy_router.openflow.text import format_instructions, format_match
    from privacy_router.pipeline.explain import explain as in_words
    from privacy_router.pipeline.tables import name_of

    return {
        "table": flow.table,
        "priority": flow.priority,
        "match": format_match(flow.match, port_names.get),
        "actions": format_instructions(flow.instructions, port_names.get, name_of),
        "port": port_names.get(flow.port),
        "words": in_words(flow, port_names),
        "origin": flow.origin,
        "reason": flow.reason,
    }


def choose(
    rows: Sequence[dict[str, Any]], wanted: str, port_names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """The rows of a table or about a port, else those that have the text.

    Raises NoSuchFlowError when there are none.
    """
    text = wanted.lower()
    if text in {table.name for table in TABLES}:
        chosen = [row for row in rows if row["table"] == text]
    elif text in {name.lower() for name in port_names.values()}:
        whole = re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])")
        chosen = [row for row in rows if row["port"] == wanted or whole.search(_text(row))]
    else:
        chosen = [row for row in rows if text in _text(row)]
    if not chosen:
        raise NoSuchFlowError(
            f"no flow has to do with {wanted!r}",
            remedy=f"name a table ({', '.join(table.name for table in TABLES)}), a port"
            f" ({', '.join(sorted(port_names.values()))}) or a part of a flow or its reason",
        )
    return chosen


def _text(row: dict[str, Any]) -> str:
    parts = ("match", "actions", "reason", "origin", "words")
    return "\n".join(row[part] for part in parts).lower()


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = None
    for row in rows:
        if row["table"] != table:
            table = row["table"]
            out.print(Text(f"\n{number_of(table)} {table}", style="bold"))
        head = f"  {row['priority']:>5}  {row['match'] or 'everything else'} → {row['actions']}"
        out.print(Text(head, style="dim"))
        out.print(Text(f"         {row['words']}"))
