"""Moving the uplink: the addresses and routes of a device to the bridge that it is a port of.

The order keeps the machine's connections alive. The bridge has the device's MAC, and every address
is on both before it leaves the one, so that at no time a packet for it finds nobody: the kernel
takes what is addressed to it from either. What can be done before the switch-over is, and the rest
takes the kernel about a millisecond.

Every step may be done twice and from whatever is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError
from privacy_router.ovsdb.host_bridges import SYSTEM, HostPort
from privacy_router.plugins.net import names
from privacy_router.plugins.net.declaring import wanted_addresses
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.reading import name_of
from privacy_router.plugins.net.shield import shield, unshield
from privacy_router.plugins.net.work import in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from privacy_router.engine.model import Desired
    from privacy_router.host.addresses import AddressEntry
    from privacy_router.host.routes import RouteEntry
    from privacy_router.plugins.net.work import Work
    from privacy_router.values.network import Interface


def move_onto_bridge(work: Work, interface: str, bridge: str) -> None:
    """Make the device a port, and have the bridge carry its addresses and routes."""
    work.tell(f"{interface} becomes a port of {bridge}, which takes over its addresses")
    device = work.network.devices().get(interface)
    if device is None:
        raise ConflictError(f"there is no network device {interface} any more", retryable=True)
    work.ovs.set_mac(bridge, device.mac)
    for name in (bridge, interface):
        with doing(f"bring {name} up"):
            work.network.set_link(name, up=True)
    copy_addresses(work, movable(work, interface), bridge)
    work.ovs.put_port(interface, HostPort(bridge, SYSTEM))
    if work.ovs.read()[bridge].datapath != SYSTEM:
        shield(work.location.namespace, interface)
    switch_over(work, interface, bridge)


def switch_over(work: Work, source: str, target: str) -> None:
    """Routes from one device to another that has the addresses already, which then go."""
    going = movable(work, source)
    know_neighbours(work, source, target)
    move_routes(work, [r for r in work.somebodys_routes() if source in r.devices], source, target)
    for entry in going:
        with doing(f"take {entry.address} off {source}"):
            work.network.delete_address(entry)


def movable(work: Work, device: str) -> list[AddressEntry]:
    """The addresses that move."""
    return [entry for entry in work.network.addresses(device) if entry.is_movable]


def copy_addresses(work: Work, entries: Iterable[AddressEntry], target: str) -> None:
    """Have addresses on another device, too."""
    there = {entry.address for entry in work.network.addresses(target)}
    for entry in in_order(entries):
        if entry.address not in there:
            with doing(f"put {entry.address} on {target}"):
                work.network.put_address(target, entry)


def know_neighbours(work: Work, source: str, target: str) -> None:
    """Their MACs, so that nobody waits for an answer which as yet comes in on the other device."""
    with doing(f"tell {target} the neighbours of {source}"):
        work.network.copy_neighbours(source, target)


def move_routes(work: Work, routes: Iterable[RouteEntry], source: str, target: str) -> None:
    """Have these lead out of another device; the kernel replaces each in one go."""
    for route in routes:
        with doing(f"move the route to {route.destination} to {target}"):
            work.network.put_route(route, {source: target})


# --- back again -----------------------------------------------------------------------------------


def move_off_bridge(
    work: Work,
    interface: str,
    bridge: str,
    original: Mapping[str, object],
    desired: Desired,
    leaving: Collection[tuple[str, Interface]],
) -> None:
    """Give the addresses and routes back to the device, and take it off the bridge again.

    `original` is the value that the uplink had before it moved. What the document declares of the
    bridge stays there, and what is `leaving` (device, address) goes nowhere, unless it was the
    device's own.
    """
    work.tell(f"the addresses of {bridge} go back to {interface}")
    if interface in work.network.indexes():
        unshield(work.location.namespace, interface)
        if bridge in work.network.indexes():
            _give_back(work, interface, bridge, original, desired, leaving)
    if original.get("port_of") != bridge:
        work.ovs.remove_port(interface)


def _give_back(
    work: Work,
    interface: str,
    bridge: str,
    original: Mapping[str, object],
    desired: Desired,
    leaving: Collection[tuple[str, Interface]],
) -> None:
    own = original.get("addresses")
    own = own if isinstance(own, list) else []
    kept = wanted_addresses(desired)
    back = [
        entry
        for entry in movable(work, bridge)
        if names.address_name(bridge, entry.address) not in kept
        and (str(entry.address) in own or (bridge, entry.address) not in leaving)
    ]
    copy_addresses(work, back, interface)
    know_neighbours(work, bridge, interface)
    move_routes(work, _routes_back(work, bridge, desired), bridge, interface)
    work.remove_addresses(back)


def _routes_back(work: Work, bridge: str, desired: Desired) -> list[RouteEntry]:
    """Those that lead out of the bridge, but for what the document wants to lead there."""
    kept = {
        key.name
        for key, wanted in desired.resources.items()
        if key.kind == names.ROUTE and wanted.value and wanted.value.get("dev") == bridge
    }
    return [
        route
        for route in work.somebodys_routes()
        if bridge in route.devices and str(name_of(route)) not in kept
    ]
