"""Look every second at what no event of the kernel tells of, and tell of what is different."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.netlink_library import NetlinkError
from privacy_router.host.threads import in_thread
from privacy_router.node.unheard import Expectation

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.node.machine import Machine
    from privacy_router.plan.state import DesiredState

_log = structlog.get_logger()

_PERIOD_S: Final = 1.0


class UnheardWatch:
    """Calls `tell` while something of the state that `desired` gives is different."""

    def __init__(
        self, desired: Callable[[], DesiredState], machine: Machine, tell: Callable[[], None]
    ) -> None:
        self._desired = desired
        self._machine = machine
        self._tell = tell
        self._expected = Expectation(desired())

    async def run(self) -> None:
        """Look until cancelled; a look that fails is tried again like any other."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                found = await in_thread(self._differences)
            except (PrivacyRouterError, OSError, NetlinkError) as error:
                _log.debug("what is unheard of cannot be read", reason=str(error))
                continue
            if found:
                _log.debug("seen different", what=found[0], count=len(found))
                self._tell()

    def _differences(self) -> list[str]:
        desired = self._desired()
        if not self._expected.is_of(desired):
            self._expected = Expectation(desired)
        return self._expected.differences(self._machine)
