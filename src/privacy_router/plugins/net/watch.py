"""What happens to the machine's network, as the kernel and Open vSwitch announce it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.host.inotify import watching
from privacy_router.host.netlink_events import changes, table_changes
from privacy_router.ovsdb import changes as ovsdb_changes
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.shield import SHIELDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from privacy_router.plugins.net.observe import Location

_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0)


async def watched(location: Location) -> AsyncIterator[str]:
    """Yield a few words for each change. Raises PrivacyRouterError when the kernel tells no more.

    Open vSwitch may come and go: its socket appears then. Ends when the directory of that does,
    for it cannot be watched before.
    """
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    socket = location.ovs_socket
    there = socket.parent.is_dir()

    def tell(path: Path) -> None:
        if path == socket:
            heard.put_nowait("Open vSwitch's socket")
            start_switch()
        elif path == socket.parent and not there:
            heard.put_nowait(None)

    news = (changes(location.namespace), table_changes(location.namespace, SHIELDS))
    kernel = [asyncio.create_task(_kernel(one, heard)) for one in news]
    switches: list[asyncio.Task[None]] = []

    def start_switch() -> None:
        for old in switches:
            old.cancel()
        switches.append(asyncio.create_task(_switch(socket, heard)))

    try:
        with watching({socket.parent, socket.parent.parent}, tell):
            start_switch()
            while (words := await heard.get()) is not None:
                yield words
            for task in kernel:
                if task.done():
                    task.result()  # raises what ended it
    finally:
        for task in (*kernel, *switches):
            await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # told already, or too late to matter


async def _kernel(news: AsyncGenerator[str, None], heard: asyncio.Queue[str | None]) -> None:
    try:
        with doing("listen to the kernel"):
            async for words in news:
                heard.put_nowait(words)
    finally:
        heard.put_nowait(None)


async def _switch(socket: Path, heard: asyncio.Queue[str | None]) -> None:
    """Until its socket is made anew, which is there a moment before the server listens to it."""
    for pause_s in _PAUSES_S:
        try:
            async for words in ovsdb_changes.changes(socket):
                heard.put_nowait(words)
        except OvsdbError as error:
            heard.put_nowait(error.message)
        await asyncio.sleep(pause_s)
