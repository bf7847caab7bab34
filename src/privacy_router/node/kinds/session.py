"""What is open while a list of changes is made."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.netlink import Netlink
from privacy_router.node.kinds.switch_work import SwitchWork

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

_APPEAR_TIMEOUT_S = 5.0
_POLL_S = 0.005


class ApplyError(PrivacyRouterError):
    """A change could not be made."""


class StoppedError(ApplyError):
    """Told to make no further change."""


class Session:
    """The state to make, the machine, and what changes share while they are made.

    Netlink sessions are kept for as long as that takes: opening one costs more than using it.
    """

    def __init__(self, desired: DesiredState, machine: NodeHost) -> None:
        self.desired = desired
        self.machine = machine
        self.switch = SwitchWork(desired, machine, self.wait_for)
        self._netlinks: dict[Path | None, Netlink] = {}
        self._stopped = threading.Event()

    def close(self) -> None:
        """End what is open, once the work at the switch is done."""
        self.switch.close()
        for netlink in self._netlinks.values():
            netlink.close()
        self._netlinks.clear()

    def stop(self) -> None:
        """Make no further change; for another thread to say."""
        self._stopped.set()

    def go_on(self) -> None:
        """Raise StoppedError when told to stop."""
        if self._stopped.is_set():
            raise StoppedError("stopped before all changes were made")

    def wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        """Wait up to 5 s until the condition holds. Raises ApplyError with the complaint."""
        deadline = time.monotonic() + _APPEAR_TIMEOUT_S
        while not condition():
            self.go_on()
            if time.monotonic() > deadline:
                raise ApplyError(complaint, remedy="look into the logs in the run directory")
            time.sleep(_POLL_S)

    def netlink(self, namespace: Path | None) -> Netlink:
        """A netlink session in that namespace (None: the host's). Raises OSError."""
        if namespace not in self._netlinks:
            self._netlinks[namespace] = Netlink(namespace)
        return self._netlinks[namespace]
