"""Hear of every change to one bridge and its ports, row by row, from a thread of its own."""

from __future__ import annotations

import threading
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


def watch(
    socket_path: Path,
    bridge_name: str,
    on_change: Callable[[BridgeChange], None],
    stop: threading.Event,
) -> threading.Thread:
    """Call `on_change`, from a thread of its own: first with everything, then with what changes.

    The library reconnects by itself when ovsdb-server restarts. Set `stop` to end it.
    """

    def work() -> None:
        while not stop.is_set():
            try:
                schema = fetch_schema(socket_path, _SCHEMA_TIMEOUT_S)
            except OvsdbError:
                stop.wait(_RETRY_S)  # the database is down; the supervisor brings it back
                continue
            session = _Session(f"unix:{socket_path}", schema, bridge_name)
            try:
                _follow(session, on_change, stop)
            finally:
                session.close()

    thread = threading.Thread(target=work, name="ovsdb-watch", daemon=True)
    thread.start()
    return thread


def _follow(
    session: _Session, on_change: Callable[[BridgeChange], None], stop: threading.Event
) -> None:
    while not stop.is_set():
        session.run()
        change = session.take()
        if change is not None:
            on_change(change)
        waiter = poller.Poller()
        session.wait(waiter)
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
