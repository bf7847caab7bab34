"""What a section asks for, as resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    """The resources of a section, which `config.net_checks` has found nothing wrong with."""
    if section is None:
        return Desired()
    items = _items(section)
    return Desired({ResourceKey(PLUGIN, kind, n): Resource(v, Mode(m)) for kind, n, v, m in items})


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
    value: dict[str, Any] = {"via": None if route.via is None else str(route.via)}
    if route.dev is not None:
        value["dev"] = route.dev
    if route.onlink is not None:
        value["onlink"] = route.onlink
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
