"""What a section asks for, as resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, Mode, Resource, ResourceKey
from privacy_router.plugins.net import names
from privacy_router.plugins.net.names import RouteName, address_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.plugins.net import Bridge, Interface, NetConfig, Route

PLUGIN: Final = "net"
_ACCEPT_RA: Final = {False: 0, True: 2}  # 2: on a machine that forwards, too

_Item = tuple[str, str, Any, str]


def declare(section: NetConfig | None) -> Desired:
    """The resources of a section. Raises RefusedError."""
    if section is None:
        return Desired()
    _refuse_contradictions(section)
    resources: dict[ResourceKey, Resource] = {}
    for kind, name, value, mode in _items(section):
        key = ResourceKey(PLUGIN, kind, name)
        if key in resources:
            raise RefusedError(f"{key} is declared twice", remedy="leave one of them out")
        resources[key] = Resource(value, Mode(mode))
    return Desired(resources)


def _items(section: NetConfig) -> Iterator[_Item]:
    for name, bridge in section.bridges.items():
        yield from _bridge(name, bridge)
    for name, interface in section.interfaces.items():
        yield from _interface(name, interface)
    for route in section.routes:
        yield _route(route)


def _bridge(name: str, bridge: Bridge) -> Iterator[_Item]:
    datapath = {} if bridge.datapath == "auto" else {"datapath": bridge.datapath}
    yield names.BRIDGE, name, datapath, bridge.mode
    if bridge.fail_mode is not None:
        yield names.FAIL_MODE, name, bridge.fail_mode, bridge.mode
    for port_name, port in bridge.ports.items():
        value = {"bridge": name, "type": port.type, "tag": port.tag, "mac": port.mac}
        observe_only = "observe-only" in (bridge.mode, port.mode)
        yield names.PORT, port_name, value, "observe-only" if observe_only else port.mode
    if bridge.uplink is not None:
        yield names.UPLINK, bridge.uplink, {"bridge": name, "connected": True}, bridge.mode


def _interface(name: str, interface: Interface) -> Iterator[_Item]:
    mode = interface.mode
    if interface.up is not None:
        yield names.UP, name, interface.up, mode
    if interface.mtu is not None:
        yield names.MTU, name, interface.mtu, mode
    if interface.dhcp is not None:
        yield names.DHCP, name, False, mode
    if interface.ipv6_ra is not None:
        yield names.IPV6_RA, name, _ACCEPT_RA[interface.ipv6_ra], mode
    for address in dict.fromkeys(interface.addresses):
        yield names.ADDRESS, address_name(name, address), {}, mode
    if interface.exact:
        yield names.OTHER_ADDRESSES, name, {names.NO_OTHERS: None}, mode


def _route(route: Route) -> _Item:
    name = RouteName(route.destination, route.table, route.priority)
    value = {"via": None if route.via is None else str(route.via)}
    if route.dev is not None:
        value["dev"] = route.dev
    return names.ROUTE, str(name), value, route.mode


def wanted_addresses(desired: Desired) -> set[str]:
    """The names of the addresses that are asked for."""
    return {
        key.name
        for key, resource in desired.resources.items()
        if key.kind == names.ADDRESS and resource.value is not None
    }


def without_others(desired: Desired) -> dict[ResourceKey, Resource]:
    """The resources by which devices are to have no other addresses than those."""
    return {
        key: resource
        for key, resource in desired.resources.items()
        if key.kind == names.OTHER_ADDRESSES and names.NO_OTHERS in resource.value
    }


# --- what contradicts itself ----------------------------------------------------------------------


def _refuse_contradictions(section: NetConfig) -> None:
    for name, bridge in section.bridges.items():
        where = f"plugins.net.bridges.{name}"
        _check_ports(section, name, bridge, where)
        if bridge.uplink is not None:
            _check_uplink(section, bridge, bridge.uplink, where)
    for number, route in enumerate(section.routes):
        _check_route(route, f"plugins.net.routes[{number}]")


def _check_ports(section: NetConfig, name: str, bridge: Bridge, where: str) -> None:
    for port_name, port in bridge.ports.items():
        if port_name in section.bridges:
            raise RefusedError(
                f"{where}.ports.{port_name}: that is a bridge itself",
                remedy="name another port; to join two bridges, make them one",
            )
        if port.mac is not None and port.type != "internal":
            raise RefusedError(
                f"{where}.ports.{port_name}.mac: a device that is there keeps its own MAC",
                remedy="leave mac out, or make the port internal",
            )
    if bridge.uplink in (name, *section.bridges):
        raise RefusedError(
            f"{where}.uplink: {bridge.uplink} is a bridge itself",
            remedy="name the network device to the outside, such as eth0",
        )
    if bridge.uplink in bridge.ports:
        raise RefusedError(
            f"{where}: {bridge.uplink} is both the uplink and a port",
            remedy="leave it out of ports; the uplink is one anyway",
        )


def _check_uplink(section: NetConfig, bridge: Bridge, uplink: str, where: str) -> None:
    if bridge.fail_mode == "secure":
        raise RefusedError(
            f"{where}: a secure bridge drops what no flow lets through, so that the machine would"
            " lose its connection",
            remedy="set fail_mode to standalone, or leave it out",
        )
    interface = section.interfaces.get(uplink)
    if interface is not None and (interface.addresses or interface.exact):
        raise RefusedError(
            f"plugins.net.interfaces.{uplink}: the addresses of an uplink move to its bridge",
            remedy="declare them for the bridge",
        )
    if interface is not None and interface.up is False:
        raise RefusedError(
            f"plugins.net.interfaces.{uplink}.up: an uplink that is down carries nothing",
            remedy="leave it out",
        )
    for number, route in enumerate(section.routes):
        if route.dev == uplink:
            raise RefusedError(
                f"plugins.net.routes[{number}].dev: the routes of an uplink move to its bridge",
                remedy="name the bridge instead",
            )


def _check_route(route: Route, where: str) -> None:
    if route.via is None and route.dev is None:
        raise RefusedError(
            f"{where}: it leads nowhere", remedy="give it a router (via) or a device (dev)"
        )
    if route.via is not None and route.via.version != route.destination.version:
        raise RefusedError(
            f"{where}.via: {route.via} is not of the same version of IP as {route.to}",
            remedy="name a router of that version",
        )
