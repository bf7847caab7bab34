"""What follows from the order of the hops: who hands which packets to whom (pure).

A chain is its stations in the order in which a client's packet meets them. Its connections go in
legs: a leg begins where connections begin (at the entrance, at a proxy) and ends where they end (at
a proxy, at the way out). In `gateway warp xray` the clients' leg is gateway → warp → xray, and
XRay's own goes back to the way out: xray → warp. Each pair of neighbours of a leg is an edge, there
and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from itertools import pairwise
from typing import TYPE_CHECKING

from privacy_router.chain.stations import FIRST_HOP_PORT, ROLES_MOST, Station, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = IPv4Address | IPv4Network | IPv6Address | IPv6Network
Edge = tuple[Station, Station]
Clients = tuple[IPv4Network, IPv6Network]


@dataclass(frozen=True)
class Traffic:
    """Packets of one IP version, by their source or destination, and `text`, which says what they
    are: `answers to clients`."""

    text: str
    version: int
    source: Place | None = None
    destination: Place | None = None


@dataclass(frozen=True)
class Leg:
    """Connections that begin at the first station, pass the others in this order, and are answered
    the way back. `senders` are the addresses that they begin from."""

    stations: tuple[Station, ...]
    senders: tuple[Place, ...]

    @property
    def first(self) -> Station:
        """Where the connections begin."""
        return self.stations[0]

    @property
    def last(self) -> Station:
        """Where the connections end, or leave the segment."""
        return self.stations[-1]

    @property
    def of_clients(self) -> bool:
        """Whether they are the clients' own connections."""
        return self.first.role.task is Task.ENTRANCE

    @property
    def sender(self) -> str:
        """Whose connections they are."""
        return "clients" if self.of_clients else self.first.hop

    @property
    def links(self) -> tuple[Edge, ...]:
        """Each two neighbours, in the direction in which connections begin."""
        return tuple(pairwise(self.stations))

    def before(self, station: Station) -> Station:
        """The neighbour towards the beginning. Raises IndexError at the first station."""
        position = self.stations.index(station)
        if not position:
            raise IndexError(f"nothing comes before {station.hop}")
        return self.stations[position - 1]

    def after(self, station: Station) -> Station:
        """The neighbour towards the end. Raises IndexError at the last station."""
        return self.stations[self.stations.index(station) + 1]


@dataclass(frozen=True)
class Chain:
    """Stations in the order in which a packet of `clients` meets them.

    Raises ValueError unless exactly one of them is a way out, and an entrance comes first.
    """

    stations: tuple[Station, ...]
    clients: Clients

    def __post_init__(self) -> None:
        """Refuses an order that leads nowhere, or in the clear."""
        if len(self._of(Task.WAY_OUT)) != 1:
            raise ValueError("a chain needs one way out: WARP, or the host's exit behind XRay")
        if any(station.role.task is Task.ENTRANCE for station in self.stations[1:]):
            raise ValueError("clients enter at the first hop of a chain or not at all")

    def _of(self, task: Task) -> list[Station]:
        return [station for station in self.stations if station.role.task is task]

    @property
    def way_out(self) -> Station:
        """The station that leads out."""
        return self._of(Task.WAY_OUT)[0]

    @cached_property
    def legs(self) -> tuple[Leg, ...]:
        """The legs of its connections, from the clients on."""
        ends = [*self._of(Task.ENTRANCE), *self._of(Task.PROXY), self.way_out]
        return tuple(Leg(self._between(*two), self._senders(two[0])) for two in pairwise(ends))

    def _between(self, first: Station, last: Station) -> tuple[Station, ...]:
        """Both and what is between them, in that direction."""
        start, end = self.stations.index(first), self.stations.index(last)
        if start < end:
            return self.stations[start : end + 1]
        return self.stations[end : start + 1][::-1]

    def _senders(self, first: Station) -> tuple[Place, ...]:
        if first.role.task is Task.ENTRANCE:
            return self.clients
        return tuple(first.address(version) for version in (4, 6))


