"""up, down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
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
    ExitCode,
    PrivacyRouterError,
    StorageError,
)
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.daemon.service import Order
    from privacy_router.node.lock import NodeLock


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
    from privacy_router.daemon.logging import set_up_logging
    from privacy_router.daemon.service import Order, lock_node
    from privacy_router.node.machine import require_root

    require_root()
    started = time.monotonic()
    if daemons.is_supervised():
        applying.apply(config_file)
        _report(config_file, started, wait)
        return
    set_up_logging(verbose=verbose)
    paths = NodePaths.from_environment()
    order = Order(config_file, paths, apply=True)
    lock = lock_node(order)
    if not detach:
        from privacy_router.daemon.service import serve

        serve(lock, order, lambda: _report_beside(config_file, started, wait))
        return
    _detach(lock, order, paths.controller_log)
    _report(config_file, started, wait)


def _report(config_file: Path, started: float, wait: float) -> None:
    """Say that it is done, and with `wait` see that packets pass; "up" is what they do."""
    config = load_document(config_file).plugins.privacy_router
    say(f"[green]✓[/] the machine is as declared ({time.monotonic() - started:.1f} s)")
    if config is not None and wait:
        from privacy_router.cli.awaiting import await_traffic

        await_traffic(config, NodePaths.from_environment(), wait)


def _report_beside(config_file: Path, started: float, wait: float) -> None:
    """The same, in the process that keeps the node, which has more to do than to wait."""

    def work() -> None:
        try:
            _report(config_file, started, wait)
        except PrivacyRouterError as error:
            say(f"[yellow]{escape(error.message)}[/]\n[bold]remedy:[/] {escape(error.remedy)}")

    threading.Thread(target=work, name="awaiting traffic", daemon=True).start()


def _detach(lock: NodeLock, order: Order, log_file: Path) -> None:
    """Go on in a child; return when it reports that the node is up, exit as it does if not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _as_daemon(lock, order, log_file, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            if pipe.read(1):
                return
        _, result = os.waitpid(child, 0)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGINT)  # it has a session of its own; it takes down what it did
        os.waitpid(child, 0)
        raise
    raise SystemExit(os.waitstatus_to_exitcode(result) or ExitCode.FAILURE)


def _as_daemon(lock: NodeLock, order: Order, log_file: Path, ready: int) -> None:
    """The child's life; never returns. Until it is ready its complaints go to the terminal."""
    from privacy_router.daemon.service import serve

    os.setsid()

    def on_ready() -> None:
        _redirect(log_file)
        with contextlib.suppress(BrokenPipeError):  # whoever waited for it was killed
            os.write(ready, b"+")
        os.close(ready)

    code = int(ExitCode.FAILURE)
    try:
        with complaints():
            serve(lock, order, on_ready)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else code
    except BaseException:
        traceback.print_exc()  # nobody else would: this process ends without returning
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log_file: Path) -> None:
    log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(log)
    os.close(null)


@app.command()
def down(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Take the node down and leave the machine as it was found. Keys and clients are kept.

    What the other plugins have taken over is given back too. An op-dbus that a service manager runs
    goes on, with nothing declared, until `up`.
    """
    from privacy_router.daemon.logging import set_up_logging
    from privacy_router.daemon.release import give_back, not_given_back
    from privacy_router.node import lifecycle
    from privacy_router.node.machine import require_root
    from privacy_router.node.teardown import LeftoverError, together

    require_root()
    if daemons.is_supervised():
        applying.declare_nothing()
        say("[green]✓[/] the node is down; op-dbus goes on, with nothing declared")
        return
    set_up_logging(verbose=False)
    try:
        config = load_config(config_file)
    except (ConfigError, StorageError) as error:
        say(f"[yellow]the configuration cannot be used ({escape(error.message.splitlines()[0])});")
        say("[yellow]taking down what is there all the same[/]")
        config = PrivacyRouterConfig()
    paths = NodePaths.from_environment()
    left: list[PrivacyRouterError] = []
    try:
        was_up = lifecycle.down(config, paths)
        say("[green]✓[/] the node is down" if was_up else "the node was not up")
    except LeftoverError as error:
        left.append(error)
    try:
        given_back = asyncio.run(give_back(paths))
    except PrivacyRouterError as error:
        left.append(not_given_back(error))
    else:
        if given_back:
            say(f"[green]✓[/] {given_back} other change(s) of this machine are taken back")
    if left:
        raise together(left)
