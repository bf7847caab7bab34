"""Hear of what somebody else changes in the host's network and in the namespaces of the node."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import StorageError
from privacy_router.host import namespaces
from privacy_router.host.inotify import watching
from privacy_router.host.netlink_events import CONFIGURATION, EVERYTHING, changes, table_changes
from privacy_router.plan.firewall import TABLE
from privacy_router.plan.state import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from pathlib import Path

_log = structlog.get_logger()

# what follows within this time is told as one: on a busy host a look at the node is not for free
_SETTLE_S: Final = 0.5


@dataclass(frozen=True)
class _Listening:
    """To a network namespace, which is known by its inode: another may come by the same name."""

    inode: int
    tasks: tuple[asyncio.Task[None], ...]


class NetworkWatch:
    """Calls `tell` when devices, addresses, routes, rules, settings or the firewall change.

    It holds the namespaces that it listens in: one whose name goes must be let go before it is made
    anew, or its devices would live on where nobody sees them.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._listening: dict[str, _Listening] = {}
        self._sees_them_go = False

    def follow(self, places: Collection[str]) -> None:
        """Listen in those of these namespaces (HOST is the host's) that are there by now, and no
        others, while `run` sees them go."""
        if not self._sees_them_go:
            return
        for name in self._listening.keys() - places:
            self._leave(name)
        for name in places:
            path = None if name == HOST else namespaces.path_of(name)
            inode = namespaces.inode_of(path)
            known = self._listening.get(name)
            if known is not None and (known.inode != inode or any(t.done() for t in known.tasks)):
                self._leave(name)
            if inode is not None and name not in self._listening:
                self._listen(name, path, inode)

    def _listen(self, name: str, path: Path | None, inode: int) -> None:
        # neighbours of the host come and go; those of the node are set once and for all
        groups = CONFIGURATION if path is None else EVERYTHING
        # the host's other tables are none of the node's business; a hop's are not to be there
        tables = TABLE if path is None else ""
        heard = (changes(path, groups), table_changes(path, tables))
        tasks = tuple(asyncio.create_task(self._hear(name, one)) for one in heard)
        self._listening[name] = _Listening(inode, tasks)

    async def _hear(self, name: str, heard: AsyncGenerator[str, None]) -> None:
        try:
            async with aclosing(heard):
                async for words in heard:
                    _log.debug("heard of a change", where=name, what=words)
                    self._tell()
                    await asyncio.sleep(_SETTLE_S)
        except OSError as error:
            _log.warning("cannot listen to changes", where=name, reason=str(error))

    def _leave(self, name: str) -> list[asyncio.Task[None]]:
        known = self._listening.pop(name)
        for task in known.tasks:
            task.cancel()
        return list(known.tasks)

    async def run(self) -> None:
        """Let go of namespaces that go, until cancelled; then of all."""
        gone: asyncio.Queue[Path] = asyncio.Queue()
        try:
            with watching([namespaces.NETNS_DIR], gone.put_nowait):
                self._sees_them_go = True
                while True:
                    await self._let_go((await gone.get()).name)
        except StorageError as error:
            _log.warning("namespaces are not watched", reason=error.message, remedy=error.remedy)
        finally:
            self._sees_them_go = False
            for name in list(self._listening):
                await self._end(name)

    async def _let_go(self, name: str) -> None:
        known = self._listening.get(name)
        if known is not None and known.inode != namespaces.inode_of(namespaces.path_of(name)):
            await self._end(name)
            self._tell()

    async def _end(self, name: str) -> None:
        await asyncio.gather(*self._leave(name), return_exceptions=True)
