"""A hop of its own, in tests alone: it hands on what reaches it, and has a program beside that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES
from privacy_router.chain.stations import Role, Task
from privacy_router.hops.hop import Hop, namespace_path
from privacy_router.hops.namespace import NamespaceItems, anywhere, networks_of
from privacy_router.values.network import FAMILY, Route, Rule
from privacy_router.values.processes import ProcessSpec
from tests.plan.relay_rules import ruleset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.chain.order import Leg
    from privacy_router.chain.stations import Station
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.values.items import Items

PORT, PROGRAM, NAMESPACE = "relay0", "relayd", "pr-relay"
_TABLES = 101


class Relay(Hop):
    """Hands on the connections of every leg that it is in."""

    role = Role("relay", 5, Task.RELAY)
    programs = (PROGRAM,)

    def is_wanted(self, _: PrivacyRouterConfig, /) -> bool:
        """On every node of the catalogue that it is in."""
        return True

    def port(self, _: PrivacyRouterConfig, /) -> str:
        """The same on every node."""
        return PORT

    def items(self, context: HopContext, /) -> Items:
        """What a leg's senders send goes on, and the answers to them go back; nothing else."""
        station = context.station
        space = NamespaceItems(NAMESPACE, forwards=True)
        senders = networks_of(context.segment.hands_on(station))
        space.firewall(ruleset(PORT, senders))
        space.join_segment(station, context.segment, TRANSIT_MTU_BYTES)
        legs = [leg for leg in context.segment.legs if station in leg.stations[1:-1]]
        for number, leg in enumerate(legs):
            _pass_on(space, leg, station, _TABLES + 2 * number)
        space.refuse_the_rest()
        return space.items

    def processes(self, context: HopContext, /) -> Sequence[ProcessSpec]:
        """A program in its namespace, with a file of settings."""
        (file,) = self.run_files(Path(context.facts.run_dir))
        place = namespace_path(context.station)
        return (
            ProcessSpec(
                PROGRAM, ("sleep", "infinity"), namespace=place, inputs=b"{}", input_file=file
            ),
        )

    def run_files(self, run_dir: Path, /) -> tuple[Path, ...]:
        """Its program's settings."""
        return (run_dir / "relay.json",)


def _pass_on(space: NamespaceItems, leg: Leg, station: Station, table: int) -> None:
    """From the leg's senders to the next hop, by that table; to them back, by the one after it."""
    for network in networks_of(leg.senders):
        version = network.version
        family = FAMILY[version]
        space.rule(Rule(100, table + 1, family, destination=network))
        space.rule(Rule(110, table, family, network, input_device=PORT))
        for number, way in ((table, leg.after(station)), (table + 1, leg.before(station))):
            space.route(Route(anywhere(version), way.address(version), PORT, table=number))
    for number in (table, table + 1):
        space.refuse_the_rest(number)
