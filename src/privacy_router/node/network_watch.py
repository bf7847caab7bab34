"""Hear of what other programs change in the host's network and in the namespaces of the node."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.errors import StorageError
from privacy_router.hops.firewall import TABLE
from privacy_router.host import namespaces
from privacy_router.host.inotify import watching
from privacy_router.host.netlink_events import (
    CONFIGURATION,
    EVERYTHING,
    WAYS,
    changes,
    table_changes,
)
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from pathlib import Path

    from privacy_router.node.supervision import Supervisor

_log = structlog.get_logger()

# what follows within this time is told as one: on a busy host a look at the node is not for free
_SETTLE_S: Final = 0.5
# neighbours of the host come and go, and so do devices where containers' are born; what is in a
# hop is set once and for all
_GROUPS: Final = {HOST: CONFIGURATION, SWITCH_NAMESPACE: WAYS}


@dataclass(frozen=True)
class _Listening:
    """To a network namespace, which is known by its inode: another may come by the same name."""

    inode: int
    watches: tuple[str, ...]


class NetworkWatch:
    """Calls `tell` when devices, addresses, routes, rules, settings or the firewall change.

    It holds the namespaces that it listens in: one whose name goes must be let go before it is made
    anew, or its devices would live on where no pass sees them.
    """

    def __init__(self, tell: Callable[[], None], supervisor: Supervisor) -> None:
        self._tell = tell
        self._supervisor = supervisor
        self._listening: dict[str, _Listening] = {}
        self._places: Collection[str] = ()
        self._sees_them_go = False

    def follow(self, places: Collection[str]) -> None:
        """Listen in those of these namespaces (HOST is the host's) that are there by now, and no
        others, while `run` sees them go."""
        self._places = places
        if not self._sees_them_go:
            return
        for name in self._listening.keys() - places:
            self._leave(name)
        for name in places:
            path = path_of(name)
            inode = namespaces.inode_of(path)
            known = self._listening.get(name)
            if known is not None and known.inode != inode:
                self._leave(name)
            if inode is not None and name not in self._listening:
                self._listen(name, path, inode)

    def _listen(self, name: str, path: Path | None, inode: int) -> None:
        groups = _GROUPS.get(name, EVERYTHING)
        where = name or "the host"
        # the host's other tables are none of the node's business; a hop's are not to be there
        tables = TABLE if path is None else ""
        watches = {
            f"the network of {where}": lambda: self._forward_changes(where, changes(path, groups)),
            f"the firewall of {where}": lambda: self._forward_changes(
                where, table_changes(path, tables)
            ),
        }
        for watch, work in watches.items():
            self._supervisor.keep(watch, work)
        self._listening[name] = _Listening(inode, tuple(watches))

    async def _forward_changes(self, where: str, heard: AsyncGenerator[str, None]) -> None:
        async with aclosing(heard):
            async for words in heard:
                _log.debug("heard of a change", where=where, what=words)
                self._tell()
                await asyncio.sleep(_SETTLE_S)

    def _leave(self, name: str) -> list[asyncio.Task[None]]:
        known = self._listening.pop(name)
        return self._supervisor.drop(*known.watches)

    async def run(self) -> None:
        """Let go of namespaces that go, until cancelled; then of all. Raises StorageError when the
        directory of their names is not there, or is not any more."""
        gone: asyncio.Queue[Path] = asyncio.Queue()
        try:
            with watching([namespaces.NETNS_DIR], gone.put_nowait):
                self._require_directory(namespaces.NETNS_DIR.is_dir())
                self._sees_them_go = True
                self.follow(self._places)
                while True:
                    path = await gone.get()
                    self._require_directory(path != namespaces.NETNS_DIR)
                    await self._let_go(path.name)
        finally:
            self._sees_them_go = False
            for name in list(self._listening):
                await self._end(name)

    @staticmethod
    def _require_directory(there: bool) -> None:
        if not there:
            raise StorageError(
                f"{namespaces.NETNS_DIR} is not there, or not the same any more", retryable=True
            )

    async def _let_go(self, name: str) -> None:
        known = self._listening.get(name)
        if known is not None and known.inode != namespaces.inode_of(namespaces.path_of(name)):
            await self._end(name)
            self._tell()

    async def _end(self, name: str) -> None:
        await asyncio.gather(*self._leave(name), return_exceptions=True)
