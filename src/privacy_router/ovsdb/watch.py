"""Hear of every change to one bridge and its ports, row by row, from a thread of its own."""

from __future__ import annotations

import os
import select
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from privacy_router.ovsdb.client import COLUMNS, port_row, read_settings, with_settings
from privacy_router.ovsdb.columns import SAMPLE_SETS
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.library import poller
from privacy_router.ovsdb.replica import Replica, untrusted
from privacy_router.ovsdb.schema import fetch_schema
from privacy_router.values.bridges import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from privacy_router.values.bridges import PortRow

_log = structlog.get_logger()

_TICK_MS: Final = 1000
_RETRY_FIRST_S: Final = 0.2
_RETRY_MOST_S: Final = 5.0
_LIMIT_S: Final = 5.0
_PROBE_MS: Final = 5000


@dataclass(frozen=True)
class BridgeChange:
    """What changed: port rows by name (None: no longer on the bridge), and whether anything of the
    bridge itself did, or of what Open vSwitch as a whole is told."""

    ports: Mapping[str, PortRow | None] = field(default_factory=dict)
    bridge: bool = False


class BridgeWatch:
    """Calls `on_change`, from a thread of its own: first with everything, then with what changes.

    A database that goes, or that speaks nonsense, is connected to again, after growing pauses;
    `trouble` says why nothing is heard at the moment. `end` it. `ended` is done when its thread
    has ended, with the error when that was a defect.
    """

    def __init__(
        self, socket_path: Path, bridge_name: str, on_change: Callable[[BridgeChange], None]
    ) -> None:
        self._socket_path = socket_path
        self._bridge_name = bridge_name
        self._on_change = on_change
        self.ended: Future[None] = Future()
        self.ended.set_running_or_notify_cancel()  # who waits may give up; the thread does not
        self._stop = threading.Event()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._told: set[str] = set()
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="ovsdb-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Return once nothing is told any more. It waits for a database that hangs, for a while."""
        self._stop.set()
        os.eventfd_write(self._bell, 1)
        self._thread.join(_LIMIT_S)
        if not self._thread.is_alive():
            os.close(self._bell)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # for the caller that waits for the end
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _work(self) -> None:
        delay_s = _RETRY_FIRST_S
        while not self._stop.is_set():
            try:
                self._connect()
            except OvsdbError as error:
                is_new = not self.trouble
                self.trouble = error.message
                delay_s = _RETRY_FIRST_S if is_new else min(delay_s * 2, _RETRY_MOST_S)
                if is_new:
                    _log.warning("the bridge's database is not heard", reason=error.message)
                self._stop.wait(delay_s)

    def _connect(self) -> None:
        """Follow one session until the watch ends. Raises OvsdbError when the session does."""
        schema = fetch_schema(self._socket_path, _LIMIT_S)
        session = _Session(self._socket_path, schema, self._bridge_name, self._told)
        try:
            self._follow(session)
        finally:
            session.close()

    def _follow(self, session: _Session) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while not self._stop.is_set():
            session.run()
            change = session.take()
            if change is not None:
                self._tell(change)
            session.require_open(deadline)
            waiter = poller.Poller()
            session.wait(waiter)
            waiter.fd_wait(self._bell, select.POLLIN)
            waiter.timer_wait(_TICK_MS)
            waiter.block()

    def _tell(self, change: BridgeChange) -> None:
        if self.trouble:
            _log.info("the bridge's database is heard again")
        self.trouble = ""
        gone = {name for name, row in change.ports.items() if row is None}
        self._told = (self._told | change.ports.keys()) - gone
        self._on_change(change)


class _Session(Replica):
    """The library's copy of the database, and what of it changed since the last question."""

    def __init__(
        self, socket_path: Path, schema: dict[str, Any], bridge_name: str, told: set[str]
    ) -> None:
        self._bridge_name = bridge_name
        self._touched: set[str] = set()
        self._bridge_touched = False
        self._members: dict[str, Any] = dict.fromkeys(told)  # by an earlier session
        # the counters of the root row change with every transaction of every client
        columns = {table: names for table, names in COLUMNS.items() if table != ROOT}
        columns = with_settings(columns, read_settings(schema))
        super().__init__(socket_path, schema, columns, _LIMIT_S)
        self._session.reconnect.set_probe_interval(_PROBE_MS)

    def require_open(self, deadline: float) -> None:
        """Raise OvsdbError when the database went away, or sends nothing from the beginning."""
        if not self.has_ever_connected():
            if time.monotonic() > deadline:
                raise OvsdbError("the database did not send its content", retryable=True)
        elif not self._session.is_connected():
            raise OvsdbError("the database went away", retryable=True)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """The library's hook: one call for each row that changed."""
        del event, updates
        table = row._table.name  # noqa: SLF001 - the library's own examples do so
        if table in (ROOT, SAMPLE_SETS):
            self._bridge_touched = True
            return
        self._bridge_touched |= row.name == self._bridge_name
        if table != "Bridge":
            self._touched.add(row.name)

    def take(self) -> BridgeChange | None:
        """What changed since the last time, or None. Raises OvsdbError for rows that are none."""
        with untrusted():
            return self._take()

    def _take(self) -> BridgeChange | None:
        touched, self._touched = self._touched, set()
        bridge, self._bridge_touched = self._bridge_touched, False
        if bridge:
            before, self._members = self._members, self._read_members()
            touched |= before.keys() ^ self._members.keys()
        known = {name: self._row(name) for name in touched}
        rows = {name: row for name, row in known.items() if row is not None or bridge}
        return BridgeChange(rows, bridge) if rows or bridge else None

    def _row(self, name: str) -> PortRow | None:
        port = self._members.get(name)
        return port_row(self._bridge_name, port) if port is not None and port.interfaces else None

    def _read_members(self) -> dict[str, Any]:
        rows = self.tables["Bridge"].rows.values()
        found = next((row for row in rows if row.name == self._bridge_name), None)
        return {port.name: port for port in found.ports} if found is not None else {}
