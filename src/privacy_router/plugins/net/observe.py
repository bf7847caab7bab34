"""The machine's network as it is, and the values of resources in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from privacy_router.engine.model import Observed, ResourceKey, canonical_json
from privacy_router.host import sysctl
from privacy_router.host.kernel_network import KernelNetwork
from privacy_router.host.routes import LOCAL_TABLE, PROTOCOL_KERNEL
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.host_bridges import INTERNAL, SYSTEM, HostBridge, HostBridges
from privacy_router.plugins.net import dhcp, names
from privacy_router.plugins.net.declare import PLUGIN
from privacy_router.plugins.net.names import RouteName, address_name
from privacy_router.plugins.net.shield import is_shielded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from privacy_router.host.addresses import AddressEntry
    from privacy_router.host.devices import Device
    from privacy_router.host.routes import RouteEntry
    from privacy_router.ovsdb.host_bridges import HostPort
    from privacy_router.plugins.target import Machine

LOOPBACK = "lo"


@dataclass(frozen=True)
class Location:
    """Where the plugin works; a namespace of None is our own."""

    machine: Machine
    namespace: Path | None
    ovs_socket: Path


@dataclass(frozen=True)
class NetState:
    """What was read. `bridges` is None where no Open vSwitch answers."""

    devices: Mapping[str, Device]
    addresses: Sequence[AddressEntry]
    routes: Sequence[RouteEntry]
    accept_ra: Mapping[str, int]
    bridges: Mapping[str, HostBridge] | None = None
    clients: Sequence[dhcp.Process] = ()
    managed: Mapping[str, dhcp.Managed] = field(default_factory=dict)
    shielded: Collection[str] = ()

    def advice_on(self, name: str) -> str:
        """What to do about a name that no device has as its first."""
        owner = next((d.name for d in self.devices.values() if name in d.other_names), None)
        return (
            "check the name (ip link)"
            if owner is None
            else (f"it is another name of {owner}: write {owner}")
        )

    def of(self, device: str) -> list[AddressEntry]:
        """The addresses of a device in the kernel's order."""
        return [entry for entry in self.addresses if entry.device == device]

    def clients_of(self, device: str) -> list[dhcp.Process]:
        """The DHCP clients that serve a device."""
        return [p for p in self.clients if device in p.devices(self.devices)]

    def waits(self, device: str) -> bool:
        """Whether DHCP clients serve a device, and none has an address for it."""
        versions = {client.version for client in self.clients_of(device)}
        found = {entry.address.version for entry in self.of(device) if entry.is_movable}
        return bool(versions) and versions.isdisjoint(found)

    def port(self, name: str) -> HostPort | None:
        """A port of any bridge."""
        found = (bridge.ports.get(name) for bridge in (self.bridges or {}).values())
        return next((port for port in found if port is not None), None)

    def above(self, devices: Collection[str]) -> list[Device]:
        """What was made on these devices, and on that."""
        found = [device for device in self.devices.values() if device.below in devices]
        return [*found, *self.above({one.name for one in found})] if found else []

    def connects(self, bridge: HostBridge, device: str) -> bool:
        """Whether the bridge speaks for the device: both are up, and with the userspace datapath
        the kernel does not hear everything twice."""
        up = all(name in self.devices and self.devices[name].up for name in (bridge.name, device))
        return up and (bridge.datapath == SYSTEM or device in self.shielded)

    def switch_of(self, device: str) -> HostBridge | None:
        """The bridge that made a device: its own, or one of its internal ports."""
        for bridge in (self.bridges or {}).values():
            port = bridge.ports.get(device)
            if bridge.name == device or (port is not None and port.kind == INTERNAL):
                return bridge
        return None


def read(location: Location) -> NetState:
    """Everything but what services on the bus know. Raises OSError."""
    with KernelNetwork(location.namespace) as network:
        devices = network.devices()
        addresses, routes = network.addresses(), network.routes()
    bridges = read_bridges(location.ovs_socket)
    return NetState(
        devices=devices,
        addresses=addresses,
        routes=routes,
        accept_ra=_accept_ra(location.namespace, devices),
        bridges=bridges,
        clients=dhcp.processes(location.namespace),
        shielded=frozenset(_shielded(location.namespace, bridges or {})),
    )


