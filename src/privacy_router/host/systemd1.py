"""The service manager on D-Bus, and waiting for its jobs; org.freedesktop.systemd1(5)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from privacy_router.host.dbus import DBusCallError, Remote

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator

    from privacy_router.host.dbus import Bus, Signal

SERVICE: Final = "org.freedesktop.systemd1"
OBJECT: Final = "/org/freedesktop/systemd1"
MANAGER: Final = Remote(SERVICE, OBJECT, f"{SERVICE}.Manager")
UNIT_INTERFACE: Final = f"{SERVICE}.Unit"

NO_SUCH_UNIT: Final = f"{SERVICE}.NoSuchUnit"
UNIT_EXISTS: Final = f"{SERVICE}.UnitExists"
UNIT_MASKED: Final = f"{SERVICE}.UnitMasked"
_ALREADY_SUBSCRIBED: Final = f"{SERVICE}.AlreadySubscribed"

DONE: Final = "done"
"""The result of a job that did what it was for. Others: canceled, timeout, failed, dependency,
skipped, invalid, assert, unsupported, collected, once."""


def manager_signal(member: str) -> str:
    """The match rule for a signal of the service manager."""
    return f"sender='{SERVICE}',path='{OBJECT}',interface='{MANAGER.interface}',member='{member}'"


async def subscribe(bus: Bus) -> None:
    """Have signals sent to this connection, for as long as there is one. Raises DBusCallError."""
    try:
        await bus.call(MANAGER, "Subscribe")
    except DBusCallError as error:
        if error.name != _ALREADY_SUBSCRIBED:
            raise


async def kill(bus: Bus, unit: str, number: signal.Signals) -> None:
    """Send a signal to the main process of a unit. Raises DBusCallError."""
    await bus.call(MANAGER, "KillUnit", "ssi", unit, "main", int(number))


class Jobs:
    """What becomes of the jobs that are begun while this is open, and other signals meanwhile."""

    def __init__(self, signals: AsyncIterator[Signal]) -> None:
        self._signals = signals
        self._results: dict[str, str] = {}

    async def next(self) -> Signal:
        """The next signal, of a job's end too. Raises BusGoneError."""
        found = await anext(self._signals)
        if found.member == "JobRemoved" and found.interface == MANAGER.interface:
            _, job, _, result = found.body
            self._results[job] = result
        return found

    async def result(self, job: str) -> str:
        """How a job ended (`DONE` or another word), given its path. Raises BusGoneError."""
        while job not in self._results:
            await self.next()
        return self._results[job]


@asynccontextmanager
async def jobs(bus: Bus, *rules: str) -> AsyncIterator[Jobs]:
    """Begin jobs inside this, so that the end of none is missed; `rules` name other signals that
    are awaited between. Raises DBusCallError."""
    async with bus.subscribed(manager_signal("JobRemoved"), *rules) as signals:
        await subscribe(bus)
        yield Jobs(signals)
