"""All hops that there are, in the order of the chain (pure).

Where the program acts on hops that a node may have or may have had (observing, taking down, making
room), it asks the catalogue, and never spells a hop by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Final

from privacy_router.chain.order import Chain, Segment
from privacy_router.chain.stations import SWITCH_NAMESPACE, Task
from privacy_router.hops.exit.hop import HostExit
from privacy_router.hops.gateway.hop import Gateway
from privacy_router.hops.warp.hop import Warp
from privacy_router.hops.xray.hop import Xray

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.hop import Hop
    from privacy_router.hops.keys import Part


@dataclass(frozen=True)
class Catalogue:
    """Hops in the order in which a client's packet meets them.

    Raises ValueError when two of them have one name, number, tunnel or program.
    """

    hops: tuple[Hop, ...]

    def __post_init__(self) -> None:
        """What names a hop, or what is a hop's, names no other."""
        roles = [hop.role for hop in self.hops]
        for what in ([r.name for r in roles], [r.number for r in roles], self.processes):
            twice = [key for key, same in groupby(sorted(map(str, what))) if len([*same]) > 1]
            if twice:
                raise ValueError(f"more than one hop has {twice[0]}")

    def wanted(self, config: PrivacyRouterConfig) -> tuple[Hop, ...]:
        """The hops of the node of that configuration. The host is the way out only where no other
        hop is."""
        found = tuple(hop for hop in self.hops if hop.is_wanted(config))
        roles = [hop.role for hop in found]
        if any(role.task is Task.WAY_OUT and not role.in_host for role in roles):
            return tuple(hop for hop in found if not hop.role.in_host)
        return found

    def segment(self, config: PrivacyRouterConfig) -> Segment:
        """The chain of that configuration. Raises ValueError for one without a way out."""
        clients = (config.wireguard.client_subnet, config.wireguard.client_subnet6)
        stations = tuple(hop.station(config) for hop in self.wanted(config))
        return Segment((Chain(stations, clients),))

    def needs(self, config: PrivacyRouterConfig) -> frozenset[Part]:
        """The parts of the keys without which the node of that configuration cannot be."""
        return frozenset(part for hop in self.wanted(config) for part in hop.needs)

    def hop(self, name: str) -> Hop:
        """The hop of that name. Raises KeyError."""
        return {hop.name: hop for hop in self.hops}[name]

    def of_program(self, process: str) -> Hop | None:
        """The hop whose program a process of that name is; None for any other process."""
        return next((hop for hop in self.hops if process in hop.programs), None)

    def host_ports(self, config: PrivacyRouterConfig) -> tuple[str, ...]:
        """The bridge ports that a node of that configuration may have in the host's namespace."""
        return tuple(hop.port(config) for hop in self.hops if hop.role.in_host)

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace that a node may have; others of that prefix are none of its business."""
        named = (hop.role.namespace for hop in self.hops)
        return (*(name for name in named if name is not None), SWITCH_NAMESPACE)

    @cached_property
    def tunnels(self) -> tuple[str, ...]:
        """The WireGuard devices that a node may have."""
        return tuple(hop.role.tunnel for hop in self.hops if hop.role.tunnel is not None)

    @cached_property
    def processes(self) -> tuple[str, ...]:
        """The names of all processes of hops that a node may have."""
        return tuple(name for hop in self.hops for name in hop.processes_by_name)

    def run_files(self, run_dir: Path) -> tuple[Path, ...]:
        """The files in the run directory that hops' programs are started with."""
        return tuple(path for hop in self.hops for path in hop.run_files(run_dir))


CATALOGUE: Final = Catalogue((Gateway(), Warp(), Xray(), HostExit()))
