"""Have the kernel and the switch forget what they remember of flows and connections.

What was decided once is remembered: the datapath keeps the actions of a flow, connection tracking
the verdict, the translation and the state of a connection. What was decided for another chain, or
for the connections of a program that has ended, must not decide about those that come after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.chain.stations import Task
from privacy_router.hops.exit.firewall import CONNECTION_MARK
from privacy_router.host import conntrack, namespaces, unixctl
from privacy_router.node.places import bridge_socket
from privacy_router.pipeline.allocation import (
    tracking_zone,
    tracking_zone_between,
    tracking_zones,
)
from privacy_router.plan.stages import places_to_forget
from privacy_router.values.items import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from privacy_router.hops.hop import Hop
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change

_log = structlog.get_logger()

# ovs-appctl: each returns once the datapath has none any more
_FORGET_FLOWS: Final = "revalidator/purge"
_FORGET_CONNECTIONS: Final = "dpctl/flush-conntrack"
_ANSWER_S: Final = 1.0


def forget_flows(machine: NodeHost) -> None:
    """Have the datapath ask for every packet anew: what it remembers was made of the old flows.

    Raises UnixctlError.
    """
    socket = unixctl.switch_socket(machine.management_socket_dir)
    unixctl.call(socket, _FORGET_FLOWS)


def forget_connections(changes: Sequence[Change], desired: DesiredState, machine: NodeHost) -> None:
    """Forget the connections whose verdict, translation or stretch was another chain's, after those
    changes."""
    for place in places_to_forget(changes):
        if place == HOST:
            conntrack.forget(None, CONNECTION_MARK)
        elif namespaces.exists(place):
            conntrack.forget(namespaces.path_of(place))
    used = {tracking_zone_between(*edge) for edge in desired.pipeline.segment.edges}
    unused = tracking_zones(hop.role for hop in machine.hops.hops) - used
    forget_zones(unused, bridge_socket(machine, desired.bridge.name))


def forget_connections_of(hop: Hop, desired: DesiredState, machine: NodeHost) -> None:
    """Forget what the last program of a hop (XRay) left of its connections on their way out, before
    the next one begins any.

    The kernel may give a new connection the source port of an old one. Connection tracking that has
    not seen the end of the old one takes the first packet of the new one for a forged one.
    """
    segment = desired.pipeline.segment
    station = segment.station(hop.name)
    leg = None if station is None else segment.leg_from(station)
    for other in leg.stations[1:] if leg is not None else ():
        if other.namespace is None:
            conntrack.forget(None, CONNECTION_MARK)
        elif namespaces.exists(other.namespace):
            conntrack.forget(namespaces.path_of(other.namespace))
    zones = {tracking_zone_between(*link) for link in (leg.links if leg is not None else ())}
    roles = [other.role for other in machine.hops.hops if other.role.task is Task.WAY_OUT]
    zones |= {tracking_zone(hop.role, role) for role in roles}
    forget_zones(sorted(zones), bridge_socket(machine, desired.bridge.name))


def forget_zones(zones: Iterable[int], bridge: Path) -> None:
    """Forget all connections of these zones; `bridge` is the socket at which the switch takes
    OpenFlow for a bridge, beside which its control socket is.

    A switch that does not answer is passed over: one that starts has an empty memory, and one
    that hangs is started anew.

    The datapath is not named: Open vSwitch 3.1 takes its name for a part of the connection. Where
    the machine's own has two kinds of datapaths it refuses, and old connections time out.
    """
    if not bridge.is_socket():
        return  # there is no bridge, and no datapath
    try:
        socket = unixctl.switch_socket(bridge.parent)
        for zone in zones:
            unixctl.call(socket, _FORGET_CONNECTIONS, f"zone={zone}", timeout_s=_ANSWER_S)
    except unixctl.UnixctlRefusedError as error:
        _log.warning("the switch does not forget old connections", reason=error.message)
    except unixctl.UnixctlError as error:
        _log.debug("the switch does not forget old connections", reason=error.message)
