"""The machine that these tests run in is what they take it for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.host.dbus import Remote

if TYPE_CHECKING:
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

SYSTEMD = Remote(
    "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
)
SERVICES = ["systemd1", "login1", "resolve1", "PackageKit", "PolicyKit1"]


async def test_systemd_is_running_and_no_unit_failed(bus: Bus) -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert await bus.get(SYSTEMD, "SystemState") == "running"
    assert await bus.get(SYSTEMD, "NFailedUnits") == 0


@pytest.mark.parametrize("service", SERVICES)
async def test_the_services_that_plugins_talk_to_can_be_reached(bus: Bus, service: str) -> None:
    assert await bus.has(f"org.freedesktop.{service}")


def test_there_is_a_default_route_that_leads_nowhere() -> None:
    route = subprocess.run(["ip", "route", "get", "1.1.1.1"], capture_output=True, check=True)
    assert b"dev uplink0" in route.stdout
    assert {path.name for path in Path("/sys/class/net").iterdir()} >= {"lo", "uplink0"}


def test_the_project_cannot_be_written_to_and_tunnels_can_be_made() -> None:
    assert os.statvfs(Path(__file__).parent).f_flag & os.ST_RDONLY
    os.close(os.open("/dev/net/tun", os.O_RDWR))
