"""The node's controller in the caller's own process or in a child of it, and the node's end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from privacy_router.daemon.local.release import not_given_back, release_all
from privacy_router.daemon.logging import set_up_logging
from privacy_router.daemon.service import Order, lock_node, serve
from privacy_router.errors import ExitCode, PrivacyRouterError
from privacy_router.node import lifecycle
from privacy_router.node.machine import require_root
from privacy_router.node.paths import NodePaths
from privacy_router.node.teardown import LeftoverError, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.lock import NodeLock

    Told = Callable[[], AbstractContextManager[None]]

__all__ = ["TakenDown", "keep", "keep_in_background", "require_root", "take_down"]


def _locked(config_file: Path, *, verbose: bool) -> tuple[NodeLock, Order]:
    set_up_logging(verbose=verbose)
    order = Order(config_file, NodePaths.from_environment(), apply=True)
    return lock_node(order), order


def keep(config_file: Path, on_ready: Callable[[], None], *, verbose: bool) -> None:
    """Bring the node up and keep it, until told to stop. Raises what bringing it up does."""
    lock, order = _locked(config_file, verbose=verbose)
    serve(lock, order, on_ready)


def keep_in_background(config_file: Path, told: Told, *, verbose: bool) -> None:
    """The same in a child, which goes on; return when the node is up. `told` tells the operator of
    the child's errors until then. Raises SystemExit as the child exits, where it does not get
    there."""
    lock, order = _locked(config_file, verbose=verbose)
    _detach(lock, order, order.paths.controller_log, told)


def _detach(lock: NodeLock, order: Order, log_file: Path, told: Told) -> None:
    """Go on in a child; return when it reports that the node is up, exit as it does if not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _as_daemon(lock, order, log_file, writer, told)
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


def _as_daemon(lock: NodeLock, order: Order, log_file: Path, ready: int, told: Told) -> NoReturn:
    """The child's life; never returns. Until it is ready its complaints go to the terminal."""
    os.setsid()

    def on_ready() -> None:
        _redirect(log_file)
        with contextlib.suppress(BrokenPipeError):  # the command that waited for it was killed
            os.write(ready, b"+")
        os.close(ready)

    code = int(ExitCode.FAILURE)
    try:
        with told():
            serve(lock, order, on_ready)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else code
    except BaseException:
        traceback.print_exc()  # nothing else would: this process ends without returning
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


@dataclass(frozen=True)
class TakenDown:
    """What became of taking the node down: whether it was up (None where it is not entirely down),
    how many other changes were taken back, and what is left."""

    was_up: bool | None
    given_back: int
    failure: PrivacyRouterError | None


def take_down(config: PrivacyRouterConfig) -> TakenDown:
    """Take the node down, and give back what other plugins have taken over."""
    set_up_logging(verbose=False)
    paths = NodePaths.from_environment()
    left: list[PrivacyRouterError] = []
    was_up, given_back = None, 0
    try:
        was_up = lifecycle.down(config, paths)
    except LeftoverError as error:
        left.append(error)
    try:
        given_back = asyncio.run(release_all(paths))
    except PrivacyRouterError as error:
        left.append(not_given_back(error))
    return TakenDown(was_up, given_back, together(left) if left else None)