def read_bridges(ovs_socket: Path) -> dict[str, HostBridge] | None:
    """All bridges; None where no Open vSwitch answers."""
    if not ovs_socket.is_socket():
        return None
    try:
        with HostBridges(ovs_socket) as database:
            return database.read()
    except OvsdbError:
        return None  # the caller that needs it asks again, and is told


def _shielded(namespace: Path | None, bridges: Mapping[str, HostBridge]) -> Iterator[str]:
    """Of the ports that may be uplinks on bridges of ours those whose device is shielded."""
    for bridge in bridges.values():
        for name, port in bridge.ports.items() if bridge.datapath != SYSTEM else ():
            if port.ours and port.kind == SYSTEM and is_shielded(namespace, name):
                yield name


def _accept_ra(namespace: Path | None, devices: Mapping[str, Device]) -> dict[str, int]:
    settings = {accept_ra(name): name for name in devices}
    found = sysctl.read(namespace, tuple(settings))
    return {settings[path]: int(value) for path, value in found.items() if value is not None}


def accept_ra(device: str) -> str:
    """The kernel's setting for router advertisements on a device."""
    return f"ipv6/conf/{device}/accept_ra"


# --- the values of resources ----------------------------------------------------------------------


@dataclass(frozen=True)
class NetObserved(Observed):
    """Values, and which devices and ports there are. On those that are `waiting` a DHCP client has
    no address yet."""

    devices: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()


def observe(state: NetState, keys: Sequence[ResourceKey] | None) -> NetObserved:
    """The values of these resources, or with None of all that a person would want to see."""
    wanted = list(_everything(state)) if keys is None else keys
    found = {key: value_of(state, key.kind, key.name) for key in wanted}
    bridges = (state.bridges or {}).values()
    return NetObserved(
        {key: value for key, value in found.items() if value is not None},
        devices=frozenset(state.devices),
        ports=frozenset(port for bridge in bridges for port in bridge.ports),
        waiting=frozenset(device for device in state.devices if state.waits(device)),
    )


def _everything(state: NetState) -> Iterator[ResourceKey]:
    for device in state.devices:
        if device != LOOPBACK:
            yield ResourceKey(PLUGIN, names.INTERFACE, device)
    for entry in state.addresses:
        if entry.device != LOOPBACK:
            name = address_name(entry.device, entry.address)
            yield ResourceKey(PLUGIN, names.ADDRESS, name)
    for route in state.routes:
        if route.protocol != PROTOCOL_KERNEL and route.table != LOCAL_TABLE:
            yield ResourceKey(PLUGIN, names.ROUTE, str(name_of(route)))
    for bridge in (state.bridges or {}).values():
        yield ResourceKey(PLUGIN, names.BRIDGE, bridge.name)
        for port in bridge.ports:
            yield ResourceKey(PLUGIN, names.PORT, port)


def name_of(route: RouteEntry) -> RouteName:
    """The name of a route."""
    return RouteName(route.destination, route.table, route.metric)


def value_of(state: NetState, kind: str, name: str) -> Any:
    """The value of a resource, None when it is not there."""
    match kind:
        case names.ADDRESS:
            return _address(state, name)
        case names.OTHER_ADDRESSES:
            return _global_addresses(state, name)
        case names.ROUTE:
            return _route(state, name)
        case names.BRIDGE | names.FAIL_MODE | names.PORT:
            return _switch(state, kind, name)
    device = state.devices.get(name)
    return None if device is None else _setting(state, kind, device)


