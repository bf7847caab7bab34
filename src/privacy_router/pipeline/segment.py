"""What the pipeline needs to know of the privacy segment: ports, their owners, who follows whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from privacy_router.pipeline.allocation import tracking_zone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


class SegmentPort(Protocol):
    """A port of the bridge that belongs to a hop."""

    @property
    def hop(self) -> str:
        """The hop's name."""

    @property
    def port(self) -> str:
        """The port's name."""

    @property
    def ofport(self) -> int:
        """The port's OpenFlow number."""

    @property
    def mac(self) -> str:
        """The only MAC that may speak behind the port."""

    def address(self, version: int) -> IPv4Address | IPv6Address:
        """The hop's own address on the segment, of that IP version."""


class Segment(Protocol):
    """The hops of one node on their bridge."""

    @property
    def ports(self) -> Sequence[SegmentPort]:
        """Every port of the segment."""

    @property
    def reserved_numbers(self) -> Sequence[int]:
        """The OpenFlow numbers of all hops that any configuration can have."""

    @property
    def edges(self) -> Sequence[tuple[SegmentPort, SegmentPort]]:
        """Who may hand packets to whom, outward and back; the chain's only ways."""

    @property
    def way_back(self) -> tuple[SegmentPort, SegmentPort] | None:
        """The turn at which packets to the clients leave the way that all others take."""

    @property
    def clients(self) -> tuple[IPv4Network, IPv6Network]:
        """Where the clients' inner addresses come from."""


def port_named(segment: Segment, name: str) -> SegmentPort | None:
    """The hop's port of that name, or None."""
    return next((port for port in segment.ports if port.port == name), None)


def hop_named(segment: Segment, hop: str) -> SegmentPort | None:
    """The port of that hop, or None when it is not enabled."""
    return next((port for port in segment.ports if port.hop == hop), None)


def tracking_zone_between(one: SegmentPort, other: SegmentPort) -> int:
    """The connection tracking zone of the stretch between two hops that are neighbours.

    A client's packet crosses the bridge once on each stretch; in one zone for all, the second
    crossing would look like a repetition of the first.
    """
    return tracking_zone(one.hop, other.hop)
