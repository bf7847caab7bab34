"""Which columns of Open vSwitch's database configure it, and which only report (pure).

A column that is neither structure nor a report counts as a setting, so that one which a later
Open vSwitch brings is noticed. ovs-vswitchd.conf.db(5) describes them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.values.bridges import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLE_SETS: Final = "Flow_Sample_Collector_Set"

STRUCTURE: Final[Mapping[str, frozenset[str]]] = {
    ROOT: frozenset({"bridges", "next_cfg"}),
    "Bridge": frozenset({"name", "ports"}),
    "Port": frozenset({"name", "interfaces"}),
    "Interface": frozenset({"name", "type", "mac", "ofport_request"}),
}
"""What the rows are and how they hang together; compared port by port, not as a setting."""

STATUS: Final[Mapping[str, frozenset[str]]] = {
    ROOT: frozenset(
        {
            *("cur_cfg", "statistics", "ovs_version", "db_version", "system_type"),
            *("system_version", "datapath_types", "iface_types", "dpdk_initialized"),
            "dpdk_version",
        }
    ),
    "Bridge": frozenset({"datapath_id", "datapath_version", "status", "rstp_status"}),
    "Port": frozenset(
        {"bond_active_slave", "status", "rstp_status", "rstp_statistics", "statistics"}
    ),
    "Interface": frozenset(
        {
            *("mac_in_use", "ifindex", "ofport", "bfd_status", "cfm_remote_mpids"),
            *("cfm_flap_count", "cfm_fault", "cfm_fault_status", "cfm_remote_opstate"),
            *("cfm_health", "lacp_current", "statistics", "status", "admin_state"),
            *("link_state", "link_resets", "link_speed", "duplex", "mtu", "error"),
        }
    ),
}
"""What ovs-vswitchd (of the root row also its start script) writes by itself."""


def setting_columns(schema: Mapping[str, Any], table: str) -> list[str]:
    """The columns of a table that configure something, by the schema that the server sent.

    Raises OvsdbError for a schema without that table.
    """
    known = STRUCTURE[table] | STATUS[table]
    return sorted(name for name in columns_of(schema, table) if name not in known)


def columns_of(schema: Mapping[str, Any], table: str) -> list[str]:
    """All columns of a table. Raises OvsdbError for a schema without that table."""
    tables = schema.get("tables")
    found = tables.get(table) if isinstance(tables, dict) else None
    columns = found.get("columns") if isinstance(found, dict) else None
    if not isinstance(columns, dict):
        raise OvsdbError(f"Open vSwitch's database has no table {table}")
    return list(columns)
