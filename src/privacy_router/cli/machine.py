"""plugins, query, runs, monitor: what op-dbus has, sees, did and hears."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from privacy_router.cli.completion import plugin_names
from privacy_router.cli.deferred import commands
from privacy_router.cli.options import AsJson
from privacy_router.cli.output import err, out, print_json, print_json_lines
from privacy_router.cli.resource_view import flat, resource_line
from privacy_router.client import bus as daemons
from privacy_router.client.names import BUS_NAME, ROOT
from privacy_router.client.rows import ChangeRow
from privacy_router.values.text import local_time, printable

if TYPE_CHECKING:
    from privacy_router.client.bus import Daemon
    from privacy_router.host.dbus import Signal

app = commands()


_LISTED_MOST: Final = 4
_COLOURS: Final = {
    "kept": "green",
    "idle": "dim",
    "different": "yellow",
    "failed": "red",
    "unavailable": "yellow",
}


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """Show op-dbus' plugins: what each keeps, and why one cannot work here."""

    async def work(daemon: Daemon) -> list[dict[str, Any]]:
        paths = await daemon.property("Plugins")
        remotes = [daemons.MANAGER.at(path, f"{BUS_NAME}.Plugin") for path in paths]
        return [await daemon.bus.get_all(remote) for remote in remotes]

    found = daemons.with_daemon(work)
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("PLUGIN", "STATE", "KEEPS", "WHAT"):
        table.add_column(heading)
    for one in found:
        state = Text(one["State"], style=_COLOURS.get(one["State"], ""))
        why = one["Reason"] or one["Trouble"]
        words = f"{one['Title']}\n{why}; {one['Remedy']}".rstrip("; ") if why else one["Title"]
        table.add_row(one["Name"], state, str(one["Resources"] or ""), escape(words))
    out.print(table)


@app.command()
def query(
    plugin: Annotated[
        str,
        typer.Argument(
            help="A plugin (`privacy-router plugins`); all without.", autocompletion=plugin_names
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show what is there now, as the plugins see it."""
    (rows,) = daemons.with_daemon(lambda daemon: daemon.call("Query", "s", plugin))
    if as_json:
        keys = ("plugin", "kind", "name", "value")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    for owner, kind, name, value in rows:
        out.print(resource_line(owner, kind, name, value))
    if not rows:
        out.print("nothing")


@app.command()
def runs(as_json: AsJson = False) -> None:
    """Show the last runs: when, what became of them, and why."""
    (found,) = daemons.with_daemon(lambda daemon: daemon.call("ListRuns"))
    if as_json:
        keys = ("run", "started_at", "phase", "reason", "changes")
        rows = [dict(zip(keys, (*run[:-1], _changes(run[-1])), strict=True)) for run in found]
        print_json(rows)
        return
    for number, started_at, phase, reason, changes in found:
        line = f"{number:>4}  {local_time(started_at)}  {phase:<10} {len(changes):>4} change(s)"
        out.print(line + (f"  {escape(reason)}" if reason else ""))
    if not found:
        out.print("no runs yet")


def _changes(rows: list[Any]) -> list[dict[str, Any]]:
    return [ChangeRow.from_bus(row).as_dict() for row in rows]


@app.command()
def monitor(
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0 for never.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what happens, as it happens: drift and repairs, steps of runs, ports that come and go.

    With --json an object a line.
    """
    seen = 0
    enough = asyncio.Event()

    def hear(signal: Signal) -> None:
        nonlocal seen
        if signal.interface != daemons.MANAGER.interface:
            return
        _print_signal(signal, as_json)
        seen += 1
        if seen == count:
            enough.set()

    async def work(daemon: Daemon) -> None:
        await daemon.property("Version")  # fails when there is no daemon
        if not as_json:
            err.print(f"[dim]listening to {BUS_NAME} {ROOT}; Ctrl-C ends[/]")
        following = asyncio.create_task(daemon.follow("", hear))
        waiting = asyncio.create_task(enough.wait())
        done, _ = await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (following, waiting):
            task.cancel()
        await asyncio.gather(following, waiting, return_exceptions=True)
        if following in done:
            await following

    daemons.with_daemon(work)


def _print_signal(signal: Signal, as_json: bool) -> None:
    now = datetime.now(UTC).astimezone()
    if as_json:
        line = {"at": now.isoformat(), "signal": signal.member, "body": list(signal.body)}
        print_json_lines([line])
        return
    out.print(f"[dim]{now:%H:%M:%S}[/] {signal.member:<12} {escape(printable(_words(signal)))}")


def _listed(words: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(words) - _LISTED_MOST} more" if len(words) > _LISTED_MOST else ""
    return ", ".join(words[:_LISTED_MOST]) + more


def _words(signal: Signal) -> str:
    match signal.member:
        case "Drift":
            plugin, rows, repaired = signal.body
            what = _listed([ChangeRow.from_bus(row).short for row in rows])
            return f"{plugin}: {what}: {'put right' if repaired else 'left as it is'}"
        case "Progress":
            number, phase, plugin, done, total, text = signal.body
            return f"run {number} {done}/{total} {phase} {plugin} {text}".rstrip()
        case _:
            return " ".join(flat(value) for value in signal.body)
