"""A clock that goes on while the machine sleeps, and tells one boot from another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from privacy_router.host.boot import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Clock:
    """Which boot this is, and the seconds since it began; clock_gettime(2), CLOCK_BOOTTIME."""

    boot: str
    now_s: Callable[[], float]


@cache
def machine_clock() -> Clock:
    """This machine's clock."""
    return Clock(boot_id(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
