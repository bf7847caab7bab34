"""Writing down the devices that a run touches, and bringing them back exactly.

A change says what it is about, and the kernel does more: with an address go the routes that need
it, with an MTU below 1280 all that is IPv6. So besides what is changed, every device that a change
is about is kept with its addresses and routes as the kernel lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.model import Change, Desired, Resource, ResourceKey
from privacy_router.host.addresses import AddressEntry
from privacy_router.host.routes import LOCAL_TABLE, PROTOCOL_KERNEL, RouteEntry
from privacy_router.plugins.net import names
from privacy_router.plugins.net.declare import PLUGIN
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.observe import name_of
from privacy_router.plugins.net.session import in_order
from privacy_router.plugins.net.shield import unshield
from privacy_router.plugins.net.uplink import copy_addresses, know_neighbours, move_routes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.engine.model import Value
    from privacy_router.plugins.net.observe import NetState
    from privacy_router.plugins.net.session import NetSession


def written_down(state: NetState, changes: Sequence[Change]) -> dict[str, Value]:
    """What to keep before these changes are made, as a JSON value."""
    devices = sorted({d for change in changes for d in _devices(change)} & state.devices.keys())
    routes = [r for r in state.routes if _is_somebodys(r) and set(r.devices) & set(devices)]
    changed = {names.parse_route(c.key.name) for c in changes if c.key.kind == names.ROUTE}
    routes += [r for r in state.routes if name_of(r) in changed and r not in routes]
    return {
        "changes": [[change.key.kind, change.key.name, change.before] for change in changes],
        "uplinks": [
            [change.key.name, change.after["bridge"]]
            for change in changes
            if change.key.kind == names.UPLINK and change.after["bridge"] is not None
        ],
        "devices": {name: _device(state, name) for name in devices},
        "mtus": {device.name: device.mtu_bytes for device in state.above(_lowered(changes))},
        "routes": [route.saved() for route in routes if _is_somebodys(route)],
    }


def _lowered(changes: Sequence[Change]) -> set[str]:
    """Devices whose MTU changes, and with it that of the devices on them, if it is lowered."""
    return {change.key.name for change in changes if change.key.kind == names.MTU}


def _is_somebodys(route: RouteEntry) -> bool:
    return route.protocol != PROTOCOL_KERNEL and route.table != LOCAL_TABLE


def _device(state: NetState, name: str) -> dict[str, Value]:
    kept = [entry for entry in state.of(name) if not entry.is_temporary]
    device = state.devices[name]
    return {
        "up": device.up,
        "promiscuous": device.promiscuous,
        "addresses": [entry.saved() for entry in kept],
    }


def _devices(change: Change) -> Iterator[str]:
    """The devices that a change may do something to."""
    match change.key.kind:
        case names.ADDRESS:
            yield names.parse_address(change.key.name)[0]
        case names.ROUTE:
            return
        case names.UPLINK:
            yield change.key.name
            yield from (v["bridge"] for v in (change.before, change.after) if v and v["bridge"])
        case _:
            yield change.key.name


def devices_of(kind: str, name: str, value: Value) -> set[str]:
    """The devices without which a resource cannot have that value."""
    match kind:
        case names.ADDRESS:
            return {names.parse_address(name)[0]}
        case names.ROUTE:
            return set(_devices_of_route(value or {}))
        case names.UP | names.MTU | names.DHCP | names.IPV6_RA | names.OTHER_ADDRESSES:
            return {name}
    return set()


def _devices_of_route(value: Mapping[str, Value]) -> Iterator[str]:
    if value.get("dev") is not None:
        yield value["dev"]
    yield from value.get("through", ())
    for other in value.get("also", ()):
        yield from _devices_of_route(other)


def restoring(checkpoint: Value) -> Desired:
    """What a checkpoint says there was, as something to be desired."""
    return Desired(
        {
            ResourceKey(PLUGIN, kind, name): Resource(before)
            for kind, name, before in checkpoint["changes"]
        }
    )


# --- bringing back --------------------------------------------------------------------------------


def reconnect(session: NetSession, checkpoint: Value) -> None:
    """Give an uplink back its addresses and routes: first of all, and without Open vSwitch, which
    may be what went wrong."""
    for name, bridge in checkpoint["uplinks"]:
        if name in session.network.indexes():
            unshield(session.location.namespace, name)
            _reconnect(session, name, bridge, checkpoint)


def _reconnect(session: NetSession, name: str, bridge: str, checkpoint: Value) -> None:
    saved = [entry for entry in _addresses(checkpoint, name) if entry.is_movable]
    copy_addresses(session, saved, name)
    known = session.network.indexes().keys()
    if bridge in known:
        know_neighbours(session, bridge, name)
    routes = [route for route in _routes(checkpoint) if name in route.devices]
    move_routes(session, [route for route in routes if set(route.devices) <= known], name, name)
    moved = {entry.address for entry in saved}
    moved -= {entry.address for entry in _addresses(checkpoint, bridge)}
    if bridge in known:
        session.remove_addresses(
            [e for e in session.network.addresses(bridge) if e.address in moved]
        )


def bring_back(session: NetSession, checkpoint: Value) -> None:
    """Bring the devices and routes that were kept back to what they were, and leave what others
    have added since."""
    indexes = session.network.indexes()
    for name in sorted(checkpoint["devices"].keys() & indexes.keys()):
        _bring_back_device(session, name, checkpoint)
    _bring_back_mtus(session, checkpoint["mtus"])
    saved = _routes(checkpoint)
    changed = {
        names.parse_route(name) for kind, name, _ in checkpoint["changes"] if kind == names.ROUTE
    }
    for route in session.somebodys_routes():
        wrong = name_of(route) in changed and not any(route.same_as(s, indexes) for s in saved)
        if wrong:
            with doing(f"take the route {name_of(route)} away"):
                session.network.delete_route(route)
    session.put_back_routes(sorted(saved, key=lambda route: route.gateway is not None))


def _bring_back_device(session: NetSession, name: str, checkpoint: Value) -> None:
    was = checkpoint["devices"][name]
    device = session.network.devices()[name]
    # A vswitchd that is killed leaves the devices promiscuous that it listens to.
    if (device.up, device.promiscuous) != (was["up"], was["promiscuous"]):
        with doing(f"bring {name} back to what it was"):
            session.network.set_link(name, up=was["up"], promiscuous=was["promiscuous"])
    saved = _addresses(checkpoint, name)
    there = session.network.addresses(name)
    _bring_back_order(session, [e for e in saved if _is_v4(e)], [e for e in there if _is_v4(e)])
    present = {entry.address for entry in there}
    for entry in in_order(saved):
        if entry.address not in present or entry.expires:
            with doing(f"put {entry.address} back on {name}"):
                session.network.put_address(name, entry)


def _bring_back_mtus(session: NetSession, mtus: Mapping[str, int]) -> None:
    found = session.network.devices()
    for name, mtu_bytes in mtus.items():
        if name in found and found[name].mtu_bytes != mtu_bytes:
            with doing(f"bring the MTU of {name} back to {mtu_bytes}"):
                session.network.set_link(name, mtu_bytes=mtu_bytes)


def _bring_back_order(
    session: NetSession, saved: Sequence[AddressEntry], there: Sequence[AddressEntry]
) -> None:
    """The first IPv4 address of a network is the one that the machine speaks from. So where the
    order is not what it was, take away those from the first wrong one on, and put them back."""
    known = {entry.address for entry in saved}
    found = [entry for entry in there if entry.address in known]
    wanted = [entry.address for entry in saved]
    right = 0
    while right < len(found) and found[right].address == wanted[right]:
        right += 1
    if right < len(found):
        session.remove_addresses(found[right:], routes=False)
        for entry in saved[right:]:
            with doing(f"put {entry.address} back on {entry.device}"):
                session.network.put_address(entry.device, entry)


def _is_v4(entry: AddressEntry) -> bool:
    return entry.address.version == 4


def _addresses(checkpoint: Value, device: str) -> list[AddressEntry]:
    known = checkpoint["devices"].get(device, {"addresses": []})
    return [AddressEntry.loaded(saved) for saved in known["addresses"]]


def _routes(checkpoint: Value) -> list[RouteEntry]:
    return [RouteEntry.loaded(saved) for saved in checkpoint["routes"]]
