"""How commands talk to op-dbus, where it runs and there is a bus."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.daemon.bus.naming import BUS_NAME, DENIED, ROOT, bus_address, may_be_there
from privacy_router.errors import (
    ExitCode,
    MissingPrerequisiteError,
    PrivacyRouterError,
    PrivilegeError,
)
from privacy_router.host.dbus import Bus, BusGoneError, DBusCallError, Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeVar

    from privacy_router.host.dbus import Signal

    T = TypeVar("T")

MANAGER: Final = Remote(BUS_NAME, ROOT, f"{BUS_NAME}.Manager")
_RUN_S: Final = 3600.0  # packages may take their time; the daemon's own limits are shorter
_NO_OWNER: Final = "org.freedesktop.DBus.Error.ServiceUnknown"
_CODES: Final = {
    "Config": ExitCode.INVALID_CONFIG,
    "Refused": ExitCode.INVALID_CONFIG,
    "Privilege": ExitCode.NOT_PRIVILEGED,
    "PluginUnavailable": ExitCode.MISSING_PREREQUISITE,
    "MissingPrerequisite": ExitCode.MISSING_PREREQUISITE,
    "Conflict": ExitCode.CONFLICT,
    "NoNode": ExitCode.CONFLICT,
    "AwaitingConfirmation": ExitCode.CONFLICT,
    "Overruled": ExitCode.CONFLICT,
    "NothingToConfirm": ExitCode.CONFLICT,
    "NothingToUndo": ExitCode.CONFLICT,
    "UnknownCheckpoint": ExitCode.CONFLICT,
    "UnknownPlugin": ExitCode.CONFLICT,
    "RemoteService": ExitCode.REMOTE,
    "Storage": ExitCode.STORAGE,
    "Verification": ExitCode.CHECK_FAILED,
}


class DaemonError(PrivacyRouterError):
    """What op-dbus answered, with the exit code that the same error has here."""

    def __init__(self, error: DBusCallError) -> None:
        message, _, remedy = error.message.partition("\nremedy: ")
        super().__init__(message, remedy=remedy)
        self.exit_code = _code(error.name)


def _code(name: str) -> ExitCode:
    if name == DENIED:
        return ExitCode.NOT_PRIVILEGED
    return _CODES.get(name.rpartition(".")[2], ExitCode.FAILURE)


@dataclass(frozen=True)
class Daemon:
    """op-dbus on a bus, within one event loop."""

    bus: Bus

    async def call(self, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        """A method of the manager. Raises DaemonError, MissingPrerequisiteError."""
        return await self.ask(MANAGER, member, signature, *body)

    async def ask(
        self, remote: Remote, member: str, signature: str = "", *body: Any
    ) -> tuple[Any, ...]:
        """A method of one of its objects. Raises DaemonError, MissingPrerequisiteError."""
        try:
            return await self.bus.call(
                remote, member, signature, *body, timeout_s=_RUN_S, interactive=True
            )
        except DBusCallError as error:
            raise _named(error) from error

    async def property(self, name: str) -> Any:
        """A property of the manager. Raises DaemonError, MissingPrerequisiteError."""
        try:
            return await self.bus.get(MANAGER, name)
        except DBusCallError as error:
            raise _named(error) from error

    async def follow(self, member: str, hear: Callable[[Signal], None]) -> None:
        """Hear its signals until cancelled; all of them for "". Raises DaemonError."""
        rule = f"sender='{BUS_NAME}',path='{ROOT}'" + (f",member='{member}'" if member else "")
        try:
            async for signal in self.bus.signals(rule):
                if signal.path == ROOT and member in ("", signal.member):
                    hear(signal)
        except DBusCallError as error:
            raise _named(error) from error


def _named(error: DBusCallError) -> PrivacyRouterError:
    if isinstance(error, BusGoneError) and error.refused and os.geteuid() != 0:
        return PrivilegeError("the bus does not let this user in", remedy="run it again with sudo")
    if isinstance(error, BusGoneError) or error.name == _NO_OWNER:
        return MissingPrerequisiteError(
            "op-dbus does not run, or not on this bus",
            remedy="systemctl start op-dbus, or privacy-router up",
        )
    return DaemonError(error)


def with_daemon(work: Callable[[Daemon], Coroutine[Any, Any, T]]) -> T:
    """Do something with the daemon. Raises MissingPrerequisiteError when there is none."""

    async def run() -> T:
        bus = Bus(bus_address(os.environ))
        try:
            return await work(Daemon(bus))
        finally:
            await bus.close()

    return asyncio.run(run())


def is_there() -> bool:
    """Whether op-dbus can be talked to."""
    address = bus_address(os.environ)
    if address is None or not may_be_there(address):
        return False

    async def look(daemon: Daemon) -> bool:
        try:
            return await daemon.bus.owner(BUS_NAME) is not None
        except DBusCallError:
            return False

    return with_daemon(look)


def is_supervised() -> bool:
    """Whether there is one, and a service manager runs it: then it is not for us to start or end
    it."""

    async def look(daemon: Daemon) -> bool:
        try:
            return bool(await daemon.property("Supervised"))
        except DaemonError:
            return False  # whoever has the name, it is not op-dbus

    return is_there() and with_daemon(look)
