"""Hear of every change to one bridge and its ports, row by row, from a thread of its own."""

from __future__ import annotations

import os
import select
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from privacy_router.ovsdb.client import COLUMNS, port_row
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.library import idl, poller
from privacy_router.ovsdb.schema import fetch_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from privacy_router.ovsdb.model import PortRow

_TICK_MS = 1000
_RETRY_S = 0.2
_SCHEMA_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class BridgeChange:
    """What changed: port rows by name (None: no longer on the bridge), and whether anything of the
    bridge itself did."""

    ports: Mapping[str, PortRow | None] = field(default_factory=dict)
    bridge: bool = False


class BridgeWatch:
    """Calls `on_change`, from a thread of its own: first with everything, then with what changes.

    The library reconnects by itself when ovsdb-server restarts. `end` it. `ended` is done when its
    thread has ended, with the error when that was a defect.
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
        self._thread = threading.Thread(target=self._run, name="ovsdb-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Return once nothing is told any more. It waits for a database that hangs, for a while."""
        self._stop.set()
        os.eventfd_write(self._bell, 1)
        self._thread.join(_SCHEMA_TIMEOUT_S)
        if not self._thread.is_alive():
            os.close(self._bell)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # for whoever waits for the end
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                schema = fetch_schema(self._socket_path, _SCHEMA_TIMEOUT_S)
            except OvsdbError:
                self._stop.wait(_RETRY_S)  # the database is down; the supervisor brings it back
                continue
            session = _Session(f"unix:{self._socket_path}", schema, self._bridge_name)
            try:
                self._follow(session)
            finally:
                session.close()

    def _follow(self, session: _Session) -> None:
        while not self._stop.is_set():
            session.run()
            change = session.take()
            if change is not None:
                self._on_change(change)
            waiter = poller.Poller()
            session.wait(waiter)
            waiter.fd_wait(self._bell, select.POLLIN)
            waiter.timer_wait(_TICK_MS)
            waiter.block()


class _Session(idl.Idl):  # type: ignore[misc]
    """The library's copy of the database, and what of it changed since somebody asked."""

    def __init__(self, remote: str, schema: dict[str, Any], bridge_name: str) -> None:
        helper = idl.SchemaHelper(schema_json=schema)
        for table in ("Bridge", "Port", "Interface"):
            helper.register_columns(table, COLUMNS[table])
        self._bridge_name = bridge_name
        self._touched: set[str] = set()
        self._bridge_touched = False
        self._members: dict[str, Any] = {}
        super().__init__(remote, helper)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """The library's hook: one call for each row that changed."""
        del event, updates
        if row._table.name == "Bridge":  # noqa: SLF001 - the library's own examples do so
            self._bridge_touched |= row.name == self._bridge_name
        else:
            self._touched.add(row.name)

    def take(self) -> BridgeChange | None:
        """What changed since the last time, or None."""
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
        return port_row(port) if port is not None and port.interfaces else None

    def _read_members(self) -> dict[str, Any]:
        rows = self.tables["Bridge"].rows.values()
        found = next((row for row in rows if row.name == self._bridge_name), None)
        return {port.name: port for port in found.ports} if found is not None else {}
