"""Who keeps what a plugin's section declares, between runs and in them.

`EngineKeeper` has the engine do it. A plugin that runs its own watch loop, releases resources and
verifies itself has an `OwnKeeper`. The engine asks the keeper and never what kind of plugin it is.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from privacy_router.engine.calls import bounded
from privacy_router.engine.model import Change, enforced
from privacy_router.engine.reconcile import RepairLoop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.engine.document import Source
    from privacy_router.engine.engine import Engine
    from privacy_router.engine.model import Desired, Observed, ResourceKey, Value
    from privacy_router.engine.plugin import Plugin
    from privacy_router.engine.reconcile import DriftListener


class Loop(Protocol):
    """Watches what is kept of one plugin, and repairs it.

    `trouble` says what cannot be put right or watched, `drift` what was found different last and
    when (seconds since 1970), and `deviations` what is only observed and is different now.
    """

    @property
    def trouble(self) -> str: ...

    @property
    def drift(self) -> tuple[float, Sequence[Change]]: ...

    @property
    def deviations(self) -> Sequence[Change]: ...

    def refresh(self) -> None:
        """What is kept may have changed."""

    async def run(self) -> None:
        """Until cancelled."""


class Keeper(ABC):
    """Keeps the resources of one plugin, and says what of a run is left to the engine."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin

    @abstractmethod
    def loop(self, engine: Engine, listener: DriftListener) -> Loop:
        """The loop that watches what is kept."""

    @abstractmethod
    async def keep(self, desired: Desired) -> None:
        """From now on that is what is to be kept."""

    @abstractmethod
    def has_share(self, section: Any, managed: Mapping[ResourceKey, Value]) -> bool:
        """Whether the plugin takes part in a run: by its section, which may be None, or by what it
        has taken over before."""

    @abstractmethod
    def takes(
        self, desired: Desired, observed: Observed, changes: Sequence[Change]
    ) -> dict[ResourceKey, Value]:
        """What there was of the resources that a run takes over, for the engine to give back."""

    @abstractmethod
    def steps(self, changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
        """What is made when plugins remove, in the reverse of their order, and what is made when
        they add and change."""

    @abstractmethod
    async def left(self, desired: Desired) -> list[Change]:
        """What is different after a run made its changes. Raises what reading the machine does."""

    @abstractmethod
    def recorded(self, desired: Desired, observed: Observed) -> dict[ResourceKey, Value]:
        """What a checkpoint holds of this plugin besides the document; None: it was not there."""

    @abstractmethod
    async def since(
        self, engine: Engine, source: Source, recorded: Mapping[ResourceKey, Value]
    ) -> list[Change]:
        """What has changed since a checkpoint of that document: `before` is now, `after` was then.

        `recorded` is what the checkpoint holds of this plugin.
        """


class EngineKeeper(Keeper):
    """The engine watches, gives back and verifies."""

    def loop(self, engine: Engine, listener: DriftListener) -> RepairLoop:
        """One that compares whenever the plugin's watch says something, and each minute."""
        return RepairLoop(engine, self.plugin, listener)

    async def keep(self, desired: Desired) -> None:
        """The loop finds it in `Engine.kept`."""

    def has_share(self, section: Any, managed: Mapping[ResourceKey, Value]) -> bool:
        """With a section, or with something to give back."""
        return section is not None or bool(managed)

    def takes(
        self, desired: Desired, observed: Observed, changes: Sequence[Change]
    ) -> dict[ResourceKey, Value]:
        """As the plugin says."""
        return self.plugin.takes(desired, observed, changes)

    def steps(self, changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
        """Removals, and the rest."""
        return _parted(changes)

    async def left(self, desired: Desired) -> list[Change]:
        """What the plugin says, which is not simply believed: the engine reads and compares."""
        plugin = self.plugin
        left = enforced(await bounded(plugin, "verify", plugin.verify(desired)))
        if left:
            return left
        again = await bounded(plugin, "read its state", plugin.observe(desired))
        return enforced(plugin.diff(desired, again))

    def recorded(self, desired: Desired, observed: Observed) -> dict[ResourceKey, Value]:
        """All resources of the run."""
        return {key: observed.values.get(key) for key in desired.resources}

    async def since(
        self,
        engine: Engine,  # noqa: ARG002
        source: Source,  # noqa: ARG002
        recorded: Mapping[ResourceKey, Value],
    ) -> list[Change]:
        """By what was recorded then, and is read now."""
        if not recorded:
            return []
        plugin = self.plugin
        now = (await bounded(plugin, "read its state", plugin.query(list(recorded)))).values
        return [
            Change(key, now.get(key), recorded[key])
            for key in sorted(recorded)
            if now.get(key) != recorded[key]
        ]


class OwnKeeper(Keeper):
    """The plugin runs its own watch loop, releases resources and verifies itself; the engine does
    none of these. It has an order of its own, and gets all changes of a run at once."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """What the plugin's own loop cannot put right or watch."""

    def loop(self, engine: Engine, listener: DriftListener) -> Loop:  # noqa: ARG002
        """What the plugin's own loop says."""
        return _OwnLoop(self)

    def has_share(self, section: Any, managed: Mapping[ResourceKey, Value]) -> bool:  # noqa: ARG002
        """Always: only the plugin knows what it has to release."""
        return True

    def takes(
        self,
        desired: Desired,  # noqa: ARG002
        observed: Observed,  # noqa: ARG002
        changes: Sequence[Change],  # noqa: ARG002
    ) -> dict[ResourceKey, Value]:
        """Nothing for the engine to give back."""
        return {}

    def steps(self, changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
        """All in one."""
        removals, others = _parted(changes)
        return ([], list(changes)) if others else (removals, [])

    async def left(self, desired: Desired) -> list[Change]:
        """What the plugin says."""
        return enforced(await bounded(self.plugin, "verify", self.plugin.verify(desired)))

    def recorded(self, desired: Desired, observed: Observed) -> dict[ResourceKey, Value]:  # noqa: ARG002
        """Nothing: the document brings its hundreds of resources back."""
        return {}

    async def since(
        self,
        engine: Engine,
        source: Source,
        recorded: Mapping[ResourceKey, Value],  # noqa: ARG002
    ) -> list[Change]:
        """By what the document of then would change now."""
        return (await engine.preview(source, [self.plugin])).changes


class _OwnLoop:
    """Stands for the loop that a plugin runs by itself."""

    drift: tuple[float, Sequence[Change]] = (0.0, ())
    deviations: Sequence[Change] = ()

    def __init__(self, keeper: OwnKeeper) -> None:
        self._keeper = keeper

    @property
    def trouble(self) -> str:
        return self._keeper.trouble

    def refresh(self) -> None:
        """`OwnKeeper.keep` has said it already."""

    async def run(self) -> None:
        """Leave it to the plugin."""
        await asyncio.Event().wait()


def _parted(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    removals = [change for change in changes if change.after is None]
    return removals, [change for change in changes if change.after is not None]
