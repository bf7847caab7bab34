"""What the interfaces on the bus have in common: properties from a table, errors with names."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from dbus_fast import DBusError, PropertyAccess, Variant
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from privacy_router.client.errors import FAILED, INTERNAL, error_name, error_text
from privacy_router.daemon.bus.callers import TEXT_CHARS
from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from dbus_fast import introspection

    from privacy_router.daemon.bus.authority import Action
    from privacy_router.daemon.bus.view import View

_log = structlog.get_logger()
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


@dataclass(frozen=True)
class Reading:
    """A property: its signature, and its value for an interface.

    A `steady` one is told whenever it changes; the others, which always do, are only read.
    """

    signature: str
    value: Callable[[Any], Any]
    steady: bool = True


class Interface(ServiceInterface):
    """An interface whose properties are `readings` of the view."""

    readings: ClassVar[Mapping[str, Reading]] = {}

    def __init__(self, name: str, view: View) -> None:
        super().__init__(name)
        self.view = view
        self._told = self._steady()

    def __init_subclass__(cls) -> None:
        """Make the properties of the table."""
        super().__init_subclass__()
        for name, reading in cls.readings.items():
            setattr(cls, name, _property(name, reading))

    def _steady(self) -> dict[str, Any]:
        return {name: r.value(self) for name, r in self.readings.items() if r.steady}

    def values(self) -> dict[str, Variant]:
        """All properties as they are now."""
        return {name: Variant(r.signature, r.value(self)) for name, r in self.readings.items()}

    def tell(self) -> None:
        """Tell of the properties that have changed since this was called last."""
        now = self._steady()
        changed = {name: value for name, value in now.items() if value != self._told[name]}
        self._told = now
        if changed:
            self.emit_properties_changed(changed)

    def introspect(self) -> introspection.Interface:
        """As declared; properties that are not told of say so."""
        found = super().introspect()
        for one in found.properties:
            if not self.readings[one.name].steady:
                one.annotations[_EMITS] = "false"
        return found


def _property(name: str, reading: Reading) -> Any:
    async def get(self: Interface) -> Any:
        await self.view.fresh()
        return reading.value(self)

    get.__annotations__["return"] = reading.signature
    return dbus_property(PropertyAccess.READ, name=name)(get)


def answers(
    name: str, action: Action | None = None, *, longest: int = TEXT_CHARS
) -> Callable[[Callable[..., Coroutine[Any, Any, Any]]], Any]:
    """A method of that name, whose errors have names on the bus, and tell nothing that they
    should not; with an `action`, for those only who may do that.

    Without one it only looks: callers other than root may give it `longest` characters, and have
    it within the other limits of callers.py.
    """

    def decorate(function: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
        @functools.wraps(function)
        async def guarded(self: Interface, *arguments: Any) -> Any:
            try:
                async with self.view.admitted(arguments, longest, looks=action is None):
                    if action is not None:
                        await self.view.require(action)
                    return await function(self, *arguments)
            except DBusError:
                raise
            except Exception as error:
                raise as_dbus_error(error, name) from error

        return dbus_method(name=name)(guarded)

    return decorate


def as_dbus_error(error: Exception, method: str) -> DBusError:
    """The error that a caller of `method` gets; only the log says what was not foreseen."""
    if isinstance(error, PrivacyRouterError):
        return DBusError(error_name(error), error_text(error))
    if isinstance(error, OSError):
        return DBusError(FAILED, str(error))
    _log.error("D-Bus call failed", method=method, error=type(error).__name__, reason=str(error))
    return DBusError(INTERNAL, f"{method} failed; the controller's log says why")
