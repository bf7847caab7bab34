"""Which devices in the host's namespace are the node's: few are, and those not for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.host import processes
from privacy_router.node.bridge_row import read_bridge
from privacy_router.values.bridges import mac_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.node.machine import NodeHost
    from privacy_router.values.network import Link

TUN: Final = "tun"
_OVS_PORT: Final = "openvswitch"
"""Kinds of devices, as the kernel lists them."""


def own_devices(links: Mapping[str, Link], bridge_name: str, machine: NodeHost) -> set[str]:
    """The names of those of the host's devices that are the node's.

    A port has the MAC that the node gives to no other device. One whose MAC was changed, and a
    tunnel that was born and not moved yet, are known by who holds them: a process of the node's,
    or the system's Open vSwitch for the node's bridge.
    """
    held = {
        name
        for process in processes.running(machine.owner)
        for name in processes.tun_devices(process)
    }
    ports = _ports_of_system_ovs(bridge_name, machine)
    return {
        name
        for name, link in links.items()
        if link.mac == mac_of(bridge_name, name)
        or (link.kind == TUN and name in held)
        or (link.kind == _OVS_PORT and name in ports)
    }


def _ports_of_system_ovs(bridge_name: str, machine: NodeHost) -> set[str]:
    if machine.facts.private_ovs:
        return set()
    row = read_bridge(bridge_name, machine)
    return set() if row is None else {bridge_name, *row.ports}
