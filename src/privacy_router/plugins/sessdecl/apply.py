"""End sessions."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from privacy_router.host.dbus import DBusCallError
from privacy_router.plugins.login1.logind import MANAGER, NAME

if TYPE_CHECKING:
    from privacy_router.engine.plugin import Progress
    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.login1.logind import Session

_GRACE_S: Final = 10.0
_NO_SUCH: Final = f"{NAME}.NoSuchSession"
_REMOVED: Final = (
    f"sender='{NAME}',path='{MANAGER.path}',interface='{MANAGER.interface}',member='SessionRemoved'"
)


async def end(bus: Bus, session: Session, tell: Progress) -> None:
    """End a session and all that runs in it; come back when it is gone. Raises DBusCallError."""
    if session.state == "closing":  # its end has begun, and what is left is not terminated again
        await _kill(bus, session.id, signal.SIGTERM)
    else:
        await _unless_gone(bus, "TerminateSession", "s", session.id)
    try:
        async with asyncio.timeout(_GRACE_S):
            await _gone(bus, session.id)
    except TimeoutError:
        tell(f"session {session.id} does not end by itself, and is killed")
        await _kill(bus, session.id, signal.SIGKILL)
        await _gone(bus, session.id)


async def _kill(bus: Bus, session_id: str, number: signal.Signals) -> None:
    await _unless_gone(bus, "KillSession", "ssi", session_id, "all", int(number))


async def _unless_gone(bus: Bus, member: str, signature: str, *body: str | int) -> None:
    try:
        await bus.call(MANAGER, member, signature, *body)
    except DBusCallError as error:
        if error.name != _NO_SUCH:
            raise


async def _gone(bus: Bus, session_id: str) -> None:
    async with bus.subscribed(_REMOVED) as signals:
        while session_id in {found[0] for found in (await bus.call(MANAGER, "ListSessions"))[0]}:
            await anext(signals)
