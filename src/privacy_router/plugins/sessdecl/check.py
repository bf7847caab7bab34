"""Refuse to end the session in which this runs, or the caller's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.host.dbus import DBusCallError
from privacy_router.plugins.login1.logind import MANAGER, NAME
from privacy_router.plugins.sessdecl.selector import declared_name, label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privacy_router.engine.model import Change, Desired
    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.login1.logind import Session

_TOLD: Final = "XDG_SESSION_ID="
_NO_SUCH: Final = frozenset(
    f"{NAME}.{name}" for name in ("NoSuchSession", "NoSessionForPID", "NoSuchUser", "NoUserForPID")
)


def refuse_own(
    desired: Desired, change: Change, meant: Sequence[Session], own: frozenset[str]
) -> None:
    """Raise RefusedError where one of the sessions that a change means is our own, unless the
    section forces that."""
    if (desired.payload or {}).get(change.key.name):
        return
    for session in meant:
        if session.id in own:
            raise RefusedError(
                f"{declared_name(change.key.name)} means session {label(session)}, in which"
                " op-dbus itself runs",
                remedy="narrow the selector, run op-dbus as a service, or set force",
            )


async def own_sessions(bus: Bus, caller_pid: int | None) -> frozenset[str]:
    """The ids of the sessions to which this process and those above it belong (none for a
    service), and the process that called over D-Bus. Raises DBusCallError."""
    found: set[str] = set()
    for process in (os.getpid(), *(() if caller_pid is None else (caller_pid,))):
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
