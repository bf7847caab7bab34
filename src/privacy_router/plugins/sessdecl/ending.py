"""End sessions, except the one in which this runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.engine.asking import asking_pid
from privacy_router.host.dbus import DBusCallError
from privacy_router.plugins.login1.logind import MANAGER, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.engine.plugin import Tell
    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.login1.logind import Session

_GRACE_S: Final = 10.0
_NO_SUCH: Final = frozenset(
    f"{NAME}.{name}" for name in ("NoSuchSession", "NoSessionForPID", "NoSuchUser", "NoUserForPID")
)
_TOLD: Final = "XDG_SESSION_ID="
_REMOVED: Final = (
    f"sender='{NAME}',path='{MANAGER.path}',interface='{MANAGER.interface}',member='SessionRemoved'"
)


async def end(bus: Bus, session: Session, tell: Tell) -> None:
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
        if error.name not in _NO_SUCH:
            raise


async def _gone(bus: Bus, session_id: str) -> None:
    async with bus.subscribed(_REMOVED) as signals:
        while session_id in {found[0] for found in (await bus.call(MANAGER, "ListSessions"))[0]}:
            await anext(signals)


async def own_sessions(bus: Bus) -> frozenset[str]:
    """The ids of the sessions to which this process and those above it belong (none for a
    service), and of who asked over D-Bus. Raises DBusCallError."""
    asked = asking_pid.get()
    found: set[str] = set()
    for process in (os.getpid(), *(() if asked is None else (asked,))):
        above = list(_ancestry(process))
        found |= {await _session_of(bus, pid) for pid in above}
        # A terminal that the user's own systemd started is in no session, but serves one, and may
        # know which.
        found |= {_told_session(pid) for pid in above}
        found.add(await _display_of(bus, process))
    return frozenset(found - {""})


def _told_session(pid: int) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    words = environment.decode(errors="replace").split("\0")
    return next((w.removeprefix(_TOLD) for w in words if w.startswith(_TOLD)), "")


async def _display_of(bus: Bus, pid: int) -> str:
    """The graphical session of the user whose process this is."""
    try:
        path = (await bus.call(MANAGER, "GetUserByPID", "u", pid))[0]
        return str((await bus.get(MANAGER.at(path, f"{NAME}.User"), "Display"))[0])
    except DBusCallError as error:
        if error.name in _NO_SUCH:
            return ""
        raise


async def _session_of(bus: Bus, pid: int) -> str:
    try:
        path = (await bus.call(MANAGER, "GetSessionByPID", "u", pid))[0]
        return str(await bus.get(MANAGER.at(path, f"{NAME}.Session"), "Id"))
    except DBusCallError as error:
        if error.name in _NO_SUCH:
            return ""
        raise


def _ancestry(pid: int) -> Iterator[int]:
    """A process and those above it, but PID 1."""
    while pid > 1:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except FileNotFoundError:
            return  # it ended meanwhile, and what it was in with it
        # The name stands in brackets and may hold anything; then come the state and the parent.
        pid = int(stat.rpartition(")")[2].split()[1])
