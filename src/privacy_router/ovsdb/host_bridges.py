"""The bridges of the machine's own Open vSwitch: read all of them, change those that we made.

What this makes carries a mark (external_ids:op-dbus=net). Nothing without it is ever taken away,
and of a bridge without it nothing is changed but that ports of ours come and go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from privacy_router.errors import ConflictError
from privacy_router.ovsdb.client import COLUMNS, OvsDatabase
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.replica import untrusted
from privacy_router.values.bridges import OWNER_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK: Final = {"op-dbus": "net"}
_HWADDR: Final = "hwaddr"
SYSTEM: Final = "system"
INTERNAL: Final = "internal"


@dataclass(frozen=True)
class HostPort:
    """A port; `kind` is `system` for a device that was there before it, or `internal`.

    `mac` and `mtu_bytes` are those that were asked for, `others` the kinds that this cannot make
    (patch, vxlan, a bond …).
    """

    bridge: str
    kind: str
    tag: int | None = None
    mac: str | None = None
    mtu_bytes: int | None = None
    ours: bool = False
    error: str | None = None


@dataclass(frozen=True)
class HostBridge:
    """A bridge with all its ports but its own; `node` when it is the privacy router's."""

    name: str
    datapath: str
    fail_mode: str | None
    mac: str | None
    mtu_bytes: int | None
    ours: bool
    node: bool
    ports: Mapping[str, HostPort] = field(default_factory=dict)


