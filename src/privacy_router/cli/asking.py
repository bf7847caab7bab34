"""Who answers a command about the node: op-dbus, or, where none keeps one, this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.cli.options import is_named
from privacy_router.client import bus
from privacy_router.client.errors import NoNodeError, NotRunningError
from privacy_router.errors import PrivacyRouterError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from privacy_router.client.api import Node
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.daemon.local.in_force import Subject

T = TypeVar("T")


def ask(
    config_file: Path,
    work: Callable[[Node], Coroutine[Any, Any, T]],
    *,
    in_spite_of: type[PrivacyRouterError] = NotRunningError,
) -> T:
    """Have `work` done with the node. A file that the caller names is for this process: op-dbus
    has its own document. `in_spite_of`: where op-dbus answers so, this process looks itself.

    Raises what the node answers, and PrivilegeError in this process.
    """
    if not is_named(config_file):
        try:
            return bus.with_daemon(work)
        except PrivilegeError:
            raise
        except (NotRunningError, NoNodeError, in_spite_of):
            pass  # a node that is down has clients too
    return asyncio.run(_here(config_file, work))


def ask_any(config_file: Path, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
    """Have `work` done by op-dbus, whichever document it keeps, or else in this process; there a
    caller who is not root is told so before `work` reads anything."""
    try:
        if bus.is_there():
            return bus.with_daemon(work)
    except NotRunningError:
        pass  # it has ended just now
    return asyncio.run(_here(config_file, work))


async def _here(config_file: Path, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
    from privacy_router.daemon.local.node import LocalNode

    return await work(LocalNode(config_file, is_named=is_named(config_file)))


def config_of(config_file: Path) -> PrivacyRouterConfig:
    """The configuration of the node that is kept, or of a file that the caller names."""
    from privacy_router.daemon.local.in_force import config_in_force

    return config_in_force(config_file, is_named=is_named(config_file))


def subject(config_file: Path) -> Subject:
    """What a look at the node is measured by, and what is to be said of the file."""
    from privacy_router.daemon.local.in_force import subject_of

    return subject_of(config_file, is_named=is_named(config_file))
