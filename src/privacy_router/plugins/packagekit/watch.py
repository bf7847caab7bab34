"""Hear of packages that others install, remove or pin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.inotify import watching
from privacy_router.plugins.packagekit.declare import PINS
from privacy_router.plugins.packagekit.transactions import DAEMON, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.target import Machine

_RULE: Final = f"sender='{SERVICE}',path='{DAEMON.path}',interface='{DAEMON.interface}'"
_WORDS: Final = {
    "UpdatesChanged": "there may be other updates",
    "RepoListChanged": "the repositories changed",
}
# dpkg puts a new one in place after each step; rpm writes into the directory.
_DPKG: Final = "/var/lib/dpkg"
_STATUS: Final = "status"
_RPM: Final = "/var/lib/rpm"


async def changes(machine: Machine) -> AsyncIterator[str]:
    """A few words for each change. Raises BusGoneError, StorageError."""
    heard: asyncio.Queue[str | PrivacyRouterError] = asyncio.Queue()
    dpkg, rpm, pins = map(machine.path, (_DPKG, _RPM, PINS))

    def tell(path: Path) -> None:
        if path == dpkg / _STATUS or path.parent == rpm:
            heard.put_nowait("packages were installed or removed")
        elif path.parent == pins and not path.name.startswith("."):
            heard.put_nowait(f"{path} changed")

    with watching((dpkg, rpm, pins), tell):
        task = asyncio.create_task(_from_bus(machine.bus, heard))
        try:
            while not isinstance(found := await heard.get(), PrivacyRouterError):
                yield found
            raise found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _from_bus(bus: Bus, heard: asyncio.Queue[str | PrivacyRouterError]) -> None:
    try:
        async for signal in bus.signals(_RULE):
            if signal.interface == DAEMON.interface and signal.member in _WORDS:
                heard.put_nowait(_WORDS[signal.member])
    except PrivacyRouterError as error:
        heard.put_nowait(error)
