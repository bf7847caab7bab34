"""Have the login manager read logind.conf again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from privacy_router.host.dbus import Remote
from privacy_router.plugins.login1.logind import ping

if TYPE_CHECKING:
    from privacy_router.host.dbus import Bus

_SYSTEMD: Final = Remote(
    "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
)
_UNIT: Final = "systemd-logind.service"


async def reload(bus: Bus) -> None:
    """Reload, and come back when the new settings are in force. Raises DBusCallError.

    It has no method for that. SIGHUP keeps sessions and locks, and forgets what no file says any
    more.
    """
    await bus.call(_SYSTEMD, "KillUnit", "ssi", _UNIT, "main", int(signal.SIGHUP))
    # The signal is there by now. At most one message comes before it, so that the next one after
    # this finds it dealt with.
    await ping(bus)
