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
from privacy_router.errors import ConflictError, ExitCode, PrivacyRouterError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.node.paths import NodePaths
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.notation import FlowRefusedError
from privacy_router.pipeline.rivals import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    from privacy_router.node.obstacles import obstacles, sees_all

    path = config_file or path
    try:
        config = load_document(path).plugins.privacy_router
        if config is not None:
            Pipeline(config, CATALOGUE.segment(config)).require_valid()
    except (ConfigError, FlowRefusedError, PipelineError) as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": _problems(error), "notes": [], "obstacles": []})
        raise SystemExit(ExitCode.INVALID_CONFIG) from None
    remarks = [] if config is None else [*notes(config), *_profile_notes(config, only_file)]
    found = [] if config is None or only_file else obstacles(config, NodePaths.from_environment())
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


def _profile_notes(config: PrivacyRouterConfig, only_file: bool) -> Iterator[str]:
    """What of the imported WARP profile is not in force; where only the file is judged also why
    that is not known, which is an obstacle else."""
    from privacy_router.hops.warp.remarks import not_in_force
    from privacy_router.hops.warp.store import load_profile

    path = config.warp.wgcf_config
    if path is None or not config.warp.enabled:
        return
    try:
        profile = load_profile(path)
    except PrivacyRouterError as error:
        if only_file:
            yield f"warp.wgcf_config: {error.message}"
        return
    for key, reason in not_in_force(profile, config.warp):
        yield f"warp.wgcf_config, {key}: not in force; {reason}."


def _problems(error: PrivacyRouterError) -> list[dict[str, str | None]]:
    if isinstance(error, ConfigError):
        return [problem.as_json() for problem in error.problems]
    path, _, message = error.message.partition(": ")
    return [Problem(path, message, error.remedy).as_json()]


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from privacy_router.config import json_schema

    print_json(json_schema())
