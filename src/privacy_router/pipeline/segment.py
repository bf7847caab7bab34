"""What the pipeline needs to know of the privacy segment: ports, their owners, who follows whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network


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


class Segment(Protocol):
    """The hops of one node on their bridge."""

    @property
    def ports(self) -> Sequence[SegmentPort]:
        """Every port of the segment."""

    @property
    def edges(self) -> Sequence[tuple[SegmentPort, SegmentPort]]:
        """Who may hand packets to whom, outward and back; the chain's only ways."""

    @property
    def way_back(self) -> tuple[SegmentPort, SegmentPort] | None:
        """The turn at which packets to the clients leave the way that all others take."""

    @property
    def clients(self) -> tuple[IPv4Network, IPv6Network]:
        """Where the clients' inner addresses come from."""
