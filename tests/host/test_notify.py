"""sd_notify(3), against a real datagram socket that stands for the service manager's."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from privacy_router.host.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str, variable: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(5)
        self.environment = {"NOTIFY_SOCKET": variable}

    def heard(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    name = f"privacy-router-test-{os.getpid()}"
    is_path = request.param == "path"
    made = Manager(path, path) if is_path else Manager("\0" + name, "@" + name)
    yield made
    made.close()


def test_ready_and_stopping_are_told_with_a_status(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    notifier.ready("3 hops up")
    assert manager.heard() == {"READY": "1", "STATUS": "3 hops up"}
    notifier.stopping()
    assert manager.heard() == {"STOPPING": "1"}


def test_reloading_says_when_it_began(manager: Manager) -> None:
    before_us = time.monotonic_ns() // 1000
    Notifier(manager.environment).reloading("reading the configuration")
    heard = manager.heard()
    assert before_us <= int(heard.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert heard == {"RELOADING": "1", "STATUS": "reading the configuration"}


def test_a_status_cannot_smuggle_in_another_assignment(manager: Manager) -> None:
    Notifier(manager.environment).status("warp down\nMAINPID=1\r\nREADY=1")
    assert manager.heard() == {"STATUS": "warp down MAINPID=1 READY=1"}


async def test_signs_of_life_come_twice_an_interval(manager: Manager) -> None:
    environment = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(manager.environment | environment)
    assert notifier.watchdog_s == 0.02
    beats = asyncio.create_task(notifier.keep_alive())
    for _ in range(3):
        assert await asyncio.to_thread(manager.heard) == {"WATCHDOG": "1"}
    beats.cancel()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},  # meant for another process
    ],
)
async def test_nobody_waits_for_signs_of_life(environment: dict[str, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nobody"} | environment)
    assert notifier.watchdog_s is None
    await notifier.keep_alive()


@pytest.mark.parametrize("variable", [None, "", "vsock:2:1234"])
async def test_without_a_service_manager_nothing_happens(variable: str | None) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": variable} if variable is not None else {})
    notifier.ready()
    notifier.alive()
    await notifier.keep_alive()


def test_a_manager_that_went_away_does_not_stop_the_work(tmp_path: Path) -> None:
    with capture_logs() as logged:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert [line["event"] for line in logged] == ["the service manager does not listen"]
