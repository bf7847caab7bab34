"""init, check, schema: everything about the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from privacy_router.cli.deferred import commands
from privacy_router.cli.obstacle_view import show_obstacles
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.config import (
    ConfigError,
    PrivacyRouterConfig,
    Problem,
    load_document,
    notes,
)
from privacy_router.errors import ConflictError, ExitCode, InvalidError

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig


app = commands()


@app.command()
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


@app.command()
def check(
    path: Annotated[
        Path, typer.Argument(help="The configuration file.", envvar="PRIVACY_ROUTER_CONFIG")
    ] = DEFAULT_CONFIG,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="The same, as other commands take it.")
    ] = None,
    as_json: AsJson = False,
    only_file: Annotated[
        bool, typer.Option("--only-file", help="Judge the file, and not what this machine lacks.")
    ] = False,
) -> None:
    """Validate a configuration, and look for all that would stop `up` on this machine.

    Every problem at once: exit code 2 for those of the file, 8 where only the machine or a file
    that it names is not ready.
    """
    from privacy_router.daemon.local.check import (
        obstacles_of,
        profile_notes,
        require_valid,
        sees_all,
    )

    path = config_file or path
    try:
        plugins = load_document(path).plugins
        config = plugins.node
        require_valid(plugins)
    except InvalidError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": _problems(error), "notes": [], "obstacles": []})
        raise SystemExit(ExitCode.INVALID_CONFIG) from None
    remarks = (
        [] if config is None else [*notes(config), *profile_notes(config, only_file=only_file)]
    )
    found = [] if only_file else obstacles_of(load_document(path))
    if as_json:
        listed = [obstacle.as_json() for obstacle in found]
        print_json({"ok": not found, "problems": [], "notes": remarks, "obstacles": listed})
    else:
        _show_valid(path, config, remarks)
        show_obstacles(found)
        if config is not None and not only_file and not sees_all():
            say("[yellow]note:[/] only root sees all that would stop `up` on this machine")
    if found:
        raise SystemExit(ExitCode.CHECK_FAILED)


def _show_valid(path: Path, config: PrivacyRouterConfig | None, remarks: list[str]) -> None:
    out.print(f"[green]✓[/] {escape(str(path))} is a valid configuration")
    if config is not None:
        out.print(f"  chain: clients → {' → '.join(config.chain_hops)} → Internet")
    for remark in remarks:
        err.print(f"[yellow]note:[/] {escape(remark)}")


def _problems(error: InvalidError) -> list[dict[str, str | None]]:
    if isinstance(error, ConfigError):
        return [problem.as_json() for problem in error.problems]
    path, _, message = error.message.partition(": ")
    return [Problem(path, message, error.remedy).as_json()]


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from privacy_router.config import json_schema

    print_json(json_schema())
