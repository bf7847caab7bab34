"""Who may do what: root everything; others what polkit says, where there is polkit.

Who may *look* is decided by the bus' own policy before a message gets here
(packaging/dbus/org.opdbus.conf); changing is asked of polkit, action by action
(packaging/polkit/org.opdbus.policy).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dbus_fast import DBusError, Variant

from privacy_router.client.errors import DENIED
from privacy_router.host.dbus import DBusCallError, Remote

if TYPE_CHECKING:
    from privacy_router.daemon.bus.callers import Callers, Identity
    from privacy_router.host.dbus import Bus

_POLKIT: Final = Remote(
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
_INTERACTIVE: Final = 1  # polkit's AllowUserInteraction
_PATIENCE_S: Final = 120.0  # as long as a person may need to type a password


class Action(StrEnum):
    """What polkit is asked for."""

    APPLY = "org.opdbus.apply"
    CONFIRM = "org.opdbus.confirm"
    RESTORE = "org.opdbus.restore"
    FLOWS = "org.opdbus.flows"


class Authority:
    """Decides for the callers on one bus."""

    def __init__(self, bus: Bus, callers: Callers) -> None:
        self._bus = bus
        self._callers = callers

    async def require(self, action: Action) -> None:
        """Raise AccessDenied unless the present caller may do that."""
        caller = await self._callers.identity()
        try:
            allowed = caller.is_root or await self._polkit_allows(caller, action)
        except DBusCallError as error:
            raise DBusError(DENIED, f"it cannot be found out who asks: {error}") from error
        if not allowed:
            raise DBusError(
                DENIED, f"{action} is for administrators\nremedy: call it as root, or with polkit"
            )

    async def _polkit_allows(self, caller: Identity, action: Action) -> bool:
        if not await self._bus.has(_POLKIT.destination):
            return False
        subject = ("system-bus-name", {"name": Variant("s", caller.sender)})
        flags = _INTERACTIVE if caller.interactive else 0
        (answer,) = await self._bus.call(
            _POLKIT,
            "CheckAuthorization",
            "(sa{sv})sa{ss}us",
            subject,
            action.value,
            {},
            flags,
            "",
            timeout_s=_PATIENCE_S,
        )
        return bool(answer[0])
