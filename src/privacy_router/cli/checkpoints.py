"""checkpoint list, create, show, diff, restore, drop, prune."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from privacy_router.cli import apply as applying
from privacy_router.cli.completion import checkpoint_names
from privacy_router.cli.deferred import commands
from privacy_router.cli.options import AsJson
from privacy_router.cli.output import out, print_json, say
from privacy_router.cli.resource_view import resource_line, show
from privacy_router.client import bus as daemons
from privacy_router.client.rows import ChangeRow
from privacy_router.errors import ConflictError
from privacy_router.values.text import local_time

app = commands(help="States of the machine to come back to.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="The checkpoint's name.", autocompletion=checkpoint_names)
]


@app.command(name="list")
def list_all(as_json: AsJson = False) -> None:
    """Show the checkpoints; one is made before every run."""
    (found,) = daemons.with_daemon(lambda daemon: daemon.call("ListCheckpoints"))
    if as_json:
        keys = ("name", "made_at", "automatic", "resources")
        print_json([dict(zip(keys, one, strict=True)) for one in found])
        return
    for name, made_at, automatic, resources in found:
        made_by = "by a run" if automatic else "by hand"
        out.print(f"{name:<24} {local_time(made_at)}  {made_by:<9} {resources:>5} resource(s)")
    if not found:
        out.print("no checkpoints yet")


@app.command()
def create(
    name: Name,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of an older one of that name.")
    ] = False,
) -> None:
    """Keep the present under a name."""

    async def work(daemon: daemons.Daemon) -> None:
        (known,) = await daemon.call("ListCheckpoints")
        if not replace and name in (one[0] for one in known):
            raise ConflictError(
                f"there is a checkpoint named {name} already",
                remedy="choose another name, or replace it with --replace",
            )
        await daemon.call("MakeCheckpoint", "s", name)

    daemons.with_daemon(work)
    say(f"[green]✓[/] kept as {name}")


@app.command(name="show")
def show_one(name: Name, as_json: AsJson = False) -> None:
    """Show what was declared and what was there."""
    text, rows = daemons.with_daemon(lambda daemon: daemon.call("ShowCheckpoint", "s", name))
    if as_json:
        keys = ("plugin", "kind", "name", "value")
        resources = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json({"name": name, "document": text, "resources": resources})
        return
    for plugin, kind, resource, value in rows:
        out.print(resource_line(plugin, kind, resource, value))
    out.print(Text(text))


@app.command()
def diff(name: Name, as_json: AsJson = False) -> None:
    """Show what going back would change."""
    (found,) = daemons.with_daemon(lambda daemon: daemon.call("DiffCheckpoint", "s", name))
    rows = [ChangeRow.from_bus(row) for row in found]
    if as_json:
        print_json({"changes": [row.as_dict() for row in rows]})
    else:
        show(rows, nothing=f"all is as it was in {name}")


@app.command()
def restore(
    name: Name, confirm_within: applying.ConfirmWithin = 0.0, as_json: AsJson = False
) -> None:
    """Go back: apply what was declared then, as one run."""
    applying.rollback(name, confirm_within, as_json)


@app.command()
def drop(name: Name) -> None:
    """Forget a checkpoint."""
    daemons.with_daemon(lambda daemon: daemon.call("DropCheckpoint", "s", name))
    say(f"[green]✓[/] {name} is forgotten")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of those that runs made stay.")] = 5,
) -> None:
    """Forget the older checkpoints that runs made."""
    (gone,) = daemons.with_daemon(lambda daemon: daemon.call("PruneCheckpoints", "u", keep))
    say(f"[green]✓[/] {gone} forgotten")
