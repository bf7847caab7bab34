"""apply, confirm, rollback, plan: the document and the machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from privacy_router.cli.completing import checkpoint_names
from privacy_router.cli.deferred import commands
from privacy_router.cli.obstacle_view import show_obstacles
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.cli.resource_view import Row, show
from privacy_router.client import bus as daemons
from privacy_router.config import load_document, read_text
from privacy_router.engine.document import NOTHING
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from privacy_router.client.bus import Daemon
    from privacy_router.host.dbus import Signal
    from privacy_router.node.obstacles import Obstacle

app = commands()


ConfirmWithin = Annotated[
    float,
    typer.Option(
        "--confirm-within",
        metavar="SECONDS",
        min=0,
        help="Undo everything again unless `privacy-router confirm` is called in time. Without it"
        " all is kept at once.",
        show_default=False,
    ),
]


@app.command()
def plan(
    path: Annotated[
        Path | None, typer.Argument(help="The document, in place of --config.", metavar="[FILE]")
    ] = None,
    config_file: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    whole: Annotated[bool, typer.Option("--all", help="A line for each change.")] = False,
) -> None:
    """Show what applying the document would change on this machine, and change nothing."""
    from privacy_router.node.machine import require_root

    config_file = path or config_file
    if daemons.is_there():
        load_document(config_file)
        text, base = _document(config_file)
        found = daemons.with_daemon(lambda daemon: daemon.call("Plan", "ss", text, base))
        rows = [Row.from_bus(row) for row in found[0]]
    else:
        require_root()
        load_document(config_file)
        rows = asyncio.run(_plan_here(config_file))
    _print_plan(rows, _obstacles(config_file), as_json, whole)


def _obstacles(config_file: Path) -> list[Obstacle]:
    """What would stop `up`, whether or not the plan has changes."""
    from privacy_router.node.obstacles import obstacles

    config = load_document(config_file).plugins.privacy_router
    return [] if config is None else obstacles(config, NodePaths.from_environment())


async def _plan_here(config_file: Path) -> list[Row]:
    """Without a daemon: the same, worked out here."""
    from privacy_router.client.names import bus_address
    from privacy_router.daemon.config_file import source_of
    from privacy_router.daemon.logging import set_up_logging
    from privacy_router.daemon.plugins import all_plugins
    from privacy_router.engine.journal import Journal
    from privacy_router.engine.order import in_order
    from privacy_router.engine.planning import make_preview
    from privacy_router.engine.plugin import Trust
    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
    from privacy_router.plugins.target import Machine

    set_up_logging(verbose=False)
    paths = NodePaths.from_environment()
    managed = Journal(paths.journal).managed() if paths.journal.exists() else {}
    source, bus = source_of(config_file), Bus(bus_address(os.environ))
    plugins = in_order(all_plugins(Machine(bus), PrivacyRouterPlugin(paths)))
    try:
        sections = source.sections()
        found = await make_preview(plugins, source, sections, managed, Trust.OWNER)
    finally:
        await bus.close()
    return [Row.from_change(change) for change in found.changes]


@app.command()
def apply(
    path: Annotated[
        Path, typer.Argument(help="The document.", envvar="PRIVACY_ROUTER_CONFIG")
    ] = DEFAULT_CONFIG,
    confirm_within: ConfirmWithin = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change, as `plan` does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have op-dbus make this machine as a document says: all of it, or nothing.

    What goes wrong halfway is undone. With --confirm-within everything is undone unless you
    confirm: for changes that may cut off the very connection by which you make them.
    """
    if dry_run:
        plan(path, as_json=as_json)
        return
    load_document(path)
    text, base = _document(path)
    number, rows = daemons.with_daemon(
        lambda daemon: _run(daemon, as_json, "Apply", "ssd", text, base, confirm_within)
    )
    _report(number, rows, as_json, confirm_within)


def declare_nothing() -> None:
    """Have op-dbus give everything back, what waits to be confirmed too."""

    async def work(daemon: Daemon) -> None:
        if await daemon.property("Awaiting"):
            await daemon.call("Rollback")
        await _run(daemon, False, "Apply", "ssd", NOTHING, "", 0.0)

    daemons.with_daemon(work)


@app.command()
def confirm() -> None:
    """Keep the changes that wait to be confirmed."""
    (number,) = daemons.with_daemon(lambda daemon: daemon.call("Confirm"))
    say(f"[green]✓[/] run {number} stands")


@app.command()
def rollback(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Go back to this checkpoint (`checkpoint list`).",
            autocompletion=checkpoint_names,
        ),
    ] = "",
    confirm_within: ConfirmWithin = 0.0,
    as_json: AsJson = False,
) -> None:
    """Undo the run that waits to be confirmed; with none that waits, go back to a checkpoint, or to
    the state before the last run."""

    async def work(daemon: Daemon) -> tuple[int, list[Row]]:
        if not checkpoint and await daemon.property("Awaiting"):
            return ((await daemon.call("Rollback"))[0], [])
        return await _run(daemon, as_json, "RestoreCheckpoint", "sd", checkpoint, confirm_within)

    number, rows = daemons.with_daemon(work)
    if number and not rows and not as_json:
        say(f"[green]✓[/] run {number} is undone")
        return
    _report(number, rows, as_json, confirm_within)


async def _run(
    daemon: Daemon, quiet: bool, member: str, signature: str, *body: Any
) -> tuple[int, list[Row]]:
    """A call that changes the machine, with a line for each step of it on stderr."""
    last = ""

    def hear(signal: Signal) -> None:
        nonlocal last
        _, phase, plugin, done, total, text = signal.body
        step = f"{phase} {plugin}" + (f": {text}" if text else "")
        if step != last and not quiet:
            err.print(f"[dim]{done}/{total}[/] {escape(step)}")
        last = step

    following = asyncio.create_task(daemon.follow("Progress", hear))
    try:
        number, rows = await daemon.call(member, signature, *body)
    except asyncio.CancelledError:
        say("op-dbus goes on with this: privacy-router runs shows what becomes of it, and")
        say("privacy-router rollback takes it back")
        raise
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return number, [Row.from_bus(row) for row in rows]


def _document(path: Path) -> tuple[str, str]:
    return read_text(path), str(path.absolute().parent)


def _print_plan(rows: list[Row], found: list[Obstacle], as_json: bool, whole: bool) -> None:
    if as_json:
        obstacles = [obstacle.as_json() for obstacle in found]
        print_json({"changes": [row.as_dict() for row in rows], "obstacles": obstacles})
    else:
        hint = "" if whole else "privacy-router plan --all shows each"
        show(rows, nothing="nothing to change", hint=hint)
        show_obstacles(found)


def _report(number: int, rows: list[Row], as_json: bool, confirm_within: float) -> None:
    waits = confirm_within if number else 0.0
    if as_json:
        changes = [row.as_dict() for row in rows]
        print_json({"run": number, "confirm_within_s": waits, "changes": changes})
        return
    hint = f"privacy-router runs --json shows each, as run {number}"
    show(rows, nothing="nothing to change", hint=hint)
    if number:
        out.print(f"[green]✓[/] run {number}" + ("" if waits else " stands"))
    if waits:
        out.print(f"it is undone in {waits:g} s, unless you say: privacy-router confirm")
