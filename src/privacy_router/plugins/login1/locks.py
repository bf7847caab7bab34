"""Inhibitor locks that this process holds: systemd-inhibit(1), org.freedesktop.login1(5).

A lock is in force as long as its file descriptor is open, so it belongs to the process and ends
with it, however the process ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from privacy_router.plugins.login1.logind import MANAGER

if TYPE_CHECKING:
    from privacy_router.engine.model import Value
    from privacy_router.host.dbus import Bus

_WHO: Final = "op-dbus "  # and the lock's name; names have no blanks
_CHANGED: Final = (
    f"sender='{MANAGER.destination}',path='{MANAGER.path}',"
    "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
)
_held: Final[dict[str, int]] = {}
"""Descriptors by the names of their locks, as process-wide as the locks are."""


async def locks(bus: Bus) -> dict[str, Value]:
    """All locks by name: ours by the names that they were given, those of others by who holds
    them. Raises DBusCallError."""
    found: dict[str, Value] = {}
    for what, who, why, mode, uid, pid in sorted((await bus.call(MANAGER, "ListInhibitors"))[0]):
        lock = {"what": sorted(what.split(":")), "mode": mode, "why": why}
        if _is_ours(who, pid):
            found[who.removeprefix(_WHO)] = lock
        else:
            name = _free(f"{who} (pid {pid})", found)
            found[name] = lock | {"who": who, "uid": uid, "pid": pid}
    return found


def _is_ours(who: str, pid: int) -> bool:
    return pid == os.getpid() and who.startswith(_WHO)


def _free(name: str, taken: dict[str, Value]) -> str:
    number = 2
    candidate = name
    while candidate in taken:
        candidate, number = f"{name} {number}", number + 1
    return candidate


async def take(bus: Bus, name: str, lock: Value) -> None:
    """Hold this lock, in place of the one that has the name now. Raises DBusCallError."""
    arguments = (":".join(lock["what"]), f"{_WHO}{name}", lock["why"], lock["mode"])
    (descriptor,) = await bus.call_for_descriptors(MANAGER, "Inhibit", "ssss", *arguments)
    old, _held[name] = _held.get(name), descriptor
    if old is not None:
        await _close(bus, old, name, left=1)


async def release(bus: Bus, name: str) -> None:
    """Hold it no longer. Raises DBusCallError."""
    if (descriptor := _held.pop(name, None)) is not None:
        await _close(bus, descriptor, name, left=0)


async def _close(bus: Bus, descriptor: int, name: str, left: int) -> None:
    """Close it, and wait until the login manager has noticed, which it does when it is idle."""
    try:
        async with bus.subscribed(_CHANGED) as signals:
            descriptor = _closed(descriptor)
            while await _count(bus, name) > left:
                await anext(signals)
    finally:
        _closed(descriptor)


def _closed(descriptor: int) -> int:
    """Close it once; what stands for it afterwards."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1


async def _count(bus: Bus, name: str) -> int:
    listed = (await bus.call(MANAGER, "ListInhibitors"))[0]
    return sum(who == f"{_WHO}{name}" and _is_ours(who, pid) for _, who, *_, pid in listed)
