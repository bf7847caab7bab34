"""Making the bridge and its ports, which is one piece of work for all of their changes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from privacy_router.ovsdb.client import OvsDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState


class SwitchWork:
    """Makes the bridge as it should be, once and in the background: vswitchd takes its time to
    start, and the tunnels' devices are brought in meanwhile.

    `wait_for(condition, complaint)` is the session's.
    """

    def __init__(
        self,
        desired: DesiredState,
        machine: NodeHost,
        wait_for: Callable[[Callable[[], bool], str], None],
    ) -> None:
        self._desired = desired
        self._machine = machine
        self._wait_for = wait_for
        self._job: Future[None] | None = None
        self._is_settled = False
        self._background = ThreadPoolExecutor(1, "bridge")

    def begin(self) -> None:
        """Have the bridge, its ports and all of their settings made as desired."""
        if self._job is None:
            self._job = self._background.submit(self._ensure_bridge)

    def join(self) -> None:
        """Wait until that is done, if it was begun. Raises what it raised."""
        if self._job is not None:
            self._job.result()
            self._is_settled = True

    def close(self) -> None:
        """Wait until that has ended, in any way."""
        self._background.shutdown()

    def settle_ports(self) -> None:
        """After vswitchd was started anew, its ports exist once it has read the database."""
        self.join()
        if not self._is_settled:
            with OvsDatabase(self._machine.ovs_socket) as database:
                database.await_applied()
            self._is_settled = True

    def remake_port(self, name: str) -> None:
        """vswitchd does not notice that a port's device went with its namespace: make it anew."""
        with OvsDatabase(self._machine.ovs_socket) as database:
            database.delete_ports(self._desired.bridge.name, [name])
            database.ensure_bridge(self._desired.bridge)

    def delete_bridge(self, name: str) -> None:
        """Delete a bridge with its ports. Raises OvsdbError."""
        with OvsDatabase(self._machine.ovs_socket) as database:
            database.delete_bridge(name)

    def _ensure_bridge(self) -> None:
        self._wait_for(self._machine.ovs_socket.is_socket, "Open vSwitch does not run")
        with OvsDatabase(self._machine.ovs_socket) as database:
            database.ensure_bridge(self._desired.bridge)
