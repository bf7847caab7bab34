"""Take a node off the machine and leave that as it was found."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.host import namespaces, nftables, processes
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard import UAPI_DIR
from privacy_router.node.machine import remove_leftover_devices
from privacy_router.node.observe import read_bridge
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.plan.chain import GATEWAY_TUNNEL, NAMESPACES, WARP_TUNNEL
from privacy_router.plan.firewall import TABLE
from privacy_router.plan.guard import GUARD_PREFIX

if TYPE_CHECKING:
    from privacy_router.node.machine import Machine

_OVS_PROCESSES = ("ovs-vswitchd", "ovsdb-server")  # in the order in which they are stopped


def tear_down(machine: Machine, bridge_name: str) -> None:
    """Take processes, bridge, namespaces and run-time files away. Keys and clients stay.

    The encrypted tunnels go first, so that nothing can leave while the rest is dismantled.
    """
    found = processes.running(machine.owner)
    for process in found:
        if process.name not in _OVS_PROCESSES:
            processes.stop(process)
    _delete_tunnels()
    bridges = {bridge_name, *_our_bridges(machine)}
    for bridge in bridges:
        _delete_bridge(machine, bridge)
    for name in _OVS_PROCESSES:
        for process in found:
            if process.name == name:
                processes.stop(process)
    for name in namespaces.bound(NAMESPACES):
        namespaces.delete(name)
    for bridge in bridges:
        _clear_host(machine, bridge)
    for guard in nftables.tables(None, GUARD_PREFIX):
        nftables.delete(None, guard)
    _clear_files(machine)
    _remove_empty_directories()


def _delete_tunnels() -> None:
    """The kernel's WireGuard devices, which no process holds.

    They would go with their namespaces, but only some time later, and keep their UDP ports so long.
    """
    for name in namespaces.bound(NAMESPACES):
        if namespaces.exists(name):
            with Netlink(namespaces.path_of(name)) as netlink:
                for tunnel in (GATEWAY_TUNNEL, WARP_TUNNEL):
                    netlink.delete_link(tunnel)


def _our_bridges(machine: Machine) -> list[str]:
    """Also one that the configuration called by another name when it was made."""
    if not machine.ovs_socket.is_socket():
        return []
    try:
        with OvsDatabase(machine.ovs_socket) as database:
            return database.our_bridges()
    except OvsdbError:
        return []  # a socket that a killed server left behind


def _delete_bridge(machine: Machine, bridge_name: str) -> None:
    if read_bridge(bridge_name, machine) is None:
        return
    try:
        with OvsDatabase(machine.ovs_socket) as database:
            database.delete_bridge(bridge_name)
    except OvsdbError as error:
        if machine.facts.private_ovs:
            return  # its processes are stopped next, and the bridge goes with them
        raise PrivacyRouterError(
            f"the bridge {bridge_name} could not be removed: {error.message}",
            remedy=f"ovs-vsctl del-br {bridge_name}",
        ) from error


def _remove_empty_directories() -> None:
    """Those of namespaces and of wireguard-go's sockets, unless somebody else uses them."""
    namespaces.remove_directory()
    if UAPI_DIR.is_dir() and not any(UAPI_DIR.iterdir()):
        UAPI_DIR.rmdir()


def _clear_host(machine: Machine, bridge_name: str) -> None:
    machine.borrowed.give_back()
    if nftables.read(None, TABLE):
        nftables.delete(None, TABLE)
    remove_leftover_devices(bridge_name, private_ovs=machine.facts.private_ovs)


def _clear_files(machine: Machine) -> None:
    run = machine.paths.run
    for entry in run.iterdir() if run.is_dir() else ():
        if entry == machine.paths.lock:
            continue  # whoever holds it notices that it is held
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
