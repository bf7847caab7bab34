"""init, check, schema, plan: everything that touches nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.config import ConfigError, load_document, notes
from privacy_router.errors import ConflictError, ExitCode
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import name_of
from privacy_router.plan.state import Change


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(init)
    app.command()(check)
    app.command()(schema)
    app.command()(plan)


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = DEFAULT_CONFIG,
    vps: Annotated[str | None, typer.Option(help="Address of your VPS, if you have one.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Public name or address that clients dial.")
    ] = None,
    accept_warp_terms: Annotated[
        bool,
        typer.Option(
            "--accept-warp-terms",
            help="You have read and accept https://www.cloudflare.com/application/terms/.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a configuration to start from."""
    from privacy_router.config import default_document
    from privacy_router.host.files import make_directory, write_atomic

    if path.exists() and not force:
        raise ConflictError(
            f"{path} is there already", remedy="edit it, or replace it with --force"
        )
    text = default_document(vps, endpoint=endpoint, accept_terms=accept_warp_terms)
    make_directory(path.parent, 0o755)
    write_atomic(path, text.encode(), 0o644)
    say(f"wrote {path}")
    if not accept_warp_terms:
        say("WARP: set warp.accept_terms to true after reading Cloudflare's terms, or import a")
        say("      profile with warp.wgcf_config; without either, `up` will tell you so again")
    say(f"next: privacy-router check {path}; privacy-router up --config {path}")


def check(
    path: Annotated[Path, typer.Argument(help="The configuration file.")] = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Validate a configuration; every problem at once, exit code 2 if there is one."""
    try:
        config = load_document(path).config
    except ConfigError as error:
        if not as_json:
            raise
        problems = [problem.as_json() for problem in error.problems]
        print_json({"ok": False, "problems": problems, "notes": []})
        raise SystemExit(ExitCode.INVALID_CONFIG) from None
    remarks = list(notes(config))
    if as_json:
        print_json({"ok": True, "problems": [], "notes": remarks})
        return
    out.print(f"[green]✓[/] {escape(str(path))} is a valid configuration")
    out.print(f"  chain: clients → {' → '.join(config.chain_hops)} → Internet")
    for remark in remarks:
        err.print(f"[yellow]note:[/] {escape(remark)}")


def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from privacy_router.config import json_schema

    print_json(json_schema())


def plan(config_file: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what `up` would change on this machine, and change nothing."""
    from privacy_router.node.inspection import pending_changes
    from privacy_router.node.machine import require_root

    require_root()
    pending = asyncio.run(pending_changes(load_config(config_file)))
    changes = pending.changes
    if as_json:
        print_json({"changes": [_as_dict(change, pending.port_names) for change in changes]})
        return
    for change in changes:
        out.print(_as_line(change, pending.port_names))
    out.print(f"{len(changes)} change(s)" if changes else "[green]✓[/] nothing to change")


def _as_dict(change: Change, port_names: dict[int, str]) -> dict[str, str | None]:
    key = change.key
    return {
        "verb": change.verb,
        "kind": key.kind.name.lower(),
        "where": key.where,
        "name": _name(change, port_names),
        "before": None if change.before is None else describe(change.before),
        "after": None if change.after is None else describe(change.after),
    }


def _name(change: Change, port_names: dict[int, str]) -> str:
    flow = change.after or change.before
    if not isinstance(flow, Flow):
        return change.key.name
    match = format_match(flow.match, port_names.get)
    does = format_instructions(flow.instructions, port_names.get, name_of)
    return f"{flow.table} priority={flow.priority}{match and ','}{match} → {does}"


_SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "change": ("~", "yellow")}


def _as_line(change: Change, port_names: dict[int, str]) -> Text:
    sign, colour = _SIGNS[change.verb]
    key = change.key
    name = _name(change, port_names)
    line = Text(f"{sign} {key.kind.name.lower():<10} {key.where:<12} {name}", style=colour)
    if change.verb == "change":
        line.append(f"  ({describe(change.before)} → {describe(change.after)})", style="dim")
    return line


def describe(value: object) -> str:
    """A value of an item in a few words; never a secret, since none is in an item."""
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