class HostBridges(OvsDatabase):
    """A session; every change returns when vswitchd has made it. Raises OvsdbError."""

    with_settings: ClassVar[bool] = False
    columns: ClassVar[Mapping[str, list[str]]] = {
        **COLUMNS,
        "Port": [*COLUMNS["Port"], "tag"],
        "Interface": [*COLUMNS["Interface"], "mtu_request"],
    }

    def read(self) -> dict[str, HostBridge]:
        """All bridges by name."""
        self._idl.run()
        with untrusted():
            rows = self._idl.tables["Bridge"].rows.values()
            return {row.name: _host_bridge(row) for row in sorted(rows, key=lambda row: row.name)}

    # --- bridges ---------------------------------------------------------------------------------

    def add_bridge(self, name: str, datapath: str, mac: str | None = None) -> None:
        """Have a bridge, with that MAC if one is given. One that is there stays as it is."""

        def work(txn: Any) -> None:
            if self._bridge(name) is not None:
                return
            bridge = txn.insert(self._idl.tables["Bridge"])
            bridge.name = name
            bridge.external_ids = dict(MARK)
            bridge.datapath_type = datapath
            bridge.ports = [self._insert_port(txn, name, None)]
            if mac is not None:
                bridge.other_config = {_HWADDR: mac}
            self._root().addvalue("bridges", bridge.uuid)

        self._transact(work)

    def set_fail_mode(self, name: str, mode: str | None) -> None:
        """What a bridge of ours does without flows; None for Open vSwitch's own choice."""

        def work(_txn: Any) -> None:
            row = self._own_bridge(name)
            if row is not None:
                row.fail_mode = [] if mode is None else [mode]

        self._transact(work)

    def set_mac(self, name: str, mac: str | None) -> None:
        """The MAC of a bridge of ours; None for Open vSwitch's own choice."""

        def work(_txn: Any) -> None:
            row = self._own_bridge(name)
            if row is not None:
                kept = {key: value for key, value in row.other_config.items() if key != _HWADDR}
                row.other_config = kept if mac is None else {**kept, _HWADDR: mac}

        self._transact(work)

    def remove_bridge(self, name: str) -> None:
        """Take a bridge of ours away. Raises ConflictError when others have ports on it."""

        def work(_txn: Any) -> None:
            row = self._own_bridge(name)
            if row is None:
                return
            strangers = _ports_of_others(row)
            if strangers:
                raise ConflictError(
                    f"the bridge {name} has ports of others: {', '.join(strangers)}",
                    remedy=f"take them off (ovs-vsctl del-port {strangers[0]}), or keep {name}",
                )
            root = self._root()
            root.bridges = [bridge for bridge in root.bridges if bridge.name != name]

        self._transact(work)

    # --- ports -----------------------------------------------------------------------------------

    def put_port(self, name: str, wanted: HostPort) -> None:
        """Have a port of ours so. Raises OvsdbError when vswitchd cannot make it.

        What has to be made anew goes and comes in two transactions: vswitchd does nothing about a
        port that does both in one.
        """
        with untrusted():
            found = self._port(name)
            others = found is not None and not _is_ours(found)
            another = found is not None and not self._is_same_device(found, wanted)
        if others:
            return
        if another:
            self.remove_port(name)
        self._transact(lambda txn: self._write_port(txn, name, wanted))
        self._check_made(name)

    def _is_same_device(self, row: Any, wanted: HostPort) -> bool:
        found = _host_port(self._bridge_of(row.name), row)
        return (found.bridge, found.kind, found.mac, found.error) == (
            *(wanted.bridge, wanted.kind, wanted.mac),
            None,
        )

    def _write_port(self, txn: Any, name: str, wanted: HostPort) -> None:
        row = self._port(name)
        if row is None:
            interface = txn.insert(self._idl.tables["Interface"])
            interface.name = name
            interface.type = INTERNAL if wanted.kind == INTERNAL else ""
            interface.mac = [wanted.mac] if wanted.mac else []
            row = txn.insert(self._idl.tables["Port"])
            row.name = name
            row.external_ids = dict(MARK)
            row.interfaces = [interface]
            bridge = self._bridge(wanted.bridge)
            if bridge is None:
                raise OvsdbError(f"the bridge {wanted.bridge} is gone", retryable=True)
            bridge.addvalue("ports", row.uuid)
        row.tag = [] if wanted.tag is None else [wanted.tag]

    def _check_made(self, name: str) -> None:
        with untrusted():
            row = self._port(name)
            made = row is not None and row.interfaces
            error = row.interfaces[0].error if made else ["it is gone"]
        if error:
            raise OvsdbError(f"Open vSwitch could not make the port {name}: {error[0]}")

    def remove_port(self, name: str) -> None:
        """Take a port of ours off its bridge."""

        def work(_txn: Any) -> None:
            row = self._port(name)
            if row is None or not _is_ours(row):
                return
            for bridge in self._idl.tables["Bridge"].rows.values():
                if any(port.name == name for port in bridge.ports):
                    bridge.ports = [port for port in bridge.ports if port.name != name]

        self._transact(work)

    def request_mtu(self, name: str, mtu_bytes: int | None) -> None:
        """The MTU of an internal port or of a bridge's own; None for Open vSwitch's own choice."""

        def work(_txn: Any) -> None:
            for row in self._idl.tables["Interface"].rows.values():
                if row.name == name:
                    row.mtu_request = [] if mtu_bytes is None else [mtu_bytes]

        self._transact(work)

    def _port(self, name: str) -> Any:
        rows = self._idl.tables["Port"].rows.values()
        return next((row for row in rows if row.name == name), None)

    def _bridge_of(self, port: str) -> str:
        rows = self._idl.tables["Bridge"].rows.values()
        return next((row.name for row in rows if port in {p.name for p in row.ports}), "")

    def _own_bridge(self, name: str) -> Any:
        row = self._bridge(name)
        return row if row is not None and _is_ours(row) else None


def _is_ours(row: Any) -> bool:
    return bool(MARK.items() <= row.external_ids.items())


def _ports_of_others(row: Any) -> list[str]:
    return sorted(p.name for p in row.ports if p.name != row.name and not _is_ours(p))


def _host_bridge(row: Any) -> HostBridge:
    own = next((p for p in row.ports if p.name == row.name and p.interfaces), None)
    ports = (port for port in row.ports if port.name != row.name and port.interfaces)
    return HostBridge(
        name=row.name,
        datapath=row.datapath_type or SYSTEM,
        fail_mode=_first(row.fail_mode),
        mac=row.other_config.get(_HWADDR),
        mtu_bytes=_first(own.interfaces[0].mtu_request) if own is not None else None,
        ours=_is_ours(row),
        node=OWNER_KEY in row.external_ids,
        ports={port.name: _host_port(row.name, port) for port in ports},
    )


def _host_port(bridge: str, row: Any) -> HostPort:
    interface = row.interfaces[0]
    return HostPort(
        bridge=bridge,
        kind=interface.type or SYSTEM,
        tag=_first(row.tag),
        mac=_first(interface.mac),
        mtu_bytes=_first(interface.mtu_request),
        ours=_is_ours(row),
        error=_first(interface.error),
    )


def _first(column: list[Any]) -> Any:
    return column[0] if column else None
