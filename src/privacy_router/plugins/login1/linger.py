"""Users whose services run without a session: loginctl(1), enable-linger."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.errors import StorageError
from privacy_router.host.threads import in_thread
from privacy_router.plugins.login1.logind import MANAGER

if TYPE_CHECKING:
    from collections.abc import Collection

    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.target import Machine

DIRECTORY: Final = "/var/lib/systemd/linger"
"""A file for each user who lingers. The login manager tells it of users who are here only."""


async def lingering(machine: Machine) -> frozenset[str]:
    """The names of the users who linger. Raises StorageError."""
    return await in_thread(_lingering, machine)


def _lingering(machine: Machine) -> frozenset[str]:
    try:
        return frozenset(path.name for path in machine.path(DIRECTORY).iterdir())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise StorageError(
            f"cannot read {DIRECTORY}: {error.strerror}", remedy="run as root"
        ) from error


async def existing(users: Collection[str]) -> frozenset[str]:
    """Those of the users who are there: the file of one who was deleted may have stayed."""
    return await in_thread(lambda: frozenset(filter(_exists, users)))


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


async def set_linger(bus: Bus, user: str, linger: bool) -> None:
    """Let a user linger, or no longer. Raises RefusedError for an unknown user, DBusCallError."""
    uid = await uid_of(user)
    await bus.call(MANAGER, "SetUserLinger", "ubb", uid, linger, False)


async def uid_of(user: str) -> int:
    """The number of a user. Raises RefusedError for one that is not there."""
    try:
        return (await in_thread(pwd.getpwnam, user)).pw_uid
    except KeyError:
        raise RefusedError(
            f"there is no user {user} on this machine",
            remedy=f"make it (useradd {user}), or take it out of plugins.login1.users",
        ) from None
