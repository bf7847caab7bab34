"""Everything of the switch that is numbered, given out in one place.

Cookies say whose a flow is, register 0 holds the zone, connection tracking has a zone for each
stretch between two hops, and every port has a meter for each kind of rate.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import combinations
from typing import TYPE_CHECKING

from privacy_router.chain.stations import FIRST_HOP_PORT, ROLES_MOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.chain.stations import Role, Station

OWNER = 0x5052 << 48  # "PR"
OWNER_MASK = 0xFFFF << 48
DECLARED_OWNER = 0x4F44 << 48  # "OD": what plugins.openflow declares on other bridges
_LAYER_SHIFT = 32
_OBJECT_MASK = 0xFFFFFFFF


class Layer(IntEnum):
    """Which part of the pipeline made a flow."""

    BASE = 1
    SECURITY = 2
    OBFUSCATION = 3
    PRIVACY = 4
    FUNCTION = 5
    POLICY = 6


def cookie(layer: Layer, port: int = 0) -> int:
    """The cookie of a layer's flows that are about one port (its OpenFlow number), or about none.

    48 to 63 the owner, 32 to 47 the layer, 0 to 31 the port.
    """
    return OWNER | int(layer) << _LAYER_SHIFT | port


def layer_of(value: int) -> Layer | None:
    """The layer that a cookie names, or None when the flow is not ours."""
    if value & OWNER_MASK != OWNER:
        return None
    try:
        return Layer((value & ~OWNER_MASK) >> _LAYER_SHIFT)
    except ValueError:
        return None


def port_of(value: int) -> int:
    """The port that a cookie names; 0 for none."""
    return value & _OBJECT_MASK


ZONE_REGISTER = "reg0"


class Zone(IntEnum):
    """The segment that a packet belongs to, in register 0 from the first table on."""

    PRIVACY = 1
    MESH = 2


# Connection tracking's zones are the whole machine's where the datapath is the kernel's, and the
# low ones are popular.
_FIRST_TRACKING_ZONE = 0x5052
MESH_TRACKING_ZONE = _FIRST_TRACKING_ZONE


_SWAPPED = {(1, 4): (3, 4), (3, 4): (1, 4)}
"""XRay and the host's exit had the fourth zone before zones followed from the roles' numbers."""


def tracking_zone(one: Role, other: Role) -> int:
    """The connection tracking zone of the stretch between hops of two roles, in either order.

    Each pair of roles has a zone of its own for good: a connection that one chain remembers is
    never taken for one of another chain. Pairs are counted by the higher number, then by the lower.
    """
    pair = (min(one.number, other.number), max(one.number, other.number))
    lower, higher = _SWAPPED.get(pair, pair)
    return MESH_TRACKING_ZONE + (higher - 1) * (higher - 2) // 2 + lower


def tracking_zone_between(one: Station, other: Station) -> int:
    """The connection tracking zone of the stretch between two hops that are neighbours.

    A client's packet crosses the bridge once on each stretch; in one zone for all, the second
    crossing would look like a repetition of the first.
    """
    return tracking_zone(one.role, other.role)


def tracking_zones(roles: Iterable[Role]) -> set[int]:
    """The connection tracking zones of all stretches that there can be between such hops."""
    return {tracking_zone(*pair) for pair in combinations(roles, 2)}


_HOP_PORTS_MOST = ROLES_MOST + 1


class Rate(IntEnum):
    """What a port's meters limit."""

    ARP = 0
    ICMP = 1
    SYN = 2
    DNS = 3


def meter_id(rate: Rate, port: int) -> int:
    """The meter of a port. Dense: Open vSwitch refuses numbers beyond the count that it supports,
    which for the kernel's datapath depends on the memory. Hops come first, then all other ports."""
    is_hop = port >= FIRST_HOP_PORT
    place = port - FIRST_HOP_PORT if is_hop else port + _HOP_PORTS_MOST
    return place * len(Rate) + int(rate)
