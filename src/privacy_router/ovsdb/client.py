"""A session with ovsdb-server: read bridges, change them, wait until vswitchd has followed.

RFC 7047, by way of the `ovs` library's IDL. Blocking, with a time limit on every wait: call it
from a thread of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from privacy_router.errors import ConflictError, PrivacyRouterError
from privacy_router.ovsdb.columns import SAMPLE_SETS, STRUCTURE, setting_columns
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.library import idl, poller
from privacy_router.ovsdb.replica import Replica, settings_of, untrusted, write_settings
from privacy_router.ovsdb.schema import fetch_schema
from privacy_router.values.bridges import (
    MARK,
    OWNER_KEY,
    ROOT,
    BridgeRow,
    BridgeSpec,
    PortRow,
    SwitchSetting,
    mac_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from privacy_router.values.bridges import PortSpec, Value

Settings = dict[str, list[str]]
"""Table → the columns that configure its rows."""

COLUMNS: Mapping[str, list[str]] = {
    ROOT: ["bridges", "cur_cfg", "next_cfg"],
    "Bridge": ["name", "ports", "fail_mode", "datapath_type", "external_ids", "other_config"],
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
"""What is read by name."""


def read_settings(schema: Mapping[str, Any]) -> Settings:
    """The columns of that database that configure a bridge. Raises OvsdbError."""
    return {table: setting_columns(schema, table) for table in STRUCTURE}


def with_settings(columns: Mapping[str, list[str]], settings: Settings) -> dict[str, list[str]]:
    """What has to be copied for both to be read."""
    if not settings:
        return dict(columns)
    copied = {table: [*columns.get(table, []), *names] for table, names in settings.items()}
    return {**columns, **copied, SAMPLE_SETS: ["bridge"]}


class OvsDatabase:
    """One session; a context manager. Everything that it does raises OvsdbError."""

    columns: ClassVar[Mapping[str, list[str]]] = COLUMNS
    with_settings: ClassVar[bool] = True

    def __init__(self, socket_path: Path, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        schema = fetch_schema(socket_path, timeout_s)
        self._settings = read_settings(schema) if self.with_settings else {}
        columns = with_settings(self.columns, self._settings)
        self._idl = Replica(socket_path, schema, columns, timeout_s)
        try:
            self._await(self._idl.has_ever_connected, "the database did not send its content")
        except OvsdbError:
            self._idl.close()
            raise

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

    def read_bridge(self, name: str, ports: Collection[str] = ()) -> BridgeRow | None:
        """The bridge `name` as the database has it now, or None; with the settings of our ports and
        of those named."""
        self._idl.run()
        with untrusted():
            row = self._bridge(name)
            return self._bridge_row(row, ports) if row is not None else None

    def _bridge_row(self, row: Any, ports: Collection[str]) -> BridgeRow:
        name = row.name
        found = {port.name: port_row(name, port) for port in row.ports}
        ours = {name, *ports, *(port.name for port in found.values() if port.ours)}
        return BridgeRow(
            name=name,
            ours=_is_ours(row),
            ports=found,
            bridge_settings=dict(self._bridge_settings(row)),
            port_settings=dict(self._port_settings(row, ours)),
            root_settings=dict(self._settings_in(ROOT, "", self._root())),
        )

    def _bridge_settings(self, row: Any) -> Iterator[tuple[SwitchSetting, Value]]:
        yield from self._settings_in("Bridge", row.name, row)
        sets = len(self._sample_sets(row))
        if sets:
            yield SwitchSetting(SAMPLE_SETS, "Bridge", row.name), f"{sets} set"

    def _port_settings(
        self, row: Any, names: Collection[str]
    ) -> Iterator[tuple[SwitchSetting, Value]]:
        for port in row.ports:
            if port.name in names:
                yield from self._settings_in("Port", port.name, port)
                for interface in port.interfaces:
                    yield from self._settings_in("Interface", interface.name, interface)

    def _settings_in(
        self, table: str, name: str, row: Any
    ) -> Iterator[tuple[SwitchSetting, Value]]:
        for column, value in settings_of(row, self._settings.get(table, [])).items():
            yield SwitchSetting(column, table, name), value

    def _sample_sets(self, bridge: Any) -> list[Any]:
        """Where the switch is told to send samples that flows take (action `sample`)."""
        table = self._idl.tables.get(SAMPLE_SETS)
        rows = list(table.rows.values()) if table is not None else []
        return [row for row in rows if any(one.uuid == bridge.uuid for one in _bridges_of(row))]

    def our_bridges(self) -> list[str]:
        """The names of the bridges that this program made."""
        self._idl.run()
        with untrusted():
            rows = self._idl.tables["Bridge"].rows.values()
            return sorted(row.name for row in rows if _is_ours(row))

    # --- changing --------------------------------------------------------------------------------

    def ensure_bridge(self, spec: BridgeSpec) -> None:
        """Make the bridge with all its ports, or bring it back to `spec`; wait for vswitchd.

        Ports that another program put on the bridge stay as they are. What copies or sends is taken
        away first of all. A port that has to be made anew is deleted and added in two transactions,
        since vswitchd does nothing about a port that goes and comes in one. Raises ConflictError
        for a bridge of that name that another program made, OvsdbError when vswitchd reports a
        port's error.
        """
        with untrusted():
            row = self._bridge(spec.name)
            others = row is not None and not (spec.whole or _is_ours(row))
        if others:
            raise ConflictError(
                f"the bridge {spec.name} exists and belongs to another program",
                remedy="set bridge_name to a name that is free, such as ovsbr0",
            )
        if row is not None:
            self._transact(lambda txn: self._write_settings(txn, spec))
        stale = self._stale_ports(spec)
        if stale:
            self.delete_ports(spec.name, stale)
        self._transact(lambda txn: self._write_bridge(txn, spec))
        self._check_ports(spec)

    def _stale_ports(self, spec: BridgeSpec) -> list[str]:
        wanted = {port.name: port for port in spec.ports}
        with untrusted():
            row = self._bridge(spec.name)
            found = [port_row(spec.name, port) for port in row.ports] if row is not None else []
        return [
            port.name
            for port in found
            if (port.name in wanted and not _same_device(port, wanted[port.name]))
            or (port.name not in wanted and port.ours)
        ]

    def _write_bridge(self, txn: Any, spec: BridgeSpec) -> None:
        bridge = self._bridge(spec.name)
        if bridge is None:
            bridge = txn.insert(self._idl.tables["Bridge"])
            bridge.name = spec.name
            bridge.ports = [self._insert_port(txn, spec.name, None)]
            self._root().addvalue("bridges", bridge.uuid)
            for column, value in spec.rows["Bridge", spec.name].items():
                setattr(bridge, column, value)
        present = {port.name for port in bridge.ports}
        for port in spec.ports:
            if port.name not in present:
                bridge.addvalue("ports", self._insert_port(txn, port.name, port).uuid)
        self._write_settings(txn, spec)

    def _write_settings(self, txn: Any, spec: BridgeSpec) -> None:
        """Of the rows that are there: set what `spec` says and take away everything else."""
        for table, name, row in self._present_rows(spec):
            wanted = spec.rows.get((table, name))
            if wanted is not None:
                write_settings(txn, row, self._settings[table], wanted)
        bridge = self._bridge(spec.name)
        for row in self._sample_sets(bridge) if bridge is not None else ():
            row.delete()
        for port in spec.ports:
            self._pin(spec.name, port)

    def _pin(self, bridge_name: str, port: PortSpec) -> None:
        interface = self._interface(bridge_name, port.name)
        if interface is None:
            return
        if interface.mac != [port.mac]:
            interface.mac = [port.mac]
        if interface.ofport_request != [port.ofport]:
            interface.ofport_request = [port.ofport]

    def _present_rows(self, spec: BridgeSpec) -> Iterator[tuple[str, str, Any]]:
        yield ROOT, "", self._root()
        bridge = self._bridge(spec.name)
        if bridge is None or bridge._data is None:  # noqa: SLF001 - it is only being inserted
            return
        yield "Bridge", spec.name, bridge
        for port in bridge.ports:
            if port._data is not None:  # noqa: SLF001
                yield "Port", port.name, port
                yield from (("Interface", one.name, one) for one in port.interfaces)

    def _interface(self, bridge_name: str, name: str) -> Any:
        bridge = self._bridge(bridge_name)
        found = [] if bridge is None else [port for port in bridge.ports if port.name == name]
        return next((one for port in found for one in port.interfaces), None)

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
            port.external_ids = dict(MARK)
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
        with untrusted():
            row = self._bridge(name)
            ours = row is not None and _is_ours(row)
        if not ours:
            return

        def work(_txn: Any) -> None:
            for sampling in self._sample_sets(self._bridge(name)):
                sampling.delete()
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
            wanted = self._fill(txn, change, even_if_unchanged=even_if_unchanged)
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

    def _fill(self, txn: Any, change: Callable[[Any], None], *, even_if_unchanged: bool) -> int:
        """Have `change` write into the transaction; the number that vswitchd is to reach then."""
        try:
            with untrusted():
                change(txn)
                root = self._root()
                wanted: int = root.next_cfg + 1
                if even_if_unchanged or txn._txn_rows:  # noqa: SLF001 - no question for it
                    root.verify("next_cfg")
                    root.next_cfg = wanted
        except PrivacyRouterError:
            txn.abort()  # the copy can be read again
            raise
        return wanted

    def _commit(self, txn: Any) -> str:
        """Commit: SUCCESS, UNCHANGED, or TRY_AGAIN when another client was quicker."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            with untrusted():
                status = txn.commit()
            if status != txn.INCOMPLETE:
                break
            if time.monotonic() > deadline:
                txn.abort()
                raise OvsdbError("Open vSwitch's database does not answer", retryable=True)
            self._idl.run()
            self._wait_until(deadline, txn)
        if status not in (txn.SUCCESS, txn.UNCHANGED, txn.TRY_AGAIN):
            raise OvsdbError(
                f"Open vSwitch's database refused a change: {txn.get_error() or status}"
            )
        return str(status)

    def _wait_until(self, deadline: float, *others: Any) -> None:
        waiter = poller.Poller()
        for one in (self._idl, *others):
            one.wait(waiter)
        waiter.timer_wait(max(0, int((deadline - time.monotonic()) * 1000)))
        waiter.block()

    def _await(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            self._idl.run()
            with untrusted():
                reached = condition()
            if reached:
                return
            if time.monotonic() >= deadline:
                raise OvsdbError(complaint, retryable=True)
            self._wait_until(deadline)

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
    """Whether this program made the bridge: it says so, or a port does, or has the MAC that only
    we give."""
    return OWNER_KEY in row.external_ids or any(port_row(row.name, port).ours for port in row.ports)


def _bridges_of(row: Any) -> list[Any]:
    found = row.bridge if isinstance(row.bridge, list) else [row.bridge]
    return [one for one in found if one is not None]


def _same_device(row: PortRow, spec: PortSpec) -> bool:
    """Whether the port has the device that it should; all else can be set."""
    return (row.kind, row.ofport, row.interfaces) == (spec.kind, spec.ofport, spec.interfaces)


def port_row(bridge_name: str, port: Any) -> PortRow:
    """A row of the library's as plain values; the schema has no port without an interface."""
    interface = port.interfaces[0]
    mac = interface.mac[0] if interface.mac else None
    return PortRow(
        name=port.name,
        kind=interface.type,
        mac=mac,
        ofport=interface.ofport[0] if interface.ofport else None,
        error=interface.error[0] if interface.error else None,
        mac_in_use=interface.mac_in_use[0] if interface.mac_in_use else None,
        attached_mac=interface.external_ids.get("attached-mac"),
        ours=OWNER_KEY in port.external_ids or mac == mac_of(bridge_name, port.name),
        asked_ofport=interface.ofport_request[0] if interface.ofport_request else None,
        interfaces=len(port.interfaces),
    )
