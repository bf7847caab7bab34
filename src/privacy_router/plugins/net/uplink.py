"""Moving the uplink: the addresses and routes of a device to the bridge that it is a port of.

The order keeps the machine's connections alive. The bridge has the device's MAC, and every address
is on both before it leaves the one, so that at no time a packet for it finds no owner: the kernel
takes what is addressed to it from either. What can be done before the switch-over is, and the rest
takes the kernel about a millisecond.

Every step may be done twice and from any state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError
from privacy_router.ovsdb.host_bridges import SYSTEM, HostPort
from privacy_router.plugins.net import names
from privacy_router.plugins.net.declare import wanted_addresses
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.observe import name_of
from privacy_router.plugins.net.session import in_order
from privacy_router.plugins.net.shield import shield, unshield

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from privacy_router.engine.model import Desired
    from privacy_router.host.addresses import AddressEntry
    from privacy_router.host.routes import RouteEntry
    from privacy_router.plugins.net.session import NetSession
    from privacy_router.values.network import Interface


def move_onto_bridge(session: NetSession, interface: str, bridge: str) -> None:
    """Make the device a port, and have the bridge carry its addresses and routes."""
    session.tell(f"{interface} becomes a port of {bridge}, which takes over its addresses")
    device = session.network.devices().get(interface)
    if device is None:
        raise ConflictError(f"there is no network device {interface} any more", retryable=True)
    session.ovs.set_mac(bridge, device.mac)
    for name in (bridge, interface):
        with doing(f"bring {name} up"):
            session.network.set_link(name, up=True)
    copy_addresses(session, movable(session, interface), bridge)
    session.ovs.put_port(interface, HostPort(bridge, SYSTEM))
    if session.ovs.read()[bridge].datapath != SYSTEM:
        shield(session.location.namespace, interface)
    switch_over(session, interface, bridge)


def switch_over(session: NetSession, source: str, target: str) -> None:
    """Routes from one device to another that has the addresses already, which then go."""
    going = movable(session, source)
    know_neighbours(session, source, target)
    move_routes(
        session, [r for r in session.somebodys_routes() if source in r.devices], source, target
    )
    for entry in going:
        with doing(f"take {entry.address} off {source}"):
            session.network.delete_address(entry)


def movable(session: NetSession, device: str) -> list[AddressEntry]:
    """The addresses that move."""
    return [entry for entry in session.network.addresses(device) if entry.is_movable]


def copy_addresses(session: NetSession, entries: Iterable[AddressEntry], target: str) -> None:
    """Have addresses on another device, too."""
    there = {entry.address for entry in session.network.addresses(target)}
    for entry in in_order(entries):
        if entry.address not in there:
            with doing(f"put {entry.address} on {target}"):
                session.network.put_address(target, entry)


def know_neighbours(session: NetSession, source: str, target: str) -> None:
    """Their MACs, so that no sender waits for an answer that still comes in on the other device."""
    with doing(f"tell {target} the neighbours of {source}"):
        session.network.copy_neighbours(source, target)


def move_routes(
    session: NetSession, routes: Iterable[RouteEntry], source: str, target: str
) -> None:
    """Have these lead out of another device; the kernel replaces each in one go."""
    for route in routes:
        with doing(f"move the route to {route.destination} to {target}"):
            session.network.put_route(route, {source: target})


# --- back again -----------------------------------------------------------------------------------


def move_off_bridge(
    session: NetSession,
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
    session.tell(f"the addresses of {bridge} go back to {interface}")
    if interface in session.network.indexes():
        unshield(session.location.namespace, interface)
        if bridge in session.network.indexes():
            _give_back(session, interface, bridge, original, desired, leaving)
    if original.get("port_of") != bridge:
        session.ovs.remove_port(interface)


def _give_back(
    session: NetSession,
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
        for entry in movable(session, bridge)
        if names.address_name(bridge, entry.address) not in kept
        and (str(entry.address) in own or (bridge, entry.address) not in leaving)
    ]
    copy_addresses(session, back, interface)
    know_neighbours(session, bridge, interface)
    move_routes(session, _routes_back(session, bridge, desired), bridge, interface)
    session.remove_addresses(back)


def _routes_back(session: NetSession, bridge: str, desired: Desired) -> list[RouteEntry]:
    """Those that lead out of the bridge, but for what the document wants to lead there."""
    kept = {
        key.name
        for key, wanted in desired.resources.items()
        if key.kind == names.ROUTE and wanted.value and wanted.value.get("dev") == bridge
    }
    return [
        route
        for route in session.somebodys_routes()
        if bridge in route.devices and str(name_of(route)) not in kept
    ]
