"""Tell the service manager how the daemon is: the protocol of sd_notify(3).

Without a service manager every call does nothing, so callers need not ask.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = structlog.get_logger()

_SEND_S: Final = 1.0  # systemd reads at once; a manager that hangs must not hold up the node


class Notifier:
    """The service manager that the environment names, if any; it belongs to this process alone.

    `watchdog_s` is how long the manager waits for a sign of life before it starts the service anew;
    None when it does not wait for any.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address_of(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_of(environment) if self._address else None

    def ready(self, status: str = "") -> None:
        """The service is up, or has finished reloading."""
        self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> None:
        """The service reads its configuration anew; `ready` follows, whether it liked it or not."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}", *_status(status))

    def stopping(self, status: str = "") -> None:
        """The service is about to end, of its own accord or because it was told to."""
        self._send("STOPPING=1", *_status(status))

    def status(self, status: str) -> None:
        """One line, shown by `systemctl status`. No secrets: every user may read it."""
        self._send(*_status(status))

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    async def keep_alive(self) -> None:
        """Give signs of life for as long as the event loop turns; ends at once where none are
        asked for."""
        while self.watchdog_s is not None:
            self.alive()
            await asyncio.sleep(self.watchdog_s / 2)

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SEND_S)
            try:
                sender.sendto("\n".join(assignments).encode(), self._address)
            except OSError as error:  # the node's work does not depend on who watches it
                _log.warning("the service manager does not listen", reason=str(error))


def _address_of(text: str) -> str | None:
    """The socket's address: a path, or an abstract name, which the environment writes with an @."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_of(environment: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): the variables may be meant for the process that started this one."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    interval_us = environment.get("WATCHDOG_USEC", "")
    return int(interval_us) / 1e6 if interval_us.isdecimal() and int(interval_us) > 0 else None


def _status(text: str) -> tuple[str, ...]:
    """Line by line is how assignments are told apart, so there is one line."""
    return (f"STATUS={' '.join(text.split())}",) if text else ()
