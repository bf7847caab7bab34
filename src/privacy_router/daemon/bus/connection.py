"""Be on the bus as long as there is one, and wait for it while there is none.

What dbus-fast needs in memory is only taken once a bus was seen.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from privacy_router.client.names import BUS_NAME, may_be_there
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from privacy_router.daemon.bus.session import Session
    from privacy_router.daemon.bus.view import View

_log = structlog.get_logger()
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0


async def offer(view: View, address: str) -> None:
    """Show the view on the bus at `address` until cancelled; when the bus fails, all else goes
    on."""
    try:
        await _keep_on(view, address)
    finally:
        await view.leave()


async def _keep_on(view: View, address: str) -> None:
    pause_s, told = _FIRST_PAUSE_S, False
    while True:
        reason = "no bus listens there"
        if may_be_there(address):
            was_there, reason = await _visit(view, address)
            if was_there:
                pause_s, told = _FIRST_PAUSE_S, False
        if not told:
            told = True
            _log.info("not on D-Bus, will be when that works", address=address, reason=reason)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


async def _visit(view: View, address: str) -> tuple[bool, str]:
    """Be on the bus until that ends; whether we were, and why we are not (any more)."""
    try:
        arrive = await in_thread(_loaded)
        session = await arrive(view, address)
    except Exception as error:  # however a bus is broken, the node goes on
        return False, str(error) or type(error).__name__
    _log.info("on D-Bus", name=BUS_NAME, address=address)
    return True, await session.stay()


def _loaded() -> Callable[[View, str], Coroutine[Any, Any, Session]]:
    from privacy_router.daemon.bus.session import arrive

    return arrive
