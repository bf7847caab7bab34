"""A session with ovsdb-server: read bridges, change them, wait until vswitchd has followed.

RFC 7047, by way of the `ovs` library's IDL. Blocking, with a time limit on every wait: call it
from a thread of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from privacy_router.errors import ConflictError
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.library import idl, poller
from privacy_router.ovsdb.model import BridgeRow, BridgeSpec, PortRow, PortSpec
from privacy_router.ovsdb.schema import fetch_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

OWNER_KEY = "privacy-router"
COLUMNS = {
    "Open_vSwitch": ["bridges", "cur_cfg", "next_cfg"],
    "Bridge": [
        "name",
        "ports",
        "fail_mode",
        "datapath_type",
        "protocols",
        "controller",
        "external_ids",
        "other_config",
    ],
    "Port": ["name", "interfaces", "external_ids"],
    "Interface": [
        "name",
        "type",
        "mac",
        "mac_in_use",
        "ofport",
        "ofport_request",
        "error",
        "external_ids",
    ],
}


class OvsDatabase:
    """One session; a context manager."""

    columns: ClassVar[Mapping[str, list[str]]] = COLUMNS

    def __init__(self, socket_path: Path, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        helper = idl.SchemaHelper(schema_json=fetch_schema(socket_path, timeout_s))
        for table, columns in self.columns.items():
            helper.register_columns(table, columns)
        self._idl = idl.Idl(f"unix:{socket_path}", helper)
        self._await(self._idl.has_ever_connected, "the database did not send its content")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._idl.close()

    # --- reading ---------------------------------------------------------------------------------

    def read_bridge(self, name: str) -> BridgeRow | None:
        """The bridge `name` as the database has it now, or None."""
        self._idl.run()
        row = self._bridge(name)
        return _bridge_row(row) if row is not None else None

    def our_bridges(self) -> list[str]:
        """The names of the bridges that this program made."""
        self._idl.run()
        rows = self._idl.tables["Bridge"].rows.values()
        return sorted(row.name for row in rows if _is_ours(row))

    # --- changing --------------------------------------------------------------------------------

    def ensure_bridge(self, spec: BridgeSpec) -> None:
        """Make the bridge with all its ports, or bring it back to `spec`; wait for vswitchd.

        Ports that somebody else put on the bridge stay. A port whose row differs is deleted and
        added in two transactions, since vswitchd does nothing about a port that goes and comes in
        one. Raises ConflictError for a bridge of that name that somebody else made, OvsdbError
        when vswitchd reports a port's error.
        """
        row = self._bridge(spec.name)
        if row is not None and not _is_ours(row):
            raise ConflictError(
                f"the bridge {spec.name} exists and belongs to somebody else",
                remedy="set bridge_name to a name that is free, such as ovsbr0",
            )
        stale = self._stale_ports(row, spec)
        if stale:
            self.delete_ports(spec.name, stale)
        self._transact(lambda txn: self._write_bridge(txn, spec))
        self._check_ports(spec)

    def _stale_ports(self, row: Any, spec: BridgeSpec) -> list[str]:
        if row is None:
            return []
        found = _bridge_row(row).ports
        wanted = {port.name: port for port in spec.ports}
        return [
            name
            for name, port in found.items()
            if (name in wanted and not _same_port(port, wanted[name]))
            or (name not in wanted and port.ours)
        ]

    def _write_bridge(self, txn: Any, spec: BridgeSpec) -> None:
        root = self._root()
        bridge = self._bridge(spec.name)
        if bridge is None:
            bridge = txn.insert(self._idl.tables["Bridge"])
            bridge.name = spec.name
            bridge.external_ids = {OWNER_KEY: "1"}
            bridge.datapath_type = spec.datapath_type
            bridge.ports = [self._insert_port(txn, spec.name, None)]
            root.addvalue("bridges", bridge.uuid)
        bridge.fail_mode = spec.fail_mode
        bridge.protocols = []
        bridge.controller = []
        bridge.other_config = {"disable-in-band": "true"}
        present = {port.name for port in bridge.ports}
        for port in spec.ports:
            if port.name not in present:
                bridge.addvalue("ports", self._insert_port(txn, port.name, port).uuid)

    def _insert_port(self, txn: Any, name: str, spec: PortSpec | None) -> Any:
        interface = txn.insert(self._idl.tables["Interface"])
        interface.name = name
        interface.type = "internal"
        if spec is not None:
            interface.mac = [spec.mac]
            interface.ofport_request = [spec.ofport]
        port = txn.insert(self._idl.tables["Port"])
        port.name = name
        if spec is not None:
            port.external_ids = {OWNER_KEY: "1"}
        port.interfaces = [interface]
        return port

    def _check_ports(self, spec: BridgeSpec) -> None:
        row = self.read_bridge(spec.name)
        ports = row.ports if row is not None else {}
        for port in spec.ports:
            found = ports.get(port.name)
            if found is None or found.error or found.ofport != port.ofport:
                reason = (found.error if found else None) or "vswitchd did not make it"
                raise OvsdbError(
                    f"Open vSwitch could not make the port {port.name}: {reason}", retryable=True
                )

    def delete_ports(self, bridge_name: str, names: list[str]) -> None:
        """Take ports off the bridge and wait until vswitchd has done so."""

        def work(_txn: Any) -> None:
            bridge = self._bridge(bridge_name)
            if bridge is not None:
                bridge.ports = [port for port in bridge.ports if port.name not in names]

        self._transact(work)

    def pin_macs(self, bridge_name: str, macs: Mapping[str, str]) -> None:
        """Ask for the MACs that internal ports happen to have.

        vswitchd gives a port that it makes anew the MAC that was asked for, or else another one;
        and of a port in another namespace it does not know it (userspace datapath). Ports that
        have been asked for a MAC, and those that are gone, are left alone.
        """

        def work(_txn: Any) -> None:
            bridge = self._bridge(bridge_name)
            for port in bridge.ports if bridge is not None else ():
                for interface in port.interfaces:
                    if interface.name in macs and not interface.mac:
                        interface.mac = [macs[interface.name]]

        self._transact(work)

    def delete_bridge(self, name: str) -> None:
        """Take the bridge away if this program made it; wait for vswitchd."""
        row = self._bridge(name)
        if row is None or not _is_ours(row):
            return

        def work(_txn: Any) -> None:
            root = self._root()
            root.bridges = [bridge for bridge in root.bridges if bridge.name != name]

        self._transact(work)

    def await_applied(self) -> None:
        """Wait until vswitchd has followed everything that the database holds."""
        self._transact(lambda _txn: None, even_if_unchanged=True)

    # --- machinery -------------------------------------------------------------------------------

    def _transact(self, change: Callable[[Any], None], *, even_if_unchanged: bool = False) -> None:
        """Commit `change` and wait until vswitchd has followed; nothing to do costs nothing."""
        self._ensure_root()
        deadline = time.monotonic() + self._timeout_s
        while True:
            txn = idl.Transaction(self._idl)
            change(txn)
            root = self._root()
            wanted = root.next_cfg + 1
            if even_if_unchanged or txn._txn_rows:  # noqa: SLF001 - the library has no question for it
                root.verify("next_cfg")
                root.next_cfg = wanted
            status = self._commit(txn)
            if status == txn.UNCHANGED:
                return
            if status == txn.SUCCESS:
                break
            if time.monotonic() > deadline:
                raise OvsdbError("Open vSwitch's database is too busy", retryable=True)
        self._await(
            lambda: self._root().cur_cfg >= wanted,
            "ovs-vswitchd did not take over the new configuration",
        )

    def _commit(self, txn: Any) -> str:
        """Commit: SUCCESS, UNCHANGED, or TRY_AGAIN when somebody else was quicker."""
        status = txn.commit_block()
        if status not in (txn.SUCCESS, txn.UNCHANGED, txn.TRY_AGAIN):
            raise OvsdbError(
                f"Open vSwitch's database refused a change: {txn.get_error() or status}"
            )
        return str(status)

    def _await(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            self._idl.run()
            if condition():
                return
            remaining_ms = int((deadline - time.monotonic()) * 1000)
            if remaining_ms <= 0:
                raise OvsdbError(complaint, retryable=True)
            waiter = poller.Poller()
            self._idl.wait(waiter)
            waiter.timer_wait(remaining_ms)
            waiter.block()

    def _root(self) -> Any:
        """The database's one root row, or None while a fresh database has none."""
        return next(iter(self._idl.tables["Open_vSwitch"].rows.values()), None)

    def _ensure_root(self) -> None:
        if self._root() is None:
            txn = idl.Transaction(self._idl)
            txn.insert(self._idl.tables["Open_vSwitch"])
            self._commit(txn)

    def _bridge(self, name: str) -> Any:
        rows = self._idl.tables["Bridge"].rows.values()
        return next((row for row in rows if row.name == name), None)


def _is_ours(row: Any) -> bool:
    return OWNER_KEY in row.external_ids


def _same_port(row: PortRow, spec: PortSpec) -> bool:
    return row.kind == "internal" and row.mac == spec.mac and row.ofport == spec.ofport


def _bridge_row(row: Any) -> BridgeRow:
    return BridgeRow(
        name=row.name,
        datapath_type=row.datapath_type,
        fail_mode=row.fail_mode[0] if row.fail_mode else None,
        protocols=tuple(row.protocols),
        controllers=len(row.controller),
        ours=_is_ours(row),
        ports={port.name: port_row(port) for port in row.ports if port.interfaces},
    )


def port_row(port: Any) -> PortRow:
    """A row of the library's as plain values."""
    interface = port.interfaces[0]
    return PortRow(
        name=port.name,
        kind=interface.type,
        mac=interface.mac[0] if interface.mac else None,
        ofport=interface.ofport[0] if interface.ofport else None,
        error=interface.error[0] if interface.error else None,
        mac_in_use=interface.mac_in_use[0] if interface.mac_in_use else None,
        attached_mac=interface.external_ids.get("attached-mac"),
        ours=_is_ours(port),
    )
