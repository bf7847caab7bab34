"""Hear of changes to units and their files that others make."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.inotify import watching
from privacy_router.host.systemd1 import MANAGER, OBJECT, manager_signal, subscribe
from privacy_router.plugins.systemd.jobs import UNIT_CHANGED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from privacy_router.host.dbus import Signal
    from privacy_router.plugins.systemd.manager import Systemd1

_UNITS: Final = f"{OBJECT}/unit/"
_RULES: Final = (
    # Not UnitNew and UnitRemoved: hundreds come with every reload.
    manager_signal("UnitFilesChanged"),
    manager_signal("Reloading"),
    UNIT_CHANGED,
)


async def outside_changes(
    systemd: Systemd1, units: Collection[str], directories: Collection[Path]
) -> AsyncIterator[str]:
    """A few words whenever one of these units changes, any unit file does, or an entry of these
    directories. Raises BusGoneError, StorageError."""
    queue: asyncio.Queue[str | Path | PrivacyRouterError] = asyncio.Queue()
    hearing = asyncio.create_task(_forward_signals(systemd, units, queue))
    try:
        async for words in _told(queue, directories):
            yield words
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def _told(
    queue: asyncio.Queue[str | Path | PrivacyRouterError], directories: Collection[Path]
) -> AsyncIterator[str]:
    words = ""
    while True:
        with watching(directories, queue.put_nowait):
            if words:
                yield words
            found: str | Path | PrivacyRouterError = ""
            while found not in directories:  # one that is new has to be watched from now on
                found = await queue.get()
                if isinstance(found, PrivacyRouterError):
                    raise found
                words = found if isinstance(found, str) else _words_for(found)
                if words and found not in directories:
                    yield words


def _words_for(path: Path) -> str:
    return "" if path.name.startswith(".") else f"{path} changed"


async def _forward_signals(
    systemd: Systemd1,
    units: Collection[str],
    queue: asyncio.Queue[str | Path | PrivacyRouterError],
) -> None:
    try:
        await subscribe(systemd.bus)
        async for signal in systemd.bus.signals(*_RULES):
            words = words_of(signal, units)
            if words:
                queue.put_nowait(words)
    except PrivacyRouterError as error:
        queue.put_nowait(error)


def words_of(signal: Signal, units: Collection[str]) -> str:
    """What the signal says about these units; nothing if it is about others."""
    if signal.interface == MANAGER.interface:
        if signal.member == "UnitFilesChanged":
            return "unit files were enabled, disabled or masked"
        if signal.member == "Reloading" and not signal.body[0]:
            return "systemd has read its unit files"
    elif signal.path.startswith(_UNITS):
        named = next((name for name in units if path_of(name) == signal.path), None)
        state = signal.body[1].get("ActiveState") if len(signal.body) > 1 else None
        return f"{named} is {state or 'different'}" if named else ""
    return ""


def path_of(unit: str) -> str:
    """The object of a unit: its name, with all but ASCII letters and digits in hexadecimal."""
    plain = (c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in unit)
    text = "".join(plain)
    return _UNITS + (f"_{ord(unit[0]):02x}{text[1:]}" if unit[:1].isdigit() else text)
