"""Find processes of the node that live and do not serve, and have them replaced.

That a process runs says nothing: one that a signal has stopped, or that waits for ever, keeps its
number. So each is asked for what it is there for. Nothing of that leaves the machine.

One that was stopped is told to go on first, since its sessions are still good; if that does not
help, or if it gives no answer twice in a row and does no work meanwhile, it is ended, and the
controller, who hears of its end, starts it anew. One that works all the time is waited for longer.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.hops.xray.hop import XRAY_PROCESS, XRAY_ROLE
from privacy_router.host import processes, unixctl
from privacy_router.host.namespaces import run_in
from privacy_router.host.threads import in_thread
from privacy_router.plan.compile import ovs_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from privacy_router.host.processes import Process
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

_log = structlog.get_logger()

_PERIOD_S: Final = 1.0
_AGAIN_S: Final = 0.3
_ANSWER_S: Final = 1.0
_BEGINNING_S: Final = 5.0
"""So long after it was first seen a process may be busy with starting."""
_IDLE_PATIENCE_S: Final = 1.0
_BUSY_PATIENCE_S: Final = 10.0
"""One that works may be busy with one thing, and its end would cost more than the wait."""
_ECHO: Final = b'{"id":"alive","method":"echo","params":["alive"]}'  # RFC 7047, section 4.1.11
_SOCKS_GREETING: Final = b"\x05\x01\x00"  # RFC 1928, section 3: one method, without authentication
_SOCKS_CHOICE: Final = b"\x05\x00"
_NO_TRACE: Final = struct.pack("ii", 1, 0)
"""Closed at once: one connection every second look would leave dozens that wait for their end."""


class SilenceError(PrivacyRouterError):
    """A process does not answer, or not to what it is there for."""


class _Silence(NamedTuple):
    """Since when a process was asked in vain, and how much it had worked by then."""

    since: float
    work: int


class Liveness:
    """Looks after those processes that `running` gives; `tell` is called when one has ended."""

    def __init__(
        self,
        desired: Callable[[], DesiredState],
        machine: NodeHost,
        running: Callable[[], Collection[Process]],
        tell: Callable[[], None],
    ) -> None:
        self._desired = desired
        self._machine = machine
        self._running = running
        self._tell = tell
        self._seen: dict[Process, float] = {}
        self._silent: dict[Process, _Silence] = {}
        self._told: set[Process] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_AGAIN_S if self._told or self._silent else _PERIOD_S)
            there = self._remember()
            stopped = self._wake_up(there)
            await asyncio.gather(*map(self._ask, self._old_enough(there - stopped)))

    def _remember(self) -> set[Process]:
        """Those that run; what is known of the others is forgotten."""
        there = {process for process in self._running() if not processes.is_ended(process)}
        if self._seen.keys() - there:
            self._tell()
        now = time.monotonic()
        self._seen = {process: self._seen.get(process, now) for process in there}
        self._silent = {one: begun for one, begun in self._silent.items() if one in there}
        return there

    def _old_enough(self, there: set[Process]) -> list[Process]:
        since = time.monotonic() - _BEGINNING_S
        return [process for process in there if self._seen[process] <= since]

    # --- stopped ---------------------------------------------------------------------------------

    def _wake_up(self, there: set[Process]) -> set[Process]:
        """Those that are stopped, told to go on by now, or ended where that was of no use."""
        stopped = {process for process in there if processes.is_stopped(process)}
        for process in stopped & self._told:
            self._end(process, "it is stopped and does not go on")
        for process in stopped - self._told:
            _log.warning("a stopped process is told to go on", process=process.name)
            processes.tell(process, self._machine.owner, signal.SIGCONT)
        self._told = stopped - self._told
        return stopped

    # --- silent ----------------------------------------------------------------------------------

    async def _ask(self, process: Process) -> None:
        asked = time.monotonic()
        work = processes.work_done(process)
        try:
            await in_thread(self._require_answer, process.name)
        except PrivacyRouterError as error:
            begun = self._silent.setdefault(process, _Silence(asked, work))
            patience_s = _IDLE_PATIENCE_S if work == begun.work else _BUSY_PATIENCE_S
            if asked - begun.since >= patience_s:
                self._end(process, error.message)
        else:
            self._silent.pop(process, None)

    def _end(self, process: Process, reason: str) -> None:
        _log.warning("a process does not serve, replaced", process=process.name, reason=reason)
        processes.tell(process, self._machine.owner, signal.SIGKILL)

    def _require_answer(self, name: str) -> None:
        """Raises SilenceError, UapiError, UnixctlError."""
        home = ovs_dir(self._machine.paths.run)
        if name == "ovsdb-server":
            ask_database(home / "db.sock")
        elif name == "ovs-vswitchd":
            unixctl.call(home / "ovs-vswitchd.ctl", "version", timeout_s=_ANSWER_S)
        elif name == XRAY_PROCESS:
            self._ask_xray()
        elif name in self._machine.hops.tunnels:
            self._ask_wireguard(name)

    def _ask_wireguard(self, name: str) -> None:
        if self._machine.wireguard.read(name, None) is None:
            raise SilenceError("its control socket is gone")

    def _ask_xray(self) -> None:
        """XRay's SOCKS entrance, from inside the hop."""
        desired = self._desired()
        config, spec = desired.pipeline.config, desired.processes.get(XRAY_PROCESS)
        station = desired.pipeline.segment.station(XRAY_ROLE.name)
        if station is None or spec is None:
            return  # it is being replaced by a chain without it
        address = str(station.v4.ip)
        greet_socks(address, config.xray.socks_port, spec.namespace)


def ask_database(path: Path) -> None:
    """Have ovsdb-server echo something. Raises SilenceError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_ANSWER_S)
            line.connect(str(path))
            line.sendall(_ECHO)
            if not line.recv(len(_ECHO)):
                raise SilenceError("it hung up on a question")
    except OSError as error:
        raise SilenceError(f"{path.name}: {error.strerror or error}") from error


def greet_socks(address: str, port: int, namespace: Path | None = None) -> None:
    """Greet a SOCKS server in a network namespace (None: that of the calling thread).

    Raises SilenceError; not where there is no way to it, which is not its fault: no route, or a
    namespace that was unbound.
    """
    try:
        answer = run_in(namespace, lambda: _answer_of_socks(address, port))
    except (TimeoutError, ConnectionError) as error:
        raise SilenceError(f"{address}:{port}: {error.strerror or error}") from error
    except OSError:
        return
    if answer != _SOCKS_CHOICE:
        raise SilenceError(f"{address}:{port} answers otherwise than a SOCKS server")


def _answer_of_socks(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), _ANSWER_S) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_TRACE)
        line.sendall(_SOCKS_GREETING)
        return line.recv(len(_SOCKS_CHOICE))
