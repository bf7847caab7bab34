"""apply, confirm, rollback, plan: the document and the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from privacy_router.cli.asking import ask_any
from privacy_router.cli.completion import checkpoint_names
from privacy_router.cli.deferred import commands
from privacy_router.cli.obstacle_view import show_obstacles
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.cli.resource_view import show
from privacy_router.client import bus as daemons
from privacy_router.client.names import NO_DOCUMENT
from privacy_router.client.rows import ChangeRow
from privacy_router.config import load_document, read_text

if TYPE_CHECKING:
    from privacy_router.client.bus import Daemon
    from privacy_router.client.rows import Obstacle
    from privacy_router.host.dbus import Signal

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
    from privacy_router.daemon.local.check import obstacles_of

    config_file = path or config_file
    rows = ask_any(config_file, lambda node: node.plan(*_document(config_file)))
    _print_plan(rows, obstacles_of(load_document(config_file)), as_json, whole)


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
        await _run(daemon, False, "Apply", "ssd", NO_DOCUMENT, "", 0.0)

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

    async def work(daemon: Daemon) -> tuple[int, list[ChangeRow]]:
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
) -> tuple[int, list[ChangeRow]]:
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
    return number, [ChangeRow.from_bus(row) for row in rows]


def _document(path: Path) -> tuple[str, str]:
    """The text and the directory of a document, which is a valid one. Raises ConfigError."""
    load_document(path)
    return read_text(path), str(path.absolute().parent)


def _print_plan(rows: list[ChangeRow], found: list[Obstacle], as_json: bool, whole: bool) -> None:
    if as_json:
        obstacles = [obstacle.as_json() for obstacle in found]
        print_json({"changes": [row.as_dict() for row in rows], "obstacles": obstacles})
    else:
        hint = "" if whole else "privacy-router plan --all shows each"
        show(rows, nothing="nothing to change", hint=hint)
        show_obstacles(found)


def _report(number: int, rows: list[ChangeRow], as_json: bool, confirm_within: float) -> None:
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
