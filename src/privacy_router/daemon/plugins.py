"""Which plugins the daemon has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from privacy_router.engine.model import Availability, Capability, Desired, Observed
from privacy_router.engine.plugin import Plugin
from privacy_router.errors import MissingPrerequisiteError
from privacy_router.plugins.privacy_router import PARTS, PartPlugin
from privacy_router.plugins.target import MACHINE_PLUGINS, make

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine

_log = structlog.get_logger()


def all_plugins(machine: Machine, node: Plugin) -> list[Plugin]:
    """Every plugin of the seed; `node` is the one of the whole node."""
    made = [_made(name, machine) for name in MACHINE_PLUGINS]
    return [*made, *(PartPlugin(part, machine) for part in PARTS), node]


def _made(name: str, machine: Machine) -> Plugin:
    try:
        return make(name, machine)
    except ImportError as error:
        _log.error("plugin not loaded", plugin=name, reason=str(error))
        return BrokenPlugin(name, str(error))


class BrokenPlugin(Plugin):
    """Stands for a plugin whose library does not load; the others go on without it."""

    title = "cannot be loaded"
    capabilities = frozenset({Capability.ROLLBACK})

    def __init__(self, name: str, reason: str) -> None:
        self.name = name  # type: ignore[misc]
        self._reason = reason

    async def availability(self) -> Availability:
        """Never."""
        return Availability(f"it cannot be loaded: {self._reason}", "install the program anew")

    def declare(self, section: Any) -> Desired:
        """Nothing can be declared."""
        del section
        return Desired()

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """Nothing can be seen."""
        del keys
        return Observed()

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Nothing can be changed. Raises MissingPrerequisiteError."""
        del desired, changes, tell
        raise MissingPrerequisiteError(f"{self.name} cannot be loaded: {self._reason}")
