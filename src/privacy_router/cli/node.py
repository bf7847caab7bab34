"""up, down."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from privacy_router.cli import apply as applying
from privacy_router.cli.deferred import commands
from privacy_router.cli.options import DEFAULT_CONFIG, ConfigFile, load_config
from privacy_router.cli.output import complaints, say
from privacy_router.client import bus as daemons
from privacy_router.config import ConfigError, PrivacyRouterConfig, load_document
from privacy_router.errors import (
    PrivacyRouterError,
    StorageError,
)

if TYPE_CHECKING:
    from pathlib import Path


app = commands()


@app.command()
def up(
    config_file: ConfigFile = DEFAULT_CONFIG,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the node is up; it keeps running.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for packets to pass; 0 for not at all."),
    ] = 10.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Bring the node up and keep it so.

    In the foreground, Ctrl-C takes it down again. With --detach the controller goes on in the
    background. If it is killed, the tunnel works on, and another `up` takes over where it was.
    """
    from privacy_router.daemon.local import lifetime

    lifetime.require_root()
    started = time.monotonic()
    if daemons.is_supervised():
        applying.apply(config_file)
        _report(config_file, started, wait)
        return
    if not detach:
        lifetime.keep(
            config_file, lambda: _report_beside(config_file, started, wait), verbose=verbose
        )
        return
    lifetime.keep_in_background(config_file, complaints, verbose=verbose)
    _report(config_file, started, wait)


def _report(config_file: Path, started: float, wait: float) -> None:
    """Say that it is done, and with `wait` see that packets pass; "up" is what they do."""
    config = load_document(config_file).plugins.node
    say(f"[green]✓[/] the machine is as declared ({time.monotonic() - started:.1f} s)")
    if config is not None and wait:
        from privacy_router.daemon.local.awaiting import await_traffic

        began = time.monotonic()
        await_traffic(config, wait, lambda text: say(f"  {escape(text)}"))
        say(f"[green]✓[/] the node is up: packets pass ({time.monotonic() - began:.1f} s)")


def _report_beside(config_file: Path, started: float, wait: float) -> None:
    """The same, in the process that keeps the node, which has more to do than to wait."""

    def work() -> None:
        try:
            _report(config_file, started, wait)
        except PrivacyRouterError as error:
            say(f"[yellow]{escape(error.message)}[/]\n[bold]remedy:[/] {escape(error.remedy)}")

    threading.Thread(target=work, name="awaiting traffic", daemon=True).start()


@app.command()
def down(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Take the node down and leave the machine as it was found. Keys and clients are kept.

    What the other plugins have taken over is given back too. An op-dbus that a service manager runs
    goes on, with nothing declared, until `up`.
    """
    from privacy_router.daemon.local import lifetime

    lifetime.require_root()
    if daemons.is_supervised():
        applying.declare_nothing()
        say("[green]✓[/] the node is down; op-dbus goes on, with nothing declared")
        return
    try:
        config = load_config(config_file)
    except (ConfigError, StorageError) as error:
        say(f"[yellow]the configuration cannot be used ({escape(error.message.splitlines()[0])});")
        say("[yellow]taking down what is there all the same[/]")
        config = PrivacyRouterConfig()
    gone = lifetime.take_down(config)
    if gone.was_up is not None:
        say("[green]✓[/] the node is down" if gone.was_up else "the node was not up")
    if gone.given_back:
        say(f"[green]✓[/] {gone.given_back} other change(s) of this machine are taken back")
    if gone.failure is not None:
        raise gone.failure
