"""What a hop is: the one contract that the rest of the program knows hops by (pure).

A hop is declared once, by a subclass of `Hop`; what depends on the order (neighbours, edges,
tracking zones, flows) follows from its role and its place in the chain. To add one, see "Add a hop"
in CONTRIBUTING.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from privacy_router.chain.stations import place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.chain.order import Leg, Segment
    from privacy_router.chain.stations import Role, Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.keys import KeySet, NodeFacts, Part
    from privacy_router.values.items import Items
    from privacy_router.values.processes import ProcessSpec
    from privacy_router.values.wireguard import WireGuardConfig


@dataclass(frozen=True)
class HopContext:
    """What a hop's items are made from: the node's configuration, keys and facts, all stations, and
    the hop's own."""

    config: PrivacyRouterConfig
    keys: KeySet
    facts: NodeFacts
    segment: Segment
    station: Station

    @property
    def leg(self) -> Leg:
        """The leg that begins at the hop. Raises ValueError where none does."""
        found = self.segment.leg_from(self.station)
        if found is None:
            raise ValueError(f"no connections begin at the hop {self.station.hop}")
        return found


class Hop(ABC):
    """One kind of hop; the same object on every node.

    * `role`: its name, number and task on the segment, and its WireGuard device.
    * `programs`: the names of the processes that it may have beside that of its device.
    * `needs`: the parts of the node's keys without which it cannot be.
    * `packages`: the programs that it needs on the machine, by each the Debian package it is in.
    * `resets_connections`: its programs end TCP connections, whose peers are to hear of their end.
    """

    role: ClassVar[Role]
    programs: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[Part]] = frozenset()
    packages: ClassVar[Mapping[str, str]] = MappingProxyType({})
    resets_connections: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name of its role."""
        return self.role.name

    @property
    def processes_by_name(self) -> tuple[str, ...]:
        """The names of all processes that it may have."""
        return (*filter(None, [self.role.tunnel]), *self.programs)

    @abstractmethod
    def is_wanted(self, config: PrivacyRouterConfig, /) -> bool:
        """Whether the node of that configuration has this hop."""

    @abstractmethod
    def port(self, config: PrivacyRouterConfig, /) -> str:
        """The name of its bridge port, also where it is not wanted."""

    def mtu_bytes(self, _: PrivacyRouterConfig, /) -> int | None:
        """The largest packet for the way out behind it; None where that is the segment's."""
        return None

    def station(self, config: PrivacyRouterConfig) -> Station:
        """Its place on the segment."""
        return place(config, self.role, self.port(config), self.mtu_bytes(config))

    def completed(self, config: PrivacyRouterConfig, _: KeySet, /) -> PrivacyRouterConfig:
        """The configuration with what it leaves to this hop's keys."""
        return config

    @abstractmethod
    def items(self, context: HopContext, /) -> Items:
        """Its namespace, or its share of the host's: firewall, devices, addresses, routes."""

    def device(self, _: HopContext, /) -> WireGuardConfig | None:
        """What its WireGuard device is told; None without one, and while its keys are missing."""
        return None

    def processes(self, _: HopContext, /) -> Sequence[ProcessSpec]:
        """Its programs as they are to run; not the one of its WireGuard device."""
        return ()

    def run_files(self, _: Path, /) -> tuple[Path, ...]:
        """The files in the run directory that its programs are started with."""
        return ()


def namespace_path(station: Station) -> Path:
    """Where the network namespace of a station is bound. Raises ValueError for one in the host."""
    if station.namespace is None:
        raise ValueError(f"the hop {station.hop} is in the host's own namespace")
    return Path("/run/netns") / station.namespace
