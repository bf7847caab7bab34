"""Read the node back from the machine, in the same items as the desired state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.host import namespaces, nftables, processes
from privacy_router.host.netlink import Netlink
from privacy_router.node.unheard import observe_place, observe_tunnels
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.model import PortSpec
from privacy_router.plan.chain import NAMESPACES
from privacy_router.plan.firewall import TABLE
from privacy_router.plan.namespace import route_name, rule_name
from privacy_router.plan.state import HOST, Device, Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.host.topology import Link, Routes
    from privacy_router.node.machine import Machine
    from privacy_router.ovsdb.model import BridgeRow
    from privacy_router.plan.state import DesiredState

Items = dict[Key, Any]


def observe(desired: DesiredState, machine: Machine) -> Items:
    """Everything that the node consists of now, except its flows (those come over OpenFlow)."""
    items: Items = {}
    items.update(_processes(desired, machine))
    for name in namespaces.bound(NAMESPACES):
        items.update(_namespace(name, desired))
    items.update(_host(desired))
    items.update(_bridge(desired, machine))
    items.update(observe_tunnels(desired, machine))
    return items


def _processes(desired: DesiredState, machine: Machine) -> Iterator[tuple[Key, Any]]:
    seen: set[str] = set()
    for process in processes.running(machine.owner):
        # a second one of the same name (two starts in a row, one killed halfway) is one too many
        name = process.name if process.name not in seen else f"{process.name} (pid {process.pid})"
        seen.add(process.name)
        spec = desired.processes.get(process.name)
        lost = spec is not None and not processes.is_inside(process, spec.namespace)
        yield Key(Kind.PROCESS, "node", name), f"{process.fingerprint}{' elsewhere' * lost}"


def _namespace(name: str, desired: DesiredState) -> Items:
    key = Key(Kind.NAMESPACE, name, name)
    if not namespaces.exists(name):
        return {}
    if key not in desired.items:
        return {key: True}
    path = namespaces.path_of(name)
    items: Items = {key: True, **observe_place(name, desired)}
    ruleset = nftables.read(path, TABLE)
    if ruleset:
        items[Key(Kind.FIREWALL, name, TABLE)] = nftables.canonical(ruleset)
    with Netlink(path) as netlink:
        items.update(_devices(name, netlink.links(), desired))
        routes = netlink.routes()
        items.update(_addresses(name, netlink, routes))
        items.update((Key(Kind.ROUTE, name, route_name(r)), r) for r in routes.added)
        items.update((Key(Kind.RULE, name, rule_name(r)), r) for r in netlink.rules())
        items.update(_neighbours(name, netlink))
    return items


def _host(desired: DesiredState) -> Items:
    """The few items in the host's own namespace; all else there is none of the node's business."""
    items: Items = observe_place(HOST, desired)
    ruleset = nftables.read(None, TABLE)
    if ruleset:
        items[Key(Kind.FIREWALL, HOST, TABLE)] = nftables.canonical(ruleset)
    if not any(key.where == HOST for key in desired.items):
        return items
    with Netlink() as netlink:
        found: Items = dict(_devices(HOST, netlink.links(), desired))
        found.update(_addresses(HOST, netlink, netlink.routes()))
        found.update(_neighbours(HOST, netlink))
    return items | {key: value for key, value in found.items() if key in desired.items}


def _devices(
    name: str, links: Mapping[str, Link], desired: DesiredState
) -> Iterator[tuple[Key, Any]]:
    for link in links.values():
        key = Key(Kind.DEVICE, name, link.name)
        wanted = desired.items.get(key)
        if wanted is None and not link.up:
            continue  # some kernels put idle fallback devices into every namespace
        mac = link.mac if wanted is not None and wanted.mac is not None else None
        yield key, Device(mac, link.mtu_bytes, link.up, link.carrier)


def _addresses(name: str, netlink: Netlink, routes: Routes) -> Iterator[tuple[Key, Any]]:
    for device, address in netlink.all_addresses():
        if not address.is_loopback and routes.follow(device, address):
            yield Key(Kind.ADDRESS, name, f"{address} on {device}"), (device, address)


def _neighbours(name: str, netlink: Netlink) -> Iterator[tuple[Key, Any]]:
    for neighbour in netlink.neighbours():
        label = f"{neighbour.address} on {neighbour.device}"
        yield Key(Kind.NEIGHBOUR, name, label), neighbour


def _bridge(desired: DesiredState, machine: Machine) -> Items:
    name = desired.bridge.name
    row = read_bridge(name, machine)
    if row is None:
        return {}
    settings = f"{row.datapath_type} datapath, fail mode {row.fail_mode or 'standalone'}"
    if row.controllers or row.protocols:
        settings += f", {row.controllers} controller(s), protocols {list(row.protocols)}"
    items: Items = {Key(Kind.BRIDGE, "node", name): settings}
    for port in row.ports.values():
        key = Key(Kind.PORT, name, port.name)
        if port.ours or key in desired.items:  # others are containers', or somebody else's
            items[key] = PortSpec(port.name, port.mac or "", port.ofport or 0)
    return items


def read_bridge(name: str, machine: Machine) -> BridgeRow | None:
    """The bridge's row if this node made it; None too when the database is down."""
    if not machine.ovs_socket.is_socket():
        return None
    try:
        with OvsDatabase(machine.ovs_socket) as database:
            row = database.read_bridge(name)
    except OvsdbError:
        return None  # a socket that a killed server left behind; its process shows as missing
    return row if row is not None and row.ours else None
