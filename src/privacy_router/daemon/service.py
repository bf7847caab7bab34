"""The controller as a process: lock, log, run, and one report when the node is up."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog

from privacy_router.config import load_document
from privacy_router.daemon.bus.naming import bus_address
from privacy_router.daemon.bus.presence import offer
from privacy_router.node.lifecycle import prepare, run
from privacy_router.node.lock import NodeLock
from privacy_router.node.machine import require_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.controller import Controller
    from privacy_router.node.paths import NodePaths

_ARENA_MAX = -8


def set_up_logging(*, verbose: bool) -> None:
    """One line an event, on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def lock_and_prepare(config_file: Path, paths: NodePaths) -> tuple[NodeLock, Controller]:
    """Everything that can be refused before the network is touched."""

    def load() -> PrivacyRouterConfig:
        return load_document(config_file).config

    require_root()
    load()  # a broken file is reported before anything is locked or looked for
    lock = NodeLock(paths)
    lock.take()
    return lock, prepare(load, paths)


def serve(lock: NodeLock, controller: Controller, on_ready: Callable[[], None]) -> None:
    """Run the controller until it is told to stop, on the bus that the environment says."""
    lock.note_pid()
    _keep_one_heap()
    address = bus_address(os.environ)
    if address is not None:
        controller.companion = lambda engine: offer(controller, engine, address)
    gc.freeze()  # what was loaded by now stays; the collector need not walk it again and again
    asyncio.run(run(controller, on_ready))


def _keep_one_heap() -> None:
    """Have all threads share a heap: only one of them runs at a time, and each heap more would cost
    memory. Elsewhere than on glibc there is nothing to say; mallopt(3)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
