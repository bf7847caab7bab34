"""What the database says of a bridge, as plain values and as items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from privacy_router.values.items import NODE, ItemValue, Key, Kind, Plain, plain

ROOT: Final = "Open_vSwitch"
USERSPACE_DATAPATH: Final = "netdev"
"""The datapath type of a bridge that Open vSwitch forwards by itself, without a kernel module."""
Value = str | int | float | bool | tuple[str | int | float | bool, ...] | Mapping[str, str]
"""A column: what is in a set is a tuple unless it is one, a map stays one, and a reference to
other tables' rows is only counted."""

OWNER_KEY = "privacy-router"
MARK: Mapping[str, str] = {OWNER_KEY: "1"}


@dataclass(frozen=True)
class SwitchSetting:
    """What can be set at a switch, and where: a column of a row of the database (`row` is the name
    of the bridge, port or interface, "" in the table ROOT), or a flag over OpenFlow."""

    setting: str
    table: str
    row: str

    def __str__(self) -> str:
        """As `sflow of bridge ovsbr0`, `manager_options of Open_vSwitch`."""
        where = self.table if self.table == ROOT else f"{self.table.lower()} {self.row}"
        return f"{self.setting} of {where}"


def mac_of(bridge: str, port: str) -> str:
    """The MAC that a port of ours has: locally administered, the same every time, different
    between bridges."""
    digest = hashlib.sha256(f"{bridge}/{port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


@dataclass(frozen=True)
class PortSpec(ItemValue):
    """An internal port as it should be. MAC and number are pinned: a port that Open vSwitch makes
    anew would otherwise come back with another MAC, and its peers would not find it."""

    name: str
    mac: str
    ofport: int
    kind: str = "internal"
    interfaces: int = 1


DATAPATH_FLOWS_MOST = 8192
"""How many flows the datapath of the node's own Open vSwitch remembers before it forgets idle ones
within a tenth of a second: frames with made-up senders cost one each (flow-limit in
ovs-vswitchd.conf.db(5))."""


@dataclass(frozen=True)
class BridgeSpec:
    """A bridge as it should be; a secure one drops what no flow lets through.

    `whole`: all of that Open vSwitch is the node's own, and so is a bridge of that name, marked or
    not.
    """

    name: str
    datapath_type: str
    ports: tuple[PortSpec, ...]
    fail_mode: str = "secure"
    whole: bool = False

    @property
    def rows(self) -> dict[tuple[str, str], Mapping[str, Value]]:
        """(table, name) → the settings of that row; one that is not listed is to be absent."""
        rows: dict[tuple[str, str], Mapping[str, Value]] = {
            ("Bridge", self.name): {
                "datapath_type": self.datapath_type,
                "fail_mode": self.fail_mode,
                "other_config": {"disable-in-band": "true"},
                "external_ids": MARK,
            },
            ("Port", self.name): {},
            ("Interface", self.name): {},
        }
        for port in self.ports:
            rows["Port", port.name] = {"external_ids": MARK}
            rows["Interface", port.name] = {}
        own = {"other_config": {"flow-limit": str(DATAPATH_FLOWS_MOST)}}
        return {**rows, (ROOT, ""): own} if self.whole else rows

    @property
    def bridge_settings(self) -> dict[SwitchSetting, Value]:
        """The settings of the bridge itself."""
        return self._settings(("Bridge", ROOT))

    @property
    def port_settings(self) -> dict[SwitchSetting, Value]:
        """The settings of its ports and their interfaces."""
        return self._settings(("Port", "Interface"))

    def _settings(self, tables: tuple[str, ...]) -> dict[SwitchSetting, Value]:
        return {
            SwitchSetting(column, table, name): value
            for (table, name), columns in self.rows.items()
            if table in tables
            for column, value in columns.items()
        }


@dataclass(frozen=True)
class PortRow:
    """A port as the database has it. `ofport` is None until vswitchd has made it, -1 on failure.

    `mac` is the one that was asked for, `mac_in_use` the device's, and `attached_mac` (external id
    attached-mac) the one of the guest behind the port, where there is a guest. `ours` when
    this program made it. `asked_ofport` is the number that was asked for, `interfaces` how many
    there are under it (more than one is a bond).
    """

    name: str
    kind: str
    mac: str | None
    ofport: int | None
    error: str | None
    mac_in_use: str | None = None
    attached_mac: str | None = None
    ours: bool = False
    asked_ofport: int | None = None
    interfaces: int = 1

    @property
    def spec(self) -> PortSpec:
        """What it is, in the words of what it should be; with number 0 where that is not the one
        that was asked for, or none was: the port would have another after a restart."""
        number = self.ofport if self.ofport == self.asked_ofport else None
        return PortSpec(self.name, self.mac or "", number or 0, self.kind, self.interfaces)


@dataclass(frozen=True)
class BridgeRow:
    """A bridge as the database has it; `ours` when this program made it.

    The settings are those that are not Open vSwitch's defaults: of the bridge, of our ports and
    of the root row.
    """

    name: str
    ours: bool
    ports: Mapping[str, PortRow] = field(default_factory=dict)
    bridge_settings: Mapping[SwitchSetting, Value] = field(default_factory=dict)
    port_settings: Mapping[SwitchSetting, Value] = field(default_factory=dict)
    root_settings: Mapping[SwitchSetting, Value] = field(default_factory=dict)


# --- as items -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BridgeItemKey(Key, kind=Kind.BRIDGE):
    """A bridge, or a setting of one."""


@dataclass(frozen=True)
class BridgeKey(BridgeItemKey, kind=Kind.BRIDGE):
    """A bridge by its name. Value: `Present`."""

    where: str = field(default=NODE, init=False)
    bridge: str

    @property
    def name(self) -> str:
        """The bridge's."""
        return self.bridge


@dataclass(frozen=True)
class BridgeSettingKey(BridgeItemKey, kind=Kind.BRIDGE):
    """A setting of the bridge `where`, or of all of Open vSwitch. Value: `SwitchValue`."""

    setting: SwitchSetting

    @property
    def name(self) -> str:
        """What is set, and of what."""
        return str(self.setting)


@dataclass(frozen=True)
class PortItemKey(Key, kind=Kind.PORT):
    """A port of the bridge `where`, or a setting of one."""


@dataclass(frozen=True)
class PortKey(PortItemKey, kind=Kind.PORT):
    """A port by its name. Value: `PortSpec`."""

    port: str

    @property
    def name(self) -> str:
        """The port's."""
        return self.port


@dataclass(frozen=True)
class PortSettingKey(PortItemKey, kind=Kind.PORT):
    """A setting of a port or of an interface of it. Value: `SwitchValue`."""

    setting: SwitchSetting

    @property
    def name(self) -> str:
        """What is set, and of what."""
        return str(self.setting)


@dataclass(frozen=True)
class SwitchValue(ItemValue):
    """What a setting of a bridge or a port is set to: a column's value, or an OpenFlow flag's."""

    value: Value

    def plain(self) -> Plain:
        """The value alone."""
        return plain(self.value)

    def __str__(self) -> str:
        return str(self.value)
