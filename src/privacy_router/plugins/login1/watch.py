"""What happens at the login manager, and to the files that it reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.host.inotify import watching
from privacy_router.plugins.login1.drop_in import FILE
from privacy_router.plugins.login1.linger import DIRECTORY
from privacy_router.plugins.login1.logind import MANAGER, NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from privacy_router.host.dbus import Bus, Signal
    from privacy_router.plugins.target import Machine

_RULES: Final = (
    f"sender='{NAME}',path_namespace='{MANAGER.path}'",
    f"sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NAME}'",
)
_CONFIGURATION: Final = "logind.conf"
_RESTLESS: Final = frozenset(
    {"IdleHint", "IdleSinceHint", "IdleSinceHintMonotonic", "LockedHint", "Display"}
)
"""Properties that say nothing of what a section can declare, and change with every key press."""


async def logins(bus: Bus) -> AsyncIterator[str]:
    """Sessions, users, seats and locks that come, go and change, in a few words each.

    Raises BusGoneError.
    """
    async for signal in bus.signals(*_RULES):
        if words := describe(signal):
            yield words


def describe(signal: Signal) -> str:
    """What has happened, or nothing where that is of no interest."""
    if signal.member == "NameOwnerChanged" and signal.body[0] == NAME:
        return "the login manager started" if signal.body[2] else "the login manager ended"
    if not signal.path.startswith(MANAGER.path):
        return ""
    if signal.member == "PropertiesChanged":
        return _changed(signal)
    if signal.interface == MANAGER.interface and signal.member.endswith(("New", "Removed")):
        return f"{signal.member} {signal.body[0]}"
    return ""


def _changed(signal: Signal) -> str:
    interface, changed, invalidated = signal.body
    names = sorted({*changed, *invalidated} - _RESTLESS)
    return f"{interface.rpartition('.')[2]}: {', '.join(names)}" if names else ""


async def outside_changes(machine: Machine) -> AsyncIterator[str]:
    """The same, and changes of the configuration and of who lingers.

    Ends when the directory of drop-in files appears or goes: then there is another to watch.
    Raises BusGoneError, StorageError.
    """
    queue: asyncio.Queue[str | Exception] = asyncio.Queue()
    drop_ins = machine.path(FILE).parent

    def tell(path: Path) -> None:
        if path.parent != drop_ins.parent or path.name.startswith(_CONFIGURATION):
            queue.put_nowait(f"{path} changed")

    directories = (drop_ins.parent, drop_ins, machine.path(DIRECTORY))
    with watching(directories, tell):
        pump = asyncio.create_task(_pump(machine.bus, queue))
        try:
            while not isinstance(words := await queue.get(), Exception):
                yield words
                if words == f"{drop_ins} changed":
                    return
            raise words
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


async def _pump(bus: Bus, queue: asyncio.Queue[str | Exception]) -> None:
    try:
        async for words in logins(bus):
            queue.put_nowait(words)
    except Exception as error:  # raised again by the caller that takes it out
        queue.put_nowait(error)
