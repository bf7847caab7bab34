"""What would cut the machine off when its uplink moves, found before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.plugins.net import names

if TYPE_CHECKING:
    from privacy_router.engine.model import Change
    from privacy_router.plugins.net.checking import Proposal
    from privacy_router.plugins.net.reading import Machine


def check_uplink(proposal: Proposal, change: Change) -> None:
    """Raise RefusedError for an uplink that cannot move."""
    name, bridge = change.key.name, change.after["bridge"]
    if bridge is None:
        return  # it goes back
    _check_device(proposal.machine, name)
    _check_bridge(proposal.machine, name, bridge)
    _check_routes(proposal.machine, name)
    _check_nobody_else(proposal, name, bridge)


def _check_device(machine: Machine, name: str) -> None:
    device = machine.devices.get(name)
    if device is None:
        raise RefusedError(
            f"the uplink {name}: there is no network device of that name",
            remedy=machine.advice_on(name),
        )
    if not device.is_ethernet or machine.switch_of(name) is not None:
        raise RefusedError(
            f"the uplink {name} cannot be a port of a bridge: it is no Ethernet device of its own",
            remedy="name the Ethernet device to the outside",
        )
    port = machine.port(name)
    if device.master is not None and port is None:
        raise RefusedError(
            f"the uplink {name} is a port of {device.master} already",
            remedy=f"take it off {device.master} first",
        )
    if port is not None and not port.ours:
        raise RefusedError(
            f"somebody else made {name} a port of {port.bridge}",
            remedy="leave the uplink out: it is on a bridge already",
        )


def _check_bridge(machine: Machine, name: str, bridge: str) -> None:
    found = (machine.bridges or {}).get(bridge)
    if found is None:
        return
    if not found.ours:
        raise RefusedError(
            f"the bridge {bridge} was made by somebody else, and cannot take {name} over: it would"
            " get its MAC and its addresses",
            remedy="name a bridge that is not there yet",
        )
    if found.fail_mode == "secure":
        raise RefusedError(
            f"the bridge {bridge} is secure: it drops what no flow lets through, so that the"
            " machine would lose its connection",
            remedy="set its fail_mode to standalone",
        )


def _check_routes(machine: Machine, name: str) -> None:
    for route in machine.routes:
        if name in route.devices and not route.is_simple and route.has_nexthop_object:
            raise RefusedError(
                f"the route to {route.destination} leads by a nexthop object, which stays on"
                f" {name}",
                remedy="write the router into the route itself (ip route replace … via …)",
            )


def _check_nobody_else(proposal: Proposal, name: str, bridge: str) -> None:
    machine = proposal.machine
    managed = machine.managed.get(name)
    if managed is not None:
        raise RefusedError(
            f"{managed.service} manages {name}, and would put its addresses there again",
            remedy=f"leave {name} to this: Unmanaged=yes in [Link] of its .network file, or nmcli"
            f" device set {name} managed no",
        )
    clients = machine.clients_of(name)
    ended = {c.key.name for c in proposal.changes if c.key.kind == names.DHCP and not c.after}
    if clients and machine.waits(name):
        raise RefusedError(
            f"{clients[0].program} has no address for {name} yet",
            remedy=f"try again when it has one (ip address show {name}), or end it yourself",
        )
    if clients and name not in ended:
        raise RefusedError(
            f"{clients[0].program} renews the addresses of {name}, and would put them there again",
            remedy=f"set plugins.net.interfaces.{name}.dhcp to false, too",
        )
    if bridge in {port for port in machine.devices if machine.clients_of(port)}:
        raise RefusedError(
            f"a DHCP client runs on {bridge}, which would replace the addresses of {name}",
            remedy=f"set plugins.net.interfaces.{bridge}.dhcp to false, too",
        )
