"""The domains whose resources come from `privacy_router`: containers, the chain, the mesh.

What they keep is made by the plugin `privacy_router` as one, whose plan shows its changes under
their names; the section `privacy` of a document means such a node, too (`Plugins.node`). Here they
say whether the machine has what they work with.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import AVAILABLE, Availability, Capability, Desired, Observed
from privacy_router.engine.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine


@dataclass(frozen=True)
class Part:
    """A domain: its name, what it is about, and what has to be on the machine."""

    name: str
    title: str
    available: Callable[[Machine], Availability]


def _always(_: Machine) -> Availability:
    return AVAILABLE


def _program(name: str, reason: str, remedy: str) -> Callable[[Machine], Availability]:
    def look(machine: Machine) -> Availability:
        places = ":".join(str(machine.path(f"{top}bin")) for top in ("/usr/", "/usr/s", "/", "/s"))
        there = shutil.which(name, path=places) or shutil.which(name)
        return AVAILABLE if there else Availability(reason, remedy)

    return look


PARTS: Final = (
    Part("lxc", "Namespaces and containers of the hops", _always),
    Part("privacy", "The chain: tunnels, firewalls and processes of the hops", _always),
    Part(
        "netmaker",
        "The mesh of the containers",
        _program(
            "netclient",
            "no Netmaker client (netclient) is installed",
            "install netclient and join the network; the tunnel does not need it",
        ),
    ),
)


class PartPlugin(Plugin):
    """One of the domains."""

    capabilities = frozenset({Capability.ROLLBACK})

    def __init__(self, part: Part, machine: Machine) -> None:
        self.name = part.name  # type: ignore[misc]
        self.title = part.title  # type: ignore[misc]
        self._part = part
        self._machine = machine

    async def availability(self) -> Availability:
        """Whether the machine has what this works with."""
        return self._part.available(self._machine)

    def declare(self, section: Any) -> Desired:
        """Nothing of its own."""
        if section is not None:
            raise RefusedError(
                f"plugins.{self.name} is no section of its own",
                remedy="write it into plugins.privacy_router",
            )
        return Desired()

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """Nothing of its own: `privacy_router` reads what is in this domain."""
        del keys
        return Observed()

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Changes of this domain are made by `privacy_router`, as a whole."""
        del desired, tell
        if changes:
            raise RefusedError(f"{self.name} changes nothing by itself")
