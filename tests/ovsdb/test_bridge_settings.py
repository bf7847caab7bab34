"""Whatever configures our bridge is read back, column by column, by its name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.columns import STATUS, STRUCTURE, setting_columns
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.values.bridges import BridgeRow, BridgeSpec, PortSpec, mac_of
from tests.ovsdb.database_server import SCHEMA, Server, honest

if TYPE_CHECKING:
    from pathlib import Path

SPEC = BridgeSpec(
    "ovsbr0", "netdev", (PortSpec("warp0", mac_of("ovsbr0", "warp0"), 1),), whole=True
)
ROOT, BRIDGE, LOCAL, WARP, BOX = (f"0000000{n}-0000-4000-8000-000000000000" for n in range(5))
PORTS = {LOCAL: "ovsbr0", WARP: "warp0", BOX: "internal_200"}
OTHER = "00000009-0000-4000-8000-000000000000"
WHERE = {"Open_vSwitch": ROOT, "Bridge": BRIDGE, "Port": WARP, "Interface": WARP}


def as_map(**pairs: str) -> list[Any]:
    return ["map", [[key, value] for key, value in pairs.items()]]


def refer(*uuids: str) -> list[Any]:
    return ["set", [["uuid", uuid] for uuid in uuids]]


def ours() -> dict[str, Any]:
    """The rows of a bridge that is as it should be, with a container's port on it."""
    mark = ["map", [["privacy-router", "1"]]]
    ports: dict[str, dict[str, Any]] = {
        uuid: {"name": n, "interfaces": ["uuid", uuid]} for uuid, n in PORTS.items()
    }
    faces = {uuid: {"name": n, "type": "internal", "ofport": 7} for uuid, n in PORTS.items()}
    ports[WARP]["external_ids"] = mark
    faces[WARP] |= {"ofport": 1, "ofport_request": 1, "mac": SPEC.ports[0].mac}
    bridge = {
        "name": "ovsbr0",
        "ports": refer(*PORTS),
        "datapath_type": "netdev",
        "fail_mode": "secure",
        "other_config": ["map", [["disable-in-band", "true"]]],
        "external_ids": mark,
    }
    root = {"bridges": refer(BRIDGE), "ovs_version": "3.1.0", "next_cfg": 4, "cur_cfg": 4}
    root["other_config"] = as_map(**{"flow-limit": "8192"})
    return {
        "Open_vSwitch": {ROOT: root},
        "Bridge": {BRIDGE: bridge},
        "Port": ports,
        "Interface": faces,
    }


def read(rows: dict[str, Any], directory: Path) -> BridgeRow:
    with Server(directory / "db.sock", honest(rows)), OvsDatabase(directory / "db.sock") as opened:
        found = opened.read_bridge("ovsbr0", ["warp0"])
    assert found is not None
    return found


def settings(row: BridgeRow) -> dict[str, Any]:
    found = {**row.bridge_settings, **row.port_settings, **row.root_settings}
    return {str(setting): value for setting, value in found.items()}


WANTED = {
    str(setting): value for setting, value in {**SPEC.bridge_settings, **SPEC.port_settings}.items()
}

CHANGED: dict[tuple[str, str], tuple[Any, Any]] = {
    ("Open_vSwitch", "manager_options"): (refer(OTHER), "1 set"),
    ("Open_vSwitch", "ssl"): (refer(OTHER), "1 set"),
    ("Open_vSwitch", "other_config"): (as_map(a="b"), {"a": "b"}),
    ("Open_vSwitch", "external_ids"): (as_map(a="b"), {"a": "b"}),
    ("Bridge", "datapath_type"): ("system", "system"),
    ("Bridge", "stp_enable"): (True, True),
    ("Bridge", "rstp_enable"): (True, True),
    ("Bridge", "mcast_snooping_enable"): (True, True),
    ("Bridge", "mirrors"): (refer(OTHER, WARP), "2 set"),
    ("Bridge", "netflow"): (refer(OTHER), "1 set"),
    ("Bridge", "sflow"): (refer(OTHER), "1 set"),
    ("Bridge", "ipfix"): (refer(OTHER), "1 set"),
    ("Bridge", "controller"): (refer(OTHER), "1 set"),
    ("Bridge", "protocols"): (["set", ["OpenFlow15", "OpenFlow10"]], ("OpenFlow10", "OpenFlow15")),
    ("Bridge", "fail_mode"): ("standalone", "standalone"),
    ("Bridge", "other_config"): (as_map(hwaddr="x"), {"hwaddr": "x"}),
    ("Bridge", "external_ids"): (["map", []], None),
    ("Bridge", "flood_vlans"): (["set", [3]], 3),
    ("Bridge", "flow_tables"): (["map", [[0, ["uuid", OTHER]]]], "1 set"),
    ("Bridge", "auto_attach"): (refer(OTHER), "1 set"),
    ("Bridge", "of_a_later_version"): ("new", "new"),
    ("Port", "trunks"): (["set", [1, 2]], (1, 2)),
    ("Port", "cvlans"): (["set", [1, 2]], (1, 2)),
    ("Port", "tag"): (7, 7),
    ("Port", "vlan_mode"): ("access", "access"),
    ("Port", "qos"): (refer(OTHER), "1 set"),
    ("Port", "mac"): ("02:00:00:00:00:01", "02:00:00:00:00:01"),
    ("Port", "bond_mode"): ("active-backup", "active-backup"),
    ("Port", "lacp"): ("active", "active"),
    ("Port", "bond_updelay"): (5, 5),
    ("Port", "bond_downdelay"): (5, 5),
    ("Port", "bond_fake_iface"): (True, True),
    ("Port", "fake_bridge"): (True, True),
    ("Port", "protected"): (True, True),
    ("Port", "other_config"): (as_map(a="b"), {"a": "b"}),
    ("Port", "external_ids"): (["map", []], None),
    ("Interface", "options"): (as_map(remote_ip="x"), {"remote_ip": "x"}),
    ("Interface", "ingress_policing_rate"): (9, 9),
    ("Interface", "ingress_policing_burst"): (9, 9),
    ("Interface", "ingress_policing_kpkts_rate"): (9, 9),
    ("Interface", "ingress_policing_kpkts_burst"): (9, 9),
    ("Interface", "external_ids"): (as_map(a="b"), {"a": "b"}),
    ("Interface", "bfd"): (as_map(enable="true"), {"enable": "true"}),
    ("Interface", "cfm_mpid"): (4, 4),
    ("Interface", "lldp"): (as_map(enable="true"), {"enable": "true"}),
    ("Interface", "other_config"): (as_map(a="b"), {"a": "b"}),
    ("Interface", "mtu_request"): (1400, 1400),
}


