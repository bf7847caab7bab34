"""Waiting for the service manager's jobs, whenever their ends are announced."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import privacy_router
from privacy_router.host.dbus import BusGoneError, DBusCallError, Signal
from privacy_router.host.systemd1 import MANAGER, OBJECT, SERVICE, jobs, manager_signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from privacy_router.host.dbus import Remote

UNITS = f"path_namespace='{OBJECT}/unit'"


class FakeBus:
    """Says what a test has put into it."""

    def __init__(self, subscribing_fails_with: str = "") -> None:
        self._error = subscribing_fails_with
        self.rules: tuple[str, ...] = ()
        self.signals: asyncio.Queue[Signal | None] = asyncio.Queue()

    async def call(self, remote: Remote, member: str) -> tuple[()]:
        assert (remote, member) == (MANAGER, "Subscribe")
        assert self.rules, "a signal before that would be missed"
        if self._error:
            raise DBusCallError(self._error, "no")
        return ()

    @asynccontextmanager
    async def subscribed(self, *rules: str) -> AsyncIterator[AsyncIterator[Signal]]:
        self.rules = rules
        yield self._told()

    async def _told(self) -> AsyncIterator[Signal]:
        while (signal := await self.signals.get()) is not None:
            yield signal
        raise BusGoneError("the bus went away")

    def ends(self, job: int, result: str, interface: str = MANAGER.interface) -> None:
        body = (job, f"{OBJECT}/job/{job}", "a.service", result)
        self.signals.put_nowait(Signal(OBJECT, interface, "JobRemoved", body))


async def test_the_end_of_a_job_is_known_whoever_asks_first() -> None:
    bus: Any = FakeBus()
    async with jobs(bus, UNITS) as begun:
        assert bus.rules == (manager_signal("JobRemoved"), UNITS)
        bus.ends(2, "failed")
        bus.ends(1, "done")
        assert await begun.result(f"{OBJECT}/job/1") == "done"
        assert await begun.result(f"{OBJECT}/job/2") == "failed"
        assert await begun.result(f"{OBJECT}/job/2") == "failed", "two units may share a job"


async def test_other_signals_are_handed_on_and_no_end_is_missed_by_that() -> None:
    bus: Any = FakeBus()
    async with jobs(bus, UNITS) as begun:
        bus.ends(1, "done", interface="of.another.Service")
        bus.ends(1, "canceled")
        bus.signals.put_nowait(Signal(f"{OBJECT}/unit/a", SERVICE, "PropertiesChanged", ()))
        members = [(await begun.next()).member for _ in range(3)]
        assert members == ["JobRemoved", "JobRemoved", "PropertiesChanged"]
        assert await begun.result(f"{OBJECT}/job/1") == "canceled"


async def test_who_is_subscribed_already_is_not_disturbed() -> None:
    bus: Any = FakeBus(f"{SERVICE}.AlreadySubscribed")
    async with jobs(bus):
        pass
    bus = FakeBus("org.freedesktop.DBus.Error.AccessDenied")
    with pytest.raises(DBusCallError, match="no"):
        async with jobs(bus):
            pass


async def test_a_bus_that_goes_ends_the_waiting() -> None:
    bus: Any = FakeBus()
    async with jobs(bus) as begun:
        bus.signals.put_nowait(None)
        with pytest.raises(BusGoneError):
            await begun.result(f"{OBJECT}/job/1")


def test_the_service_manager_has_one_place_in_the_code() -> None:
    package = Path(privacy_router.__path__[0])
    naming = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if '"org.freedesktop.systemd1' in path.read_text()
        or "member='JobRemoved'" in path.read_text()
    ]
    assert naming == ["host/systemd1.py"]
