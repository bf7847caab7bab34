"""The node's bridge as Open vSwitch's database has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.errors import OvsdbError

if TYPE_CHECKING:
    from collections.abc import Collection

    from privacy_router.node.machine import NodeHost
    from privacy_router.values.bridges import BridgeRow


def read_bridge(name: str, machine: NodeHost, ports: Collection[str] = ()) -> BridgeRow | None:
    """The bridge's row if this node made it, with the settings of our ports and of those named;
    None too when the database is down.

    Where Open vSwitch is the node's own, a bridge of that name is the node's, with any marks or
    none: no other program makes bridges of its own there.
    """
    if not machine.ovs_socket.is_socket():
        return None
    try:
        with OvsDatabase(machine.ovs_socket) as database:
            row = database.read_bridge(name, ports)
    except OvsdbError:
        return None  # a socket that a killed server left behind; its process shows as missing
    return row if row is not None and (row.ours or machine.facts.private_ovs) else None
