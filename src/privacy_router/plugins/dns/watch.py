"""Hear of changes to how names are resolved that others make."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.host import netlink_events
from privacy_router.host.dbus import BusGoneError
from privacy_router.host.inotify import watching
from privacy_router.plugins.dns.declare import DROP_IN, FILE
from privacy_router.plugins.dns.resolved import LINK_STATES, MANAGER, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from privacy_router.host.dbus import Signal
    from privacy_router.plugins.target import Machine

_CHANGED: Final = (
    f"sender='{SERVICE}',path='{MANAGER.path}',"
    "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
)
_CAME_OR_WENT: Final = (
    "sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
    f"member='NameOwnerChanged',arg0='{SERVICE}'"
)
# Others change with every question that is asked.
_SETTINGS: Final = frozenset({"DNS", "DNSEx", "Domains", "FallbackDNS", "FallbackDNSEx"})

_Heard = str | PrivacyRouterError


async def changes(machine: Machine) -> AsyncIterator[str]:
    """A few words for each change. Raises BusGoneError, StorageError.

    systemd-resolved announces few of its settings. Those of a link it keeps in files, so these
    are watched; and a link that was made anew has none, so the kernel is listened to.
    """
    heard: asyncio.Queue[_Heard] = asyncio.Queue()
    sources = (_from_bus(machine, heard), _from_files(machine, heard), _from_kernel(heard))
    tasks = [asyncio.create_task(_forward(source, heard)) for source in sources]
    try:
        while not isinstance(found := await heard.get(), PrivacyRouterError):
            yield found
        raise found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(source: Coroutine[None, None, None], heard: asyncio.Queue[_Heard]) -> None:
    try:
        await source
    except PrivacyRouterError as error:
        heard.put_nowait(error)
    except OSError as error:
        heard.put_nowait(
            StorageError(
                f"cannot listen to changes: {error.strerror}",
                remedy="it is tried again by itself",
                retryable=True,
            )
        )


async def _from_bus(machine: Machine, heard: asyncio.Queue[_Heard]) -> None:
    try:
        async for signal in machine.bus.signals(_CHANGED, _CAME_OR_WENT):
            if words := _words(signal):
                heard.put_nowait(words)
    except BusGoneError:
        if machine.path(LINK_STATES).parent.is_dir():
            raise  # systemd-resolved was here, so there should be a bus


def _words(signal: Signal) -> str:
    if signal.member == "NameOwnerChanged" and signal.body[0] == SERVICE:
        return "systemd-resolved came" if signal.body[2] else "systemd-resolved went"
    if signal.member == "PropertiesChanged" and signal.path == MANAGER.path:
        named = sorted(_SETTINGS.intersection((*signal.body[1], *signal.body[2])))
        return f"systemd-resolved changed {', '.join(named)}" if named else ""
    return ""


async def _from_kernel(heard: asyncio.Queue[_Heard]) -> None:
    async for words in netlink_events.changes(None):
        if "device" in words:
            heard.put_nowait("a network interface changed")


async def _from_files(machine: Machine, heard: asyncio.Queue[_Heard]) -> None:
    drop_ins, links = machine.path(DROP_IN).parent, machine.path(LINK_STATES)
    told = {machine.path(FILE[1]), drop_ins, links}
    directories = {one for path in told for one in (path, *path.parents[:2])} - {
        machine.path(FILE[1])
    }
    found: asyncio.Queue[Path] = asyncio.Queue()
    while True:
        with watching(directories, found.put_nowait):
            while (path := await found.get()) not in directories:
                if path in told or (path.parent in told and not path.name.startswith(".")):
                    heard.put_nowait(f"{path} changed")
        # A directory that came has to be watched from now on, and may have something in it.
        heard.put_nowait(f"{path} came or went")