@dataclass(frozen=True)
class Segment:
    """The privacy segment of a node: its chains, which may share stations. Each chain has clients
    of its own; the configuration makes one chain."""

    chains: tuple[Chain, ...]

    @cached_property
    def clients(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of all clients, also of a node that takes none in."""
        return tuple(dict.fromkeys(one for chain in self.chains for one in chain.clients))

    @cached_property
    def stations(self) -> tuple[Station, ...]:
        """Every station once, in the order of the chains. Each has a port of the bridge."""
        return tuple(dict.fromkeys(s for chain in self.chains for s in chain.stations))

    @cached_property
    def legs(self) -> tuple[Leg, ...]:
        """The legs of all chains."""
        return tuple(dict.fromkeys(leg for chain in self.chains for leg in chain.legs))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Who may hand packets to whom on the bridge, there and back."""
        return tuple(self._traffic)

    @property
    def reserved_numbers(self) -> tuple[int, ...]:
        """The OpenFlow numbers of all roles that there may be, also of those that no chain has."""
        return tuple(FIRST_HOP_PORT + number for number in range(1, ROLES_MOST + 1))

    @cached_property
    def _traffic(self) -> dict[Edge, tuple[Traffic, ...]]:
        """What takes each edge."""
        found: dict[Edge, dict[Traffic, None]] = {}
        for leg in self.legs:
            for source, target in leg.links:
                for sender in leg.senders:
                    begins = Traffic(f"from {leg.sender}", sender.version, source=sender)
                    found.setdefault((source, target), {})[begins] = None
                    text = f"answers to {leg.sender}"
                    answers = Traffic(text, sender.version, destination=sender)
                    found.setdefault((target, source), {})[answers] = None
        return {edge: tuple(traffic) for edge, traffic in found.items()}

    def parting(self, edge: Edge) -> tuple[Traffic, ...]:
        """What takes an edge that is not for everything that its source sends: one that leads to
        clients, or beside which the source has another. Empty for the edge that takes the rest.
        Raises KeyError for an edge that there is not."""
        traffic = self._traffic[edge]
        if self.answers_clients(edge) == traffic:
            return traffic
        return () if edge[1] == self._main_target(edge[0]) else traffic

    def _main_target(self, source: Station) -> Station:
        """Where everything goes that no other edge takes: onward in the order of the chain."""
        targets = [target for origin, target in self._traffic if origin == source]
        position = self.stations.index(source)
        return next((one for one in targets if self.stations.index(one) > position), targets[0])

    def answers_clients(self, edge: Edge) -> tuple[Traffic, ...]:
        """The answers to clients that take an edge."""
        return tuple(one for one in self._traffic[edge] if one.destination in self._entered)

    @cached_property
    def _entered(self) -> frozenset[Place]:
        return frozenset(sender for leg in self.legs if leg.of_clients for sender in leg.senders)

    def hands_on(self, station: Station) -> tuple[Place, ...]:
        """The addresses of others from which a station sends, since it hands their packets on."""
        legs = [leg for leg in self.legs if station in leg.stations[1:-1]]
        return tuple(sender for leg in legs for sender in leg.senders)

    def leg_from(self, station: Station) -> Leg | None:
        """The leg that begins there, or None."""
        return next((leg for leg in self.legs if leg.first == station), None)

    def legs_to(self, station: Station) -> tuple[Leg, ...]:
        """The legs that end there."""
        return tuple(leg for leg in self.legs if leg.last == station)

    def client_legs(self, station: Station) -> tuple[Leg, ...]:
        """The clients' legs that reach that station, and do not begin there."""
        return tuple(leg for leg in self.legs if leg.of_clients and station in leg.stations[1:])

    @cached_property
    def entrance(self) -> Station | None:
        """The station where clients come in, or None where none does."""
        return next((one for one in self.stations if one.role.task is Task.ENTRANCE), None)

    @cached_property
    def in_host(self) -> Station | None:
        """The station in the host's own namespace, or None where there is none."""
        return next((one for one in self.stations if one.role.in_host), None)

    def port_named(self, name: str) -> Station | None:
        """The station behind the port of that name, or None."""
        return next((station for station in self.stations if station.port == name), None)

    def station(self, hop: str) -> Station | None:
        """The station of the hop of that name, or None where no chain has it."""
        return next((station for station in self.stations if station.hop == hop), None)

    def peers_of(self, station: Station) -> Iterator[Station]:
        """The other stations of the segment."""
        return (other for other in self.stations if other != station)
