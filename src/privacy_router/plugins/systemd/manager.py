"""What this plugin asks of the service manager about units; jobs are in jobs.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.errors import PluginFailedError
from privacy_router.host.dbus import BusGoneError, DBusCallError, Remote
from privacy_router.host.systemd1 import (
    MANAGER,
    NO_SUCH_UNIT,
    SERVICE,
    UNIT_INTERFACE,
    UNIT_MASKED,
)
from privacy_router.plugins.systemd.names import type_of
from privacy_router.plugins.systemd.properties import PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.engine.model import Value
    from privacy_router.host.dbus import Bus

_RELOAD_S: Final = 90.0
_NOT_THERE: Final = frozenset({"org.freedesktop.DBus.Error.FileNotFound", NO_SUCH_UNIT})
_PASSING: Final = frozenset({"activating", "deactivating", "reloading", "refreshing"})
_RUNNING: Final = frozenset({"active", "reloading", "refreshing", "activating"})


@dataclass(frozen=True)
class LoadedUnit:
    """What the service manager knows of a unit; the names are those of its properties."""

    remote: Remote
    properties: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name, where it was asked for by another one of it."""
        return str(self.properties["Id"])

    @property
    def load_state(self) -> str:
        """`loaded`, `not-found`, `masked`, `bad-setting`, `error`…"""
        return str(self.properties["LoadState"])

    @property
    def trouble(self) -> str:
        """Why it could not be loaded."""
        return str(self.properties["LoadError"][1]) or self.load_state

    @property
    def is_there(self) -> bool:
        """Whether there is anything of it."""
        return self.load_state != "not-found" or self.is_running

    @property
    def is_running(self) -> bool:
        """Whether it is active or about to be; one that failed and is tried again is not."""
        waits = self.properties["SubState"] == "auto-restart"
        return self.properties["ActiveState"] in _RUNNING and not waits

    @property
    def is_settled(self) -> bool:
        """Whether it is neither starting nor stopping."""
        waits = self.properties["SubState"] == "auto-restart"
        return self.properties["ActiveState"] not in _PASSING or waits

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to be stopped."""
        return self.properties["ActiveState"] in {"inactive", "failed"}


class Systemd1:
    """The service manager."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def unit(self, name: str) -> LoadedUnit:
        """The unit, loaded if it was not; for a name without a unit it says `not-found`."""
        (path,) = await self.ask("look at", name, "LoadUnit", "s", name)
        remote = Remote(SERVICE, path, UNIT_INTERFACE)
        return LoadedUnit(remote, await self.bus.get_all(remote))

    async def file_state(self, name: str) -> str:
        """`enabled`, `static`, `masked`…; empty when there is no unit file of that name."""
        try:
            found: str = (await self.bus.call(MANAGER, "GetUnitFileState", "s", name))[0]
        except DBusCallError as error:
            if error.name in _NOT_THERE:
                return ""
            raise
        return found

    async def value(self, unit: LoadedUnit, name: str) -> Value:
        """A property of it, by the name that a section has for it; None if it has none such."""
        known = PROPERTIES[name]
        interface = UNIT_INTERFACE if known.of_unit else interface_of(unit.id)
        try:
            found = await self.bus.get(unit.remote.at(unit.remote.path, interface), known.bus_name)
        except DBusCallError as error:
            if error.name == "org.freedesktop.DBus.Error.UnknownProperty":
                return None
            raise
        return known.from_bus(found)

    async def detail(self, unit: LoadedUnit, name: str) -> Any:
        """A property of its type, as the bus has it: `Result` of a service. None if unknown."""
        remote = unit.remote.at(unit.remote.path, interface_of(unit.id))
        return (await self.bus.get_all(remote)).get(name)

    async def set_properties(
        self, name: str, values: Mapping[str, Value], *, runtime: bool
    ) -> None:
        """Set properties, until the next boot or for ever."""
        from dbus_fast import Variant

        given = [
            [bus_name, Variant(signature, value)]
            for key, wanted in values.items()
            for bus_name, signature, value in PROPERTIES[key].assignments(wanted)
        ]
        what = f"set {', '.join(values)} of"
        await self.ask(what, name, "SetUnitProperties", "sba(sv)", name, runtime, given)

    async def enable(self, name: str, *, runtime: bool) -> None:
        """Put its [Install] section in force."""
        await self.ask("enable", name, "EnableUnitFiles", "asbb", [name], runtime, False)

    async def disable(self, name: str, *, runtime: bool) -> None:
        """Remove all links to it."""
        await self.ask("disable", name, "DisableUnitFiles", "asb", [name], runtime)

    async def mask(self, name: str, *, runtime: bool) -> None:
        """Have nothing start it."""
        await self.ask("mask", name, "MaskUnitFiles", "asbb", [name], runtime, False)

    async def unmask(self, name: str, *, runtime: bool) -> None:
        """Undo that."""
        await self.ask("unmask", name, "UnmaskUnitFiles", "asb", [name], runtime)

    async def reload(self) -> None:
        """Have all unit files read anew."""
        try:
            await self.bus.call(MANAGER, "Reload", timeout_s=_RELOAD_S)
        except DBusCallError as error:
            raise refused("read its unit files anew", error, "see journalctl -b _PID=1") from error

    async def forget_failure(self, name: str) -> None:
        """Have it count as if it had not failed or been started too often."""
        try:
            await self.bus.call(MANAGER, "ResetFailedUnit", "s", name)
        except DBusCallError as error:
            if error.name not in _NOT_THERE:
                raise

    async def units(self) -> list[tuple[Any, ...]]:
        """All loaded units: name, description, load state, active state…"""
        return list((await self.bus.call(MANAGER, "ListUnits"))[0])

    async def unit_files(self) -> dict[str, str]:
        """The state of all unit files, by unit."""
        (found,) = await self.bus.call(MANAGER, "ListUnitFiles")
        return {path.rpartition("/")[2]: state for path, state in found}

    async def ask(
        self, what: str, name: str, member: str, signature: str, *body: Any
    ) -> tuple[Any, ...]:
        """Call a method about a unit. Raises PluginFailedError with the words for `what`."""
        try:
            return await self.bus.call(MANAGER, member, signature, *body)
        except DBusCallError as error:
            raise refused(f"{what} {name}", error, remedy_for(name, error.name)) from error


def interface_of(name: str) -> str:
    """The interface with what units of that type have beyond all others."""
    return f"{SERVICE}.{type_of(name).capitalize()}"


def refused(what: str, error: DBusCallError, remedy: str) -> DBusCallError | PluginFailedError:
    """The error for what the service manager would not do; that there is no bus stays as it is."""
    if isinstance(error, BusGoneError):
        return error
    return PluginFailedError(
        f"systemd does not {what}: {error.message.rstrip('.')}",
        remedy=remedy,
        retryable=error.retryable,
    )


def remedy_for(name: str, error_name: str) -> str:
    """What to do about it."""
    if error_name in _NOT_THERE:
        return f"install the package that brings {name}, or declare it in plugins.systemd.files"
    if error_name == UNIT_MASKED:
        return f'declare "masked": false for {name}'
    if error_name == "org.freedesktop.DBus.Error.AccessDenied":
        return "run op-dbus as root"
    return f"see systemctl status {name}"
