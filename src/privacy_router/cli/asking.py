"""Who answers a command about the node: op-dbus, or, where none keeps one, this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.cli.options import is_named
from privacy_router.client import bus
from privacy_router.client.errors import NoNodeError, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from privacy_router.client.api import Node

T = TypeVar("T")


def ask(config_file: Path, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
    """Have `work` done with the node. A file that the caller names is for this process: op-dbus
    has its own document. Raises what the node answers, and PrivilegeError in this process."""
    if not is_named(config_file):
        try:
            return bus.with_daemon(work)
        except (NotRunningError, NoNodeError):
            pass  # a node that is down has clients too
    return asyncio.run(_here(config_file, work))


async def _here(config_file: Path, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
    from privacy_router.cli.in_force import config_in_force
    from privacy_router.daemon.local import LocalNode
    from privacy_router.node.machine import require_root
    from privacy_router.node.paths import NodePaths

    require_root()
    return await work(LocalNode(config_in_force(config_file), NodePaths.from_environment()))
