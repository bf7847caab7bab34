"""up, down, status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from privacy_router.cli import apply as applying
from privacy_router.cli import daemon as daemons
from privacy_router.cli.in_force import config_in_force, has_other_text
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import complaints, out, print_json, say
from privacy_router.config import ConfigError, PrivacyRouterConfig, load_document
from privacy_router.errors import (
    ExitCode,
    PrivacyRouterError,
    RemoteServiceError,
    StorageError,
)
from privacy_router.node.file_note import FileNote, FileState
from privacy_router.node.paths import NodePaths
from privacy_router.plan.chain import WARP_NAMESPACE, WARP_TUNNEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.daemon.service import Order
    from privacy_router.node.lock import NodeLock
    from privacy_router.node.machine import Machine
    from privacy_router.node.status import NodeStatus


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    config_file: ConfigFile = DEFAULT_CONFIG,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the node is up; it keeps running.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, help="With --detach: seconds to wait for the chain to answer."),
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

        serve(lock, order, lambda: _report(config_file, started, 0.0))
        return
    _detach(lock, order, paths.controller_log)
    _report(config_file, started, wait)


def _report(config_file: Path, started: float, wait: float) -> None:
    """Say that it is done, and with `wait` see that the chain answers."""
    config = load_document(config_file).plugins.privacy_router
    what = "the machine is as declared" if config is None else "the node is up"
    say(f"[green]✓[/] {what} ({time.monotonic() - started:.1f} s)")
    if config is not None and wait:
        _await_chain(config, wait)


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


def _await_chain(config: PrivacyRouterConfig, patience_s: float) -> None:
    from privacy_router.node import machine as machines
    from privacy_router.node.probe import chain_answers

    machine = machines.inspect(config, NodePaths.from_environment())
    deadline = time.monotonic() + patience_s
    while not chain_answers(config, machine.wireguard):
        if time.monotonic() > deadline:
            raise _no_answer(config, machine)
        time.sleep(0.02)
    say("[green]✓[/] the chain answers")


_WHERE_TO_LOOK: Final = {
    "warp": "see that this network lets UDP to WARP's endpoint out; it is the last column of"
    f" `ip netns exec {WARP_NAMESPACE} wg show {WARP_TUNNEL} endpoints`",
    "xray": "the XRay server on the VPS runs with what `privacy-router vps export` prints",
}


def _no_answer(config: PrivacyRouterConfig, machine: Machine) -> RemoteServiceError:
    """What to say of a chain that does not answer: which hop it is, as far as that is known."""
    from privacy_router.node.health_reading import fault_in, read_health
    from privacy_router.node.lock import controller_pid

    told = read_health(config, machine, controller_pid(machine.paths), may_ask=True)
    hop, reason = fault_in(told) or ("", "the far end of the chain does not answer")
    return RemoteServiceError(
        (f"{hop}: " if hop else "") + f"{reason}; the node stays up and closed: nothing leaves it"
        " until the chain works",
        remedy=_WHERE_TO_LOOK.get(hop, "privacy-router status shows which hop it is"),
        retryable=True,
    )


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


def status(
    config_file: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it.")] = False,
    probe: Annotated[
        bool, typer.Option(help="Ask the outside which address it sees (a few small requests).")
    ] = True,
) -> None:
    """Show each hop: state, what shows it, handshake age, bytes, RTT, the address that sites see.

    Exit code 8 when the node is not entirely up, or nothing proves that it is.
    """
    from privacy_router.cli.status_view import show
    from privacy_router.node.machine import require_root
    from privacy_router.node.status import read_status

    require_root()

    def read() -> NodeStatus:
        return _with_note(read_status(config_in_force(config_file), probe=probe), config_file)

    if watch:
        _watch(lambda: show(read()))
    found = read()
    if as_json:
        print_json(found.as_dict())
    else:
        show(found)
    if not found.ok:
        raise SystemExit(ExitCode.CHECK_FAILED)


def _with_note(found: NodeStatus, config_file: Path) -> NodeStatus:
    """The same, which says also that the file differs when the controller has not looked at it."""
    if found.controller_pid is None or found.file is not None or not has_other_text(config_file):
        return found
    note = FileNote(str(config_file), FileState.CHANGED, time.time())
    return replace(found, file=note)


def _watch(draw: Callable[[], None]) -> None:
    while True:
        out.clear()
        draw()
        time.sleep(1)
