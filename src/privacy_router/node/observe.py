"""Read the node back from the machine, in the same items as the desired state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.errors import StorageError
from privacy_router.hops.firewall import TABLE
from privacy_router.hops.namespace import route_name, rule_name
from privacy_router.host import namespaces, nftables, processes
from privacy_router.host.netlink import Netlink
from privacy_router.node.ownership import is_own_namespace
from privacy_router.node.places import is_reachable
from privacy_router.node.unheard import observe_place, observe_tunnels
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.plan.guard import GUARD_PREFIX
from privacy_router.values import rulesets
from privacy_router.values.items import HOST, Device, Key, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.bridges import BridgeRow
    from privacy_router.values.network import Routes

_log = structlog.get_logger()

Items = dict[Key, Any]


def observe(desired: NodeState, machine: NodeHost) -> Items:
    """Everything that the node consists of now, except its flows (those come over OpenFlow)."""
    items: Items = {}
    items.update(_processes(desired, machine))
    for name in machine.hops.namespaces:
        items.update(_namespace(name, desired, machine.owner))
    items.update(_host(desired, machine))
    items.update(_bridge(desired, machine))
    items.update(observe_tunnels(desired, machine))
    return items


def _processes(desired: NodeState, machine: NodeHost) -> Iterator[tuple[Key, Any]]:
    seen: set[str] = set()
    bridge = desired.bridge.name
    for process in processes.running(machine.owner):
        # a second one of the same name (two starts in a row, one killed halfway) is one too many
        name = process.name if process.name not in seen else f"{process.name} (pid {process.pid})"
        seen.add(process.name)
        spec = desired.processes.get(process.name)
        state = process.fingerprint
        if spec is not None and not processes.is_inside(process, spec.namespace):
            state += " elsewhere"
        if not is_reachable(
            process, machine, bridge, lambda: read_bridge(bridge, machine) is not None
        ):
            state += " unreachable"
        yield Key(Kind.PROCESS, "node", name), state


def _namespace(name: str, desired: NodeState, owner: str) -> Items:
    """A namespace that the node needs is the node's: who makes another of its name while the node
    is kept has the node's in that place. Of others only what is marked counts."""
    key = Key(Kind.NAMESPACE, name, name)
    if not namespaces.exists(name):
        return {}
    if key not in desired.items:
        return {key: True} if is_own_namespace(name, owner) else {}
    path = namespaces.path_of(name)
    items: Items = {key: True, **observe_place(name, desired)}
    ruleset = nftables.read(path, TABLE)
    if ruleset:
        items[Key(Kind.FIREWALL, name, TABLE)] = rulesets.canonical(ruleset)
    with Netlink(path) as netlink:
        items.update(_devices(name, netlink, desired))
        routes = netlink.routes()
        items.update(_addresses(name, netlink, routes))
        items.update((Key(Kind.ROUTE, name, route_name(r)), r) for r in routes.added)
        items.update((Key(Kind.RULE, name, rule_name(r)), r) for r in netlink.rules())
        items.update(_neighbours(name, netlink))
    return items


def _host(desired: NodeState, machine: NodeHost) -> Items:
    """The few items in the host's own namespace; all else there is none of the node's business."""
    items: Items = observe_place(HOST, desired, _noted(machine))
    for table in (TABLE, *nftables.tables(None, GUARD_PREFIX)):
        ruleset = nftables.read(None, table)
        if ruleset:
            items[Key(Kind.FIREWALL, HOST, table)] = rulesets.canonical(ruleset)
    if not any(key.where == HOST and key.kind is Kind.DEVICE for key in desired.items):
        return items
    with Netlink() as netlink:
        found: Items = dict(_devices(HOST, netlink, desired))
        found.update(_addresses(HOST, netlink, netlink.routes()))
        found.update(_neighbours(HOST, netlink))
    return items | {key: value for key, value in found.items() if key in desired.items}


def _noted(machine: NodeHost) -> list[str]:
    """The settings of the host that were changed. A note that cannot be read holds up nothing else
    of a look: who wants to add to it, and `down`, are refused."""
    try:
        return machine.borrowed.names()
    except StorageError as error:
        _log.debug("no settings of the host are known", reason=error.message)
        return []


def _devices(name: str, netlink: Netlink, desired: NodeState) -> Iterator[tuple[Key, Any]]:
    for link in netlink.links().values():
        key = Key(Kind.DEVICE, name, link.name)
        wanted = desired.items.get(key)
        if wanted is None and (not link.up or name == SWITCH_NAMESPACE):
            continue  # some kernels put idle fallback devices into every namespace; the switch's
            # own has the ports of containers
        mac = link.mac if wanted is not None and wanted.mac is not None else None
        device = Device(mac, link.mtu_bytes, link.up, link.carrier)
        if wanted is not None and wanted.offloads_checksums is not None:
            device = replace(device, offloads_checksums=netlink.offloads_checksums(link.name))
        yield key, device


def _addresses(name: str, netlink: Netlink, routes: Routes) -> Iterator[tuple[Key, Any]]:
    for device, address in netlink.all_addresses():
        if routes.follow(device, address):
            yield Key(Kind.ADDRESS, name, f"{address} on {device}"), (device, address)


def _neighbours(name: str, netlink: Netlink) -> Iterator[tuple[Key, Any]]:
    for neighbour in netlink.neighbours():
        label = f"{neighbour.address} on {neighbour.device}"
        yield Key(Kind.NEIGHBOUR, name, label), neighbour


def _bridge(desired: NodeState, machine: NodeHost) -> Items:
    name = desired.bridge.name
    row = read_bridge(name, machine, [port.name for port in desired.bridge.ports])
    if row is None:
        return {}
    items: Items = {Key(Kind.BRIDGE, "node", name): True}
    settings = {**row.bridge_settings, **(row.root_settings if desired.bridge.whole else {})}
    items.update((Key(Kind.BRIDGE, name, label), value) for label, value in settings.items())
    items.update((Key(Kind.PORT, name, label), v) for label, v in row.port_settings.items())
    for port in row.ports.values():
        key = Key(Kind.PORT, name, port.name)
        if port.ours or key in desired.items:  # others are containers', or somebody else's
            items[key] = port.spec
    return items


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
