"""What systemd-logind says: org.freedesktop.login1(5)."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.model import AVAILABLE, Availability
from privacy_router.host import systemd1
from privacy_router.host.dbus import BusGoneError, DBusCallError, Remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.engine.model import Value
    from privacy_router.host.dbus import Bus

NAME: Final = "org.freedesktop.login1"
MANAGER: Final = Remote(NAME, "/org/freedesktop/login1", f"{NAME}.Manager")
_UNIT: Final = "systemd-logind.service"
_PEER: Final = MANAGER.at(MANAGER.path, "org.freedesktop.DBus.Peer")
_GONE: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.UnknownObject",
        "org.freedesktop.DBus.Error.UnknownInterface",
        f"{NAME}.NoSuchSession",
    }
)


@dataclass(frozen=True)
class Session:
    """A session; the words are those of loginctl(1)."""

    id: str
    user: str
    uid: int
    seat: str
    tty: str
    type: str
    session_class: str
    service: str
    remote: bool
    remote_host: str
    state: str
    leader: int


async def availability(bus: Bus) -> Availability:
    """Whether the login manager answers; asking starts it where it can be started."""
    try:
        await ping(bus)
    except BusGoneError as error:
        return Availability(error.message, error.remedy)
    except DBusCallError as error:
        return Availability(
            f"the login manager does not answer: {error.message}",
            "install libpam-systemd, start it (systemctl start systemd-logind), or leave this"
            " section out",
        )
    return AVAILABLE


async def ping(bus: Bus) -> None:
    """Wait until the login manager has looked at everything that came before. Raises
    DBusCallError."""
    await bus.call(_PEER, "Ping")


async def reload(bus: Bus) -> None:
    """Have the login manager read logind.conf again, and return when that is in force.

    It has no method for that. SIGHUP keeps sessions and locks, and forgets what no file says any
    more. Raises DBusCallError.
    """
    await systemd1.kill(bus, _UNIT, signal.SIGHUP)
    # The signal is there by now. At most one message comes before it, so that the next one after
    # this finds it dealt with.
    await ping(bus)


async def properties(bus: Bus) -> dict[str, Any]:
    """The properties of the manager. Raises DBusCallError."""
    return await bus.get_all(MANAGER)


async def sessions(bus: Bus) -> list[Session]:
    """All sessions, by id. Raises DBusCallError."""
    listed = (await bus.call(MANAGER, "ListSessions"))[0]
    found = await asyncio.gather(*(_session(bus, path) for *_, path in listed))
    return sorted((one for one in found if one is not None), key=lambda one: one.id)


async def _session(bus: Bus, path: str) -> Session | None:
    found = await _properties_at(bus, path, "Session")
    return None if found is None else session_of(found)


async def _properties_at(bus: Bus, path: str, interface: str) -> dict[str, Any] | None:
    """What an object has, or None when it is gone by now."""
    try:
        return await bus.get_all(MANAGER.at(path, f"{NAME}.{interface}"))
    except DBusCallError as error:
        if error.name in _GONE:
            return None
        raise


def session_of(found: Mapping[str, Any]) -> Session:
    """A session from the properties of its object."""
    return Session(
        id=found["Id"],
        user=found["Name"],
        uid=found["User"][0],
        seat=found["Seat"][0],
        tty=found["TTY"],
        type=found["Type"],
        session_class=found["Class"],
        service=found["Service"],
        remote=found["Remote"],
        remote_host=found["RemoteHost"],
        state=found["State"],
        leader=found["Leader"],
    )


async def seats(bus: Bus) -> dict[str, Value]:
    """All seats by name: the session in front, and all of them. Raises DBusCallError."""
    listed = (await bus.call(MANAGER, "ListSeats"))[0]
    found = await asyncio.gather(*(_properties_at(bus, path, "Seat") for _, path in listed))
    return {
        seat["Id"]: {
            "active_session": seat["ActiveSession"][0],
            "sessions": sorted(session for session, _ in seat["Sessions"]),
        }
        for seat in found
        if seat is not None
    }


async def users(bus: Bus) -> dict[str, Value]:
    """Users with a session, or whose services run without one, by name. Raises DBusCallError."""
    listed = (await bus.call(MANAGER, "ListUsers"))[0]
    found = await asyncio.gather(*(_properties_at(bus, path, "User") for *_, path in listed))
    return {
        user["Name"]: {
            "uid": user["UID"],
            "state": user["State"],
            "sessions": sorted(session for session, _ in user["Sessions"]),
        }
        for user in found
        # One that is about to be forgotten (UserStopDelaySec) has neither.
        if user is not None and (user["Sessions"] or user["Linger"])
    }
