"""What cannot work, or would touch what is not ours, found before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.host_bridges import INTERNAL, SYSTEM, HostBridges
from privacy_router.plugins.net import dhcp, names
from privacy_router.plugins.net.errors import not_on_the_link
from privacy_router.plugins.net.observe import routes_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from privacy_router.engine.model import Change, Desired
    from privacy_router.plugins.net.observe import NetState
    from privacy_router.values.network import Network


@dataclass(frozen=True)
class Proposal:
    """Changes, and the machine that they are to be made on."""

    state: NetState
    desired: Desired
    changes: Sequence[Change]

    def wanted(self, kind: str) -> set[str]:
        """The names of what is to be there, by what is asked for."""
        return {
            key.name
            for key, resource in self.desired.resources.items()
            if key.kind == kind and resource.value is not None
        }

    @property
    def devices(self) -> Collection[str]:
        """The devices that there are, and those that this makes."""
        return {*self.state.devices, *self.wanted(names.BRIDGE), *self.wanted(names.PORT)}

    @property
    def links(self) -> Collection[Network]:
        """The networks that are reached without a router, now or by what is asked for."""
        addresses = {entry.address for entry in self.state.addresses}
        addresses |= {names.parse_address(name)[1] for name in self.wanted(names.ADDRESS)}
        routes = [one for one in self.state.routes if one.is_unicast and one.gateway is None]
        asked = {
            names.parse_route(key.name).destination
            for key, one in self.desired.resources.items()
            if key.kind == names.ROUTE and one.value is not None and not one.value.get("via")
        }
        return {address.network for address in addresses} | {r.destination for r in routes} | asked


def check(proposal: Proposal) -> None:
    """Raise RefusedError for the first change that cannot be made."""
    for change in proposal.changes:
        if change.after is None:
            _check_removal(proposal, change)
            continue
        for rule in _RULES[change.key.kind]:
            rule(proposal, change)


def check_switch(ovs_socket: Path) -> None:
    """Raise RefusedError unless Open vSwitch answers, both its halves."""
    try:
        with HostBridges(ovs_socket) as database:
            database.await_applied()
    except OvsdbError as error:
        raise RefusedError(
            f"bridges need the machine's Open vSwitch: {error.message}",
            remedy="apt-get install openvswitch-switch && systemctl start openvswitch-switch",
        ) from error


# --- bridges and ports ----------------------------------------------------------------------------


def _check_bridge(proposal: Proposal, change: Change) -> None:
    name = change.key.name
    found = (proposal.state.bridges or {}).get(name)
    if found is None and name in proposal.state.devices:
        kind = proposal.state.devices[name].kind or "device"
        raise RefusedError(
            f"there is a network device {name} ({kind}) that is no bridge of Open vSwitch",
            remedy="choose another name for the bridge",
        )
    if found is not None and found.node:
        raise RefusedError(
            f"the bridge {name} is the privacy router's own",
            remedy="configure it in plugins.privacy_router, and name another bridge here",
        )
    if found is not None and not found.ours:
        raise RefusedError(
            f"the bridge {name} was made by another program, and its settings are that program's",
            remedy=f"leave {change.key.kind} out for {name}; ports of yours may be added to it",
        )
    if found is not None and change.key.kind == names.BRIDGE:
        raise RefusedError(
            f"the datapath of the bridge {name} is {found.datapath}, and changing it would cut"
            " everything on it",
            remedy=f"take {name} out of the document first, or leave datapath out",
        )


def _check_removal(proposal: Proposal, change: Change) -> None:
    bridge = (proposal.state.bridges or {}).get(change.key.name)
    if change.key.kind != names.BRIDGE or bridge is None or not bridge.ours:
        return
    strangers = sorted(name for name, port in bridge.ports.items() if not port.ours)
    if strangers:
        raise RefusedError(
            f"the bridge {bridge.name} has ports of others ({', '.join(strangers)}), who would"
            " lose their connection",
            remedy=f"take them off (ovs-vsctl del-port {strangers[0]}), or keep {bridge.name} in"
            " the document",
        )


def _check_port(proposal: Proposal, change: Change) -> None:
    name, wanted = change.key.name, change.after
    state = proposal.state
    bridge = (state.bridges or {}).get(wanted["bridge"])
    if bridge is not None and bridge.node:
        raise RefusedError(
            f"the port {name}: the bridge {bridge.name} is the privacy router's own",
            remedy="name another bridge",
        )
    found = state.port(name)
    if found is not None and not found.ours:
        raise RefusedError(
            f"the port {name} of {found.bridge} was made by another program and is not as declared",
            remedy=f"remove it (ovs-vsctl del-port {name}), or leave it out of the document",
        )
    if found is None and wanted["type"] == INTERNAL and name in state.devices:
        raise RefusedError(
            f"there is a network device {name}, so Open vSwitch cannot make one",
            remedy="choose another name, or leave type out to add the device that is there",
        )
    if found is None and wanted["type"] == SYSTEM:
        _check_device_for_port(state, name)


def _check_device_for_port(state: NetState, name: str) -> None:
    device = state.devices.get(name)
    if device is None:
        raise RefusedError(
            f"the port {name}: there is no network device of that name",
            remedy=f"{state.advice_on(name)}, or make the port internal",
        )
    if device.master is not None:
        raise RefusedError(
            f"the port {name}: it is a port of {device.master} already",
            remedy=f"take it off {device.master} first",
        )
    if any(entry.is_movable for entry in state.of(name)):
        raise RefusedError(
            f"the port {name} has addresses, which would be cut off",
            remedy="remove them first; or declare it as the uplink of the bridge: they move then",
        )


# --- devices --------------------------------------------------------------------------------------


def _check_device(proposal: Proposal, change: Change) -> None:
    _check_name(proposal, change.key.name, change)


def _check_address(proposal: Proposal, change: Change) -> None:
    _check_name(proposal, names.parse_address(change.key.name)[0], change)


def _check_route(proposal: Proposal, change: Change) -> None:
    device = change.after.get("dev")
    if device is not None:
        _check_name(proposal, device, change)
    name = names.parse_route(change.key.name)
    _check_router(proposal, name, change.after)
    found = routes_named(proposal.state, name)
    if any(not (route.is_simple and route.is_unicast) for route in found):
        raise RefusedError(
            f"{change.key}: there is one that leads several ways or nowhere, and cannot be given"
            " back from what a document says of a route",
            remedy="give yours another metric, or take that one away first",
        )


def _check_router(proposal: Proposal, name: names.RouteName, wanted: Mapping[str, Any]) -> None:
    """Refuse a router that is on no link: the kernel would, in the middle."""
    router = ip_address(wanted["via"]) if wanted["via"] else None
    if router is None or router.is_link_local or wanted.get("onlink"):
        return
    if not any(router in link for link in proposal.links if link.version == router.version):
        raise not_on_the_link(RefusedError, name, wanted["via"], wanted.get("dev"))


def _check_name(proposal: Proposal, name: str, change: Change) -> None:
    if name not in proposal.devices:
        raise RefusedError(
            f"{change.key}: there is no network device {name}",
            remedy=f"{proposal.state.advice_on(name)}; a bridge or an internal port may be"
            " declared",
        )
    switch = proposal.state.switch_of(name)
    if switch is not None and switch.node:
        raise RefusedError(
            f"{change.key}: {name} belongs to the privacy router's bridge",
            remedy="leave it out; plugins.privacy_router takes care of it",
        )


def _check_mtu(proposal: Proposal, change: Change) -> None:
    state, name = proposal.state, change.key.name
    switch = state.switch_of(name)
    port = state.port(name)
    if switch is not None and not (switch.ours if port is None else port.ours):
        raise RefusedError(
            f"the MTU of {name} is Open vSwitch's to choose, and another program made {name}",
            remedy=f"leave mtu out for {name}, or set it with ovs-vsctl",
        )


def _check_dhcp(proposal: Proposal, change: Change) -> None:
    state, device = proposal.state, change.key.name
    if change.after is not False:
        return  # a client is given back
    managed = state.managed.get(device)
    if managed is not None and managed.dhcp:
        raise RefusedError(
            f"{managed.service} configures {device} by DHCP, and takes its addresses away when it"
            " stops to",
            remedy=_static_remedy(managed.service, device),
        )
    for process in state.clients_of(device):
        served = sorted(process.devices(state.devices))
        if process.program not in dhcp.ENDED_HERE:
            raise RefusedError(
                f"{process.program} configures {device}, and has no way to stop and leave it as"
                " it is",
                remedy=f"give {device} its address in /etc/network/interfaces or dhcpcd.conf"
                " (static), then declare it here",
            )
        if served != [device]:
            raise RefusedError(
                f"one {process.program} configures {', '.join(served)} together",
                remedy=f"give {device} a client of its own, then try again",
            )


def _static_remedy(service: str, device: str) -> str:
    if service == dhcp.NETWORKD:
        return (
            f"in the .network file of {device} set DHCP=no and its Address=, then networkctl"
            f" reload; or Unmanaged=yes in [Link] of it to leave {device} to this"
        )
    return f"nmcli connection modify … ipv4.method manual, or nmcli device set {device} managed no"


def _check_ipv6_ra(proposal: Proposal, change: Change) -> None:
    state, device = proposal.state, change.key.name
    managed = state.managed.get(device)
    if managed is not None and managed.ipv6_ra:
        setting = (
            "set IPv6AcceptRA= in its .network file"
            if managed.service == dhcp.NETWORKD
            else "set ipv6.method in its connection"
        )
        raise RefusedError(
            f"{managed.service} listens to the routers of {device} by itself",
            remedy=setting,
        )
    if device in state.devices and device not in state.accept_ra:
        raise RefusedError(
            f"{device} has no IPv6 on this machine", remedy=f"leave ipv6_ra out for {device}"
        )


# --- uplinks --------------------------------------------------------------------------------------


def _check_uplink(proposal: Proposal, change: Change) -> None:
    """Refuse an uplink whose move would cut the machine off."""
    name, bridge = change.key.name, change.after["bridge"]
    if bridge is None:
        return  # it goes back
    _check_uplink_device(proposal.state, name)
    _check_uplink_bridge(proposal.state, name, bridge)
    _check_uplink_routes(proposal.state, name)
    _check_no_other_owner(proposal, name, bridge)


def _check_uplink_device(state: NetState, name: str) -> None:
    device = state.devices.get(name)
    if device is None:
        raise RefusedError(
            f"the uplink {name}: there is no network device of that name",
            remedy=state.advice_on(name),
        )
    if not device.is_ethernet or state.switch_of(name) is not None:
        raise RefusedError(
            f"the uplink {name} cannot be a port of a bridge: it is no Ethernet device of its own",
            remedy="name the Ethernet device to the outside",
        )
    port = state.port(name)
    if device.master is not None and port is None:
        raise RefusedError(
            f"the uplink {name} is a port of {device.master} already",
            remedy=f"take it off {device.master} first",
        )
    if port is not None and not port.ours:
        raise RefusedError(
            f"another program made {name} a port of {port.bridge}",
            remedy="leave the uplink out: it is on a bridge already",
        )


def _check_uplink_bridge(state: NetState, name: str, bridge: str) -> None:
    found = (state.bridges or {}).get(bridge)
    if found is None:
        return
    if not found.ours:
        raise RefusedError(
            f"another program made the bridge {bridge}: it cannot take {name} over, or it would get"
            " its MAC and its addresses",
            remedy="name a bridge that is not there yet",
        )
    if found.fail_mode == "secure":
        raise RefusedError(
            f"the bridge {bridge} is secure: it drops what no flow lets through, so that the"
            " machine would lose its connection",
            remedy="set its fail_mode to standalone",
        )


def _check_uplink_routes(state: NetState, name: str) -> None:
    for route in state.routes:
        if name in route.devices and not route.is_simple and route.has_nexthop_object:
            raise RefusedError(
                f"the route to {route.destination} leads by a nexthop object, which stays on"
                f" {name}",
                remedy="write the router into the route itself (ip route replace … via …)",
            )


def _check_no_other_owner(proposal: Proposal, name: str, bridge: str) -> None:
    state = proposal.state
    managed = state.managed.get(name)
    if managed is not None:
        raise RefusedError(
            f"{managed.service} manages {name}, and would put its addresses there again",
            remedy=f"leave {name} to this: Unmanaged=yes in [Link] of its .network file, or nmcli"
            f" device set {name} managed no",
        )
    clients = state.clients_of(name)
    ended = {c.key.name for c in proposal.changes if c.key.kind == names.DHCP and not c.after}
    if clients and state.waits(name):
        raise RefusedError(
            f"{clients[0].program} has no address for {name} yet",
            remedy=f"try again when it has one (ip address show {name}), or end it yourself",
        )
    if clients and name not in ended:
        raise RefusedError(
            f"{clients[0].program} renews the addresses of {name}, and would put them there again",
            remedy=f"set plugins.net.interfaces.{name}.dhcp to false, too",
        )
    if bridge in {port for port in state.devices if state.clients_of(port)}:
        raise RefusedError(
            f"a DHCP client runs on {bridge}, which would replace the addresses of {name}",
            remedy=f"set plugins.net.interfaces.{bridge}.dhcp to false, too",
        )


_RULES: Final[Mapping[str, tuple[Callable[[Proposal, Change], None], ...]]] = {
    names.BRIDGE: (_check_bridge,),
    names.FAIL_MODE: (_check_bridge,),
    names.PORT: (_check_port,),
    names.UPLINK: (_check_uplink,),
    names.UP: (_check_device,),
    names.MTU: (_check_device, _check_mtu),
    names.DHCP: (_check_device, _check_dhcp),
    names.IPV6_RA: (_check_device, _check_ipv6_ra),
    names.ADDRESS: (_check_address,),
    names.OTHER_ADDRESSES: (_check_device,),
    names.ROUTE: (_check_route,),
}