def test_a_bridge_that_is_as_it_should_be_differs_in_nothing(tmp_path: Path) -> None:
    found = read(ours(), tmp_path)
    assert found.ours
    assert settings(found) == WANTED
    assert found.ports["warp0"].spec == SPEC.ports[0]


@pytest.mark.parametrize(("table", "column"), CHANGED)
def test_a_column_that_is_changed_is_a_difference_of_its_name(
    tmp_path: Path, table: str, column: str
) -> None:
    given, value = CHANGED[table, column]
    rows = ours()
    rows[table][WHERE[table]][column] = given
    found = settings(read(rows, tmp_path))
    name = {"Open_vSwitch": table, "Bridge": "bridge ovsbr0"}.get(table, f"{table.lower()} warp0")
    label = f"{column} of {name}"
    assert {key for key in found | WANTED if found.get(key) != WANTED.get(key)} == {label}
    assert found.get(label) == value


def test_every_column_that_configures_is_tried_above() -> None:
    for table in STRUCTURE:
        tried = {column for where, column in CHANGED if where == table}
        assert set(setting_columns(SCHEMA, table)) == tried


def test_no_column_is_both_structure_and_status() -> None:
    assert all(STRUCTURE[table].isdisjoint(STATUS[table]) for table in STRUCTURE)


def test_what_flows_would_be_sampled_to_is_a_difference(tmp_path: Path) -> None:
    rows = ours()
    rows["Flow_Sample_Collector_Set"] = {OTHER: {"id": 1, "bridge": ["uuid", BRIDGE]}}
    found = settings(read(rows, tmp_path))
    assert found["Flow_Sample_Collector_Set of bridge ovsbr0"] == "1 set"


def test_a_port_of_others_keeps_what_it_has(tmp_path: Path) -> None:
    rows = ours()
    rows["Port"][BOX]["tag"] = 7
    assert settings(read(rows, tmp_path)) == WANTED


@pytest.mark.parametrize(
    ("column", "value"),
    [("type", ""), ("mac", "02:00:00:00:00:09"), ("ofport_request", 9), ("ofport", 9)],
)
def test_a_port_of_another_kind_is_not_the_port(tmp_path: Path, column: str, value: Any) -> None:
    rows = ours()
    rows["Interface"][WARP][column] = value
    assert read(rows, tmp_path).ports["warp0"].spec != SPEC.ports[0]


def test_a_port_that_became_a_bond_is_not_the_port(tmp_path: Path) -> None:
    rows = ours()
    rows["Interface"][OTHER] = {"name": "eth0"}
    rows["Port"][WARP]["interfaces"] = refer(WARP, OTHER)
    assert read(rows, tmp_path).ports["warp0"].spec != SPEC.ports[0]


def test_a_bridge_without_its_mark_is_ours_by_its_ports(tmp_path: Path) -> None:
    rows = ours()
    del rows["Bridge"][BRIDGE]["external_ids"]
    unmarked = copy.deepcopy(rows)
    del unmarked["Port"][WARP]["external_ids"]
    for number, given in enumerate((rows, unmarked)):
        (tmp_path / str(number)).mkdir()
        assert read(given, tmp_path / str(number)).ours


def test_a_bridge_of_others_is_theirs(tmp_path: Path) -> None:
    rows = ours()
    del rows["Bridge"][BRIDGE]["external_ids"], rows["Port"][WARP]["external_ids"]
    rows["Interface"][WARP]["mac"] = "02:00:00:00:00:09"
    assert not read(rows, tmp_path).ours


def test_a_schema_without_a_table_is_refused() -> None:
    with pytest.raises(OvsdbError, match="no table Bridge"):
        setting_columns({"tables": {}}, "Bridge")