def _setting(state: NetState, kind: str, device: Device) -> Any:
    match kind:
        case names.UP:
            return device.up
        case names.MTU:
            return device.mtu_bytes
        case names.IPV6_RA:
            return _ipv6_ra(state, device.name)
        case names.DHCP:
            return _dhcp(state, device.name)
        case names.UPLINK:
            return _uplink(state, device.name)
    return {
        "dhcp": _dhcp(state, device.name),
        "ipv6_ra": _ipv6_ra(state, device.name),
        "kind": device.kind,
        "mac": device.mac,
        "mtu": device.mtu_bytes,
        "up": device.up,
    }


def _dhcp(state: NetState, device: str) -> Any:
    managed = state.managed.get(device)
    managers = [managed.service] if managed is not None and managed.dhcp else []
    return dhcp.value(state.clients_of(device), managers)


def _ipv6_ra(state: NetState, device: str) -> int | str | None:
    """The kernel's setting, or who listens to routers in its place."""
    managed = state.managed.get(device)
    if managed is not None and managed.ipv6_ra:
        return managed.service
    return state.accept_ra.get(device)


def _uplink(state: NetState, device: str) -> dict[str, Any]:
    """It is on the bridge once it is a port and has no addresses of its own; whether that carries
    anything is another question: after a boot both are down."""
    port = state.port(device)
    addresses = sorted(str(e.address) for e in state.of(device) if e.is_movable)
    on = port.bridge if port is not None else None
    bridge = (state.bridges or {}).get(on or "")
    return {
        "addresses": addresses,
        "bridge": None if addresses else on,
        "connected": bridge is not None and state.connects(bridge, device),
        "port_of": on,
    }


def _address(state: NetState, name: str) -> dict[str, Any] | None:
    device, address = names.parse_address(name)
    found = (entry for entry in state.of(device) if entry.address == address)
    return next((_address_value(entry) for entry in found), None)


def _address_value(entry: AddressEntry) -> dict[str, Any]:
    return {"broadcast": entry.broadcast, "scope": entry.scope_name}


def _global_addresses(state: NetState, device: str) -> dict[str, Any] | None:
    if device not in state.devices:
        return None
    found = (entry for entry in state.of(device) if entry.is_movable)
    return {str(entry.address): _address_value(entry) for entry in found}


def routes_named(state: NetState, name: RouteName) -> list[RouteEntry]:
    """The routes of that name, the kernel's own last: there may be more than one of a network that
    several devices are in."""
    found = [route for route in state.routes if name_of(route) == name]
    return sorted(found, key=lambda route: route.protocol == PROTOCOL_KERNEL)


def _route(state: NetState, name: str) -> dict[str, Any] | None:
    found = routes_named(state, names.parse_route(name))
    values = [_route_value(route) for route in found if route.protocol != PROTOCOL_KERNEL]
    values = values or [_route_value(route) for route in found]
    if not values:
        return None
    first, *others = sorted(values, key=canonical_json)
    return first | ({"also": others} if others else {})


def _route_value(route: RouteEntry) -> dict[str, Any]:
    """One of several ways has no `dev` and no `via`, and says so."""
    value: dict[str, Any] = {
        "dev": None,
        "onlink": route.is_onlink,
        "protocol": route.protocol,
        "type": route.type_name,
        "via": None,
    }
    if not route.is_simple:
        return value | {"through": route.devices}
    device = route.devices[0] if route.devices else None
    return value | {"dev": device, "via": None if route.gateway is None else str(route.gateway)}


def _switch(state: NetState, kind: str, name: str) -> Any:
    if kind == names.PORT:
        port = state.port(name)
        return None if port is None else _port_value(port)
    bridge = (state.bridges or {}).get(name)
    if bridge is None:
        return None
    return bridge.fail_mode if kind == names.FAIL_MODE else _bridge_value(bridge)


def _port_value(port: HostPort) -> dict[str, Any]:
    return {"bridge": port.bridge, "mac": port.mac, "tag": port.tag, "type": port.kind}


def _bridge_value(bridge: HostBridge) -> dict[str, Any]:
    owner = "op-dbus" if bridge.ours else "privacy-router" if bridge.node else "others"
    return {"datapath": bridge.datapath, "fail_mode": bridge.fail_mode, "made_by": owner}
