"""Making changes, in the order in which they need one another."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.model import Mode
from privacy_router.host import sysctl
from privacy_router.host.addresses import new_address
from privacy_router.host.routes import PROTOCOL_KERNEL, new_route
from privacy_router.ovsdb.host_bridges import INTERNAL, SYSTEM, HostPort
from privacy_router.plugins.net import dhcp, names
from privacy_router.plugins.net.declare import wanted_addresses, without_others
from privacy_router.plugins.net.errors import KernelRefusedError, doing, not_on_the_link
from privacy_router.plugins.net.observe import accept_ra, name_of, read_bridges
from privacy_router.plugins.net.uplink import move_off_bridge, move_onto_bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from privacy_router.engine.model import Change, Desired
    from privacy_router.plugins.net.session import NetSession
    from privacy_router.values.network import Interface

_KERNEL_DATAPATH: Final = "/sys/module/openvswitch"
_DEFAULT_MTU_BYTES: Final = 1500
_NO_WAY_TO_ROUTER: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH)
_SHORTEST_WITHOUT_BROADCAST: Final = 31  # RFC 3021


class Applier:
    """The changes of one run. `desired` is what the whole document asks for."""

    def __init__(self, session: NetSession, desired: Desired, changes: Sequence[Change]) -> None:
        self._work = session
        self._desired = desired
        self._changes = changes

    def run(self) -> None:
        """Make all of them. What is added comes first, from the bridge up; what goes comes last,
        the other way round, so that the machine is never without what it keeps."""
        self._move_uplinks_off()
        for kind, make in self._additions:
            for change in sorted(self._of(kind, gone=False), key=_needs_others):
                make(change.key.name, change.after)
        self._remove_addresses()
        for kind, remove in self._removals:
            for change in sorted(self._of(kind, gone=True), key=_needs_others, reverse=True):
                remove(change.key.name)

    @property
    def _additions(self) -> list[tuple[str, Callable[[str, Any], None]]]:
        return [
            (names.DHCP, self._end_dhcp),
            (names.BRIDGE, self._add_bridge),
            (names.FAIL_MODE, self._set_fail_mode),
            (names.PORT, self._put_port),
            (names.UPLINK, self._move_uplink),
            (names.MTU, self._set_mtu),
            (names.IPV6_RA, self._set_ipv6_ra),
            (names.UP, self._set_up),
            (names.ADDRESS, self._add_address),
            (names.OTHER_ADDRESSES, self._change_addresses),
            (names.ROUTE, self._put_route),
        ]

    @property
    def _removals(self) -> list[tuple[str, Callable[[str], None]]]:
        return [
            (names.ROUTE, self._remove_route),
            (names.FAIL_MODE, lambda name: self._set_fail_mode(name, None)),
            (names.PORT, lambda name: self._work.ovs.remove_port(name)),
            (names.BRIDGE, lambda name: self._work.ovs.remove_bridge(name)),
        ]

    def _of(self, kind: str, *, gone: bool) -> list[Change]:
        return [c for c in self._changes if c.key.kind == kind and (c.after is None) == gone]

    # --- bridges and ports -----------------------------------------------------------------------

    def _add_bridge(self, name: str, wanted: dict[str, Any]) -> None:
        found = self._work.location.machine.path(_KERNEL_DATAPATH).exists()
        datapath = wanted.get("datapath") or (SYSTEM if found else "netdev")
        self._work.ovs.add_bridge(name, datapath)

    def _set_fail_mode(self, name: str, wanted: str | None) -> None:
        self._work.ovs.set_fail_mode(name, wanted)

    def _put_port(self, name: str, wanted: dict[str, Any]) -> None:
        port = HostPort(wanted["bridge"], wanted["type"], wanted["tag"], wanted["mac"])
        self._work.ovs.put_port(name, port)

    def _move_uplink(self, name: str, wanted: dict[str, Any]) -> None:
        if wanted["bridge"] is not None:
            move_onto_bridge(self._work, name, wanted["bridge"])

    def _move_uplinks_off(self) -> None:
        """From bridges that they are not to be on. Of a run that gives back a bridge, the bridge
        and its addresses go first, in a call of their own: so look at all that is asked for."""
        wanted = {
            key.name: resource.value
            for key, resource in self._desired.resources.items()
            if key.kind == names.UPLINK and resource.mode is Mode.ENFORCE
        }
        bridges = self._work.ovs.read() if wanted else {}
        for bridge in bridges.values():
            for name in bridge.ports.keys() & wanted.keys():
                if bridge.ports[name].ours and wanted[name]["bridge"] != bridge.name:
                    move_off_bridge(
                        self._work, name, bridge.name, wanted[name], self._desired, self._leaving
                    )

    @property
    def _leaving(self) -> set[tuple[str, Interface]]:
        gone = self._of(names.ADDRESS, gone=True)
        return {names.parse_address(change.key.name) for change in gone}

    # --- devices ---------------------------------------------------------------------------------

    def _end_dhcp(self, name: str, wanted: Any) -> None:
        if wanted is not False:
            return  # given back: see `start_dhcp`
        found = dhcp.processes(self._work.location.namespace)
        known = self._work.network.indexes()
        dhcp.end([process for process in found if name in process.devices(known)])
        for entry in self._work.network.addresses(name):
            if entry.is_movable and entry.expires and entry.is_leased:
                with doing(f"keep {entry.address} on {name}"):
                    self._work.network.put_address(name, entry.for_good())

    def start_dhcp(self) -> None:
        """Start again the clients that are given back; after all else, for they change things."""
        running = dhcp.processes(self._work.location.namespace)
        commands = {process.command for process in running}
        for change in self._of(names.DHCP, gone=False):
            for command in change.after["commands"] if change.after else ():
                if tuple(command) not in commands:
                    self._work.tell(f"{command[0]} is started again for {change.key.name}")
                    dhcp.start(command, self._work.location.machine, self._work.location.namespace)

    def _set_mtu(self, name: str, wanted: int) -> None:
        if self._request_mtu(name, wanted):
            return
        with doing(f"set the MTU of {name} to {wanted}"):
            self._work.network.set_link(name, mtu_bytes=wanted)

    def _request_mtu(self, name: str, wanted: int) -> bool:
        """Of a device of Open vSwitch, which would set another MTU again; False for others.

        What it would choose by itself, the least of the bridge's other ports, is left to it.
        """
        devices = self._work.network.devices()
        bridges = read_bridges(self._work.location.ovs_socket) or {}
        for bridge in bridges.values():
            made = {port for port, found in bridge.ports.items() if found.kind == INTERNAL}
            if name == bridge.name or name in made:
                others = [devices[p].mtu_bytes for p in bridge.ports.keys() - made if p in devices]
                own = min(others, default=_DEFAULT_MTU_BYTES)
                self._work.ovs.request_mtu(name, None if wanted == own else wanted)
                return True
        return False

    def _set_ipv6_ra(self, name: str, wanted: int) -> None:
        with doing(f"set how {name} takes router advertisements"):
            sysctl.write(self._work.location.namespace, {accept_ra(name): str(wanted)})

    def _set_up(self, name: str, wanted: bool) -> None:
        with doing(f"bring {name} {'up' if wanted else 'down'}"):
            self._work.network.set_link(name, up=wanted)

    # --- addresses -------------------------------------------------------------------------------

    def _add_address(self, name: str, _: Any) -> None:
        device, address = names.parse_address(name)
        self._have_address(device, address, _broadcast(address))

    def _have_address(self, device: str, address: Interface, broadcast: str | None) -> None:
        with doing(f"put {address} on {device}"):
            found = self._work.network.addresses(device)
            if address.version == 6:  # the kernel has an IPv6 address with one length only
                others = [e for e in found if e.address.ip == address.ip and e.address != address]
                self._work.remove_addresses(others)
            if address not in {entry.address for entry in found}:
                entry = new_address(device, address, broadcast)
                self._work.network.put_address(device, entry)

    def _change_addresses(self, device: str, wanted: dict[str, Any]) -> None:
        """Those that `exact` took away and are given back; it takes others away later."""
        for text, value in wanted.items():
            if value is not None:
                self._have_address(device, ip_interface(text), value["broadcast"])

    def _remove_addresses(self) -> None:
        leaving = self._leaving
        for change in self._of(names.OTHER_ADDRESSES, gone=False):
            leaving |= {
                (change.key.name, ip_interface(text))
                for text, value in change.after.items()
                if value is None and text != names.NO_OTHERS
            }
        leaving |= set(self._moved_and_not_declared())
        if leaving:
            found = self._work.network.addresses()
            self._work.remove_addresses([e for e in found if (e.device, e.address) in leaving])

    def _moved_and_not_declared(self) -> Iterator[tuple[str, Interface]]:
        """What an uplink has brought along to a bridge that is to have no others."""
        bridges = {change.after["bridge"] for change in self._of(names.UPLINK, gone=False)}
        found = without_others(self._desired)
        exact = {key.name for key, one in found.items() if one.mode is Mode.ENFORCE}
        wanted = wanted_addresses(self._desired)
        for bridge in bridges & exact:
            for entry in self._work.network.addresses(bridge):
                name = names.address_name(bridge, entry.address)
                if entry.is_movable and name not in wanted:
                    yield bridge, entry.address

    # --- routes ----------------------------------------------------------------------------------

    def _put_route(self, name: str, wanted: dict[str, Any]) -> None:
        """What the document does not say of a route that is there stays as it is."""
        wanted_name = names.parse_route(name)
        found = [r for r in self._work.somebodys_routes() if name_of(r) == wanted_name]
        kept = [route for route in found if route.is_simple and route.is_unicast]
        base = kept[0] if kept else new_route(*wanted_name)
        gateway = ip_address(wanted["via"]) if wanted["via"] else None
        device = wanted.get("dev")
        with doing(f"set the route to {wanted_name.destination}"):
            way = None if device is None else (self._work.network.index(device), device)
            route = base.leading(gateway, way, onlink=wanted.get("onlink"))
            try:
                self._work.network.put_route(route)
            except OSError as error:
                if gateway is None or error.errno not in _NO_WAY_TO_ROUTER:
                    raise
                raise not_on_the_link(
                    KernelRefusedError, wanted_name, wanted["via"], device
                ) from error

    def _remove_route(self, name: str) -> None:
        wanted = names.parse_route(name)
        for route in self._work.network.routes():
            if name_of(route) == wanted and route.protocol != PROTOCOL_KERNEL:
                with doing(f"take the route to {wanted.destination} away"):
                    self._work.network.delete_route(route)


def _needs_others(change: Change) -> bool:
    """Whether that is a route by a router, which has to be on a link that another one leads to."""
    value = change.before if change.after is None else change.after
    return change.key.kind == names.ROUTE and bool((value or {}).get("via"))


def _broadcast(address: Interface) -> str | None:
    """The last address of an IPv4 network, which is the usual one for it."""
    network = address.network
    if address.version == 6 or network.prefixlen >= _SHORTEST_WITHOUT_BROADCAST:
        return None
    return str(network.broadcast_address)
