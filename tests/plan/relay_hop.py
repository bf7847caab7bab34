"""A hop of its own, in tests alone: it hands on what reaches it, and has a program beside that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES
from privacy_router.chain.stations import Role, Task
from privacy_router.hops.catalogue import CATALOGUE, Catalogue
from privacy_router.hops.firewall import ACCEPT, came_in_by, closed, from_, goes_out_by, rule, to
from privacy_router.hops.hop import Hop, namespace_path
from privacy_router.hops.namespace import NamespaceItems, anywhere, networks_of
from privacy_router.values.network import FAMILY, Route, Rule
from privacy_router.values.processes import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.hops.namespace import Items
    from privacy_router.values.network import Network
    from privacy_router.values.rulesets import Ruleset

PORT, PROGRAM, NAMESPACE = "relay0", "relayd", "pr-relay"
_FORTH, _BACK = 101, 102


class Relay(Hop):
    """Hands on the connections of every leg that it is in."""

    role = Role("relay", 5, Task.RELAY)
    programs = (PROGRAM,)

    def is_wanted(self, _: PrivacyRouterConfig) -> bool:
        """On every node of the catalogue that it is in."""
        return True

    def port(self, _: PrivacyRouterConfig, /) -> str:
        """The same on every node."""
        return PORT

    def items(self, context: HopContext) -> Items:
        """What a leg's senders send goes on, and the answers to them go back; nothing else."""
        station = context.station
        space = NamespaceItems(NAMESPACE, forwards=True)
        senders = networks_of(context.segment.hands_on(station))
        space.firewall(_ruleset(senders))
        space.join_segment(station, context.segment, TRANSIT_MTU_BYTES)
        for leg in context.segment.legs:
            if station in leg.stations[1:-1]:
                for network in networks_of(leg.senders):
                    family = FAMILY[network.version]
                    space.rule(Rule(100, _BACK, family, destination=network))
                    space.rule(Rule(110, _FORTH, family, network, input_device=PORT))
                    ways = ((_FORTH, leg.after(station)), (_BACK, leg.before(station)))
                    for table, way in ways:
                        gateway = way.address(network.version)
                        space.route(Route(anywhere(network.version), gateway, PORT, table=table))
        space.refuse_the_rest()
        return space.items

    def processes(self, context: HopContext) -> Sequence[ProcessSpec]:
        """A program in its namespace, with a file of settings."""
        (file,) = self.run_files(Path(context.facts.run_dir))
        place = namespace_path(context.station)
        return (ProcessSpec(PROGRAM, (PROGRAM,), namespace=place, inputs=b"{}", input_file=file),)

    def run_files(self, run_dir: Path, /) -> tuple[Path, ...]:
        """Its program's settings."""
        return (run_dir / "relay.json",)


def _ruleset(senders: Sequence[Network]) -> Ruleset:
    through = [came_in_by(PORT), goes_out_by(PORT)]
    rules = closed()
    for network in senders:
        rules += [
            rule("forward", *through, from_(network), ACCEPT),
            rule("forward", *through, to(network), ACCEPT),
        ]
    return rules


def with_relay_behind(name: str) -> Catalogue:
    """All hops, and the relay behind the one of that name."""
    found: list[Hop] = []
    for hop in CATALOGUE.hops:
        found += [hop, Relay()] if hop.name == name else [hop]
    return Catalogue(tuple(found))
