"""What the tests in the machine have in common: its bus, and that they run nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from privacy_router.host.dbus import Bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """They install packages and stop services: not on the machine of somebody who tries them."""
    if "PRIVACY_ROUTER_TEST_MACHINE" not in os.environ and item.get_closest_marker("machine"):
        pytest.fail(f"this needs the test machine: tests/machine/run {item.nodeid}", pytrace=False)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    """The machine's system bus."""
    connection = Bus(SYSTEM_BUS)
    yield connection
    await connection.close()
