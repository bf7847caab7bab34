"""init, check, schema: everything about the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.config import ConfigError, Problem, load_document, notes
from privacy_router.errors import ConflictError, ExitCode, PrivacyRouterError
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.notation import FlowRefusedError
from privacy_router.pipeline.rivals import PipelineError
from privacy_router.plan import chain as chains


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(init)
    app.command()(check)
    app.command()(schema)


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
    say("next: privacy-router check" + ("" if path == DEFAULT_CONFIG else f" {path}"))


def check(
    path: Annotated[
        Path, typer.Argument(help="The configuration file.", envvar="PRIVACY_ROUTER_CONFIG")
    ] = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Validate a configuration; every problem at once, exit code 2 if there is one."""
    try:
        config = load_document(path).plugins.privacy_router
        if config is not None:
            Pipeline(config, chains.build(config)).require_valid()
    except (ConfigError, FlowRefusedError, PipelineError) as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": _problems(error), "notes": []})
        raise SystemExit(ExitCode.INVALID_CONFIG) from None
    remarks = [] if config is None else list(notes(config))
    if as_json:
        print_json({"ok": True, "problems": [], "notes": remarks})
        return
    out.print(f"[green]✓[/] {escape(str(path))} is a valid configuration")
    if config is not None:
        out.print(f"  chain: clients → {' → '.join(config.chain_hops)} → Internet")
    for remark in remarks:
        err.print(f"[yellow]note:[/] {escape(remark)}")


def _problems(error: PrivacyRouterError) -> list[dict[str, str | None]]:
    if isinstance(error, ConfigError):
        return [problem.as_json() for problem in error.problems]
    path, _, message = error.message.partition(": ")
    return [Problem(path, message, error.remedy).as_json()]


def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from privacy_router.config import json_schema

    print_json(json_schema())
