"""The contract between the engine and a plugin.

A plugin knows one domain of the machine. It reads resources, says which changes lead to what a
section declares, makes them, and can go back. It keeps no state of its own between calls: the
machine is the state, and the journal holds what is needed to go back, so every method may be
called again after the daemon was killed in the middle of it.

Its folder below `plugins/` has one module for each stage that is more than a few lines, and it has
the stage's name: declare, observe, check, apply, rollback, watch; `plugin` has the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from privacy_router.engine.errors import not_as_asked
from privacy_router.engine.keeper import EngineKeeper
from privacy_router.engine.model import (
    AVAILABLE,
    Availability,
    Capability,
    Change,
    Desired,
    Observed,
    Resource,
    ResourceKey,
    Value,
    differences,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from privacy_router.engine.keeper import Keeper

Progress: TypeAlias = Callable[[str], None]
"""Takes a line of progress for a person; anything slow should call it now and then."""

EVERYTHING: Final = frozenset(Capability)


class Trust(Enum):
    """Whose document is planned.

    The daemon may open what a caller may not, so of a CALLER's document it opens no path that the
    document names and resolves no name. The OWNER's is the one that is kept, or root's.
    """

    OWNER = "owner"
    CALLER = "caller"


class Plugin(ABC):
    """One domain of the machine.

    `after` names the plugins whose changes come first; removals go the other way round, and so does
    rolling back. `timeout_s` is what a single call may take before the engine gives the run up.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    after: ClassVar[frozenset[str]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = EVERYTHING
    timeout_s: ClassVar[float] = 60.0

    @property
    def domains(self) -> frozenset[str]:
        """The names of the plugins in whose domains its resources are."""
        return frozenset({self.name})

    def keeper(self) -> Keeper:
        """Who keeps what its section declares, between runs and in them."""
        return EngineKeeper(self)

    @property
    def can_roll_back(self) -> bool:
        """Whether what this has done can be undone."""
        return Capability.ROLLBACK in self.capabilities

    async def availability(self) -> Availability:
        """Whether the service that this needs is here; asked anew before every run."""
        return AVAILABLE

    async def prepare(self, section: Any) -> None:  # noqa: B027
        """Make what `declare` needs and the machine does not show (keys, an account), and keep it.

        Called before a run and not for a mere plan. Raises PrivacyRouterError; nothing was touched.
        """

    @abstractmethod
    def declare(self, section: Any) -> Desired:
        """What the section of the document asks for; the section may be None. Touches nothing,
        and may be called in any thread.

        Raises RefusedError for what the models cannot know to be wrong.
        """

    def draft(self, section: Any, trust: Trust) -> Desired:  # noqa: ARG002
        """The same for a plan that is only shown: what is not known is marked, and nothing is made
        or looked up for it. The default is for plugins whose `declare` is pure."""
        return self.declare(section)

    @abstractmethod
    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """Read these resources, or with None those that a person would want to see.

        A value that is asked for by key is complete: it has every key that a section can declare
        of such a resource. Changes nothing.
        """

    async def observe(self, desired: Desired) -> Observed:
        """Read what `desired` is about, for comparing the two."""
        return await self.query(list(desired.resources))

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """The changes from `observed` to `desired`. Pure."""
        return differences(desired, observed)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:  # noqa: ARG002
        """Whether there is nothing any more to which that could be given back: a device that was
        unplugged, a unit whose package was purged. What `desired` itself brings back is not lost.
        Pure."""
        return False

    def lost_of(
        self, keys: Iterable[ResourceKey], desired: Desired, observed: Observed
    ) -> list[ResourceKey]:
        """Those of the keys that are lost."""
        return [key for key in sorted(keys) if self.is_lost(key, desired, observed)]

    def takes(
        self,
        desired: Desired,  # noqa: ARG002
        observed: Observed,  # noqa: ARG002
        changes: Sequence[Change],
    ) -> dict[ResourceKey, Value]:
        """What there was of that which a run takes over, to be given back once no document declares
        it any more: what the run changes, and what a repair may have to change in place of it."""
        return {change.key: change.before for change in changes}

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:  # noqa: B027
        """Refuse what is known not to work, before any plugin touches anything.

        Raises RefusedError, with the remedy.
        """

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """What `rollback` needs to undo these changes; it goes into the journal before the first
        of them is made. The default is what they change, as it is."""
        return [[change.key.kind, change.key.name, change.before] for change in changes]

    @abstractmethod
    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Make the changes, all of this plugin's domain; return when they are in force.

        `before` may be out of date, so each change is made from what is found. Raises
        PrivacyRouterError; what was done by then stays, and is rolled back by the engine.
        """

    async def verify(self, desired: Desired) -> list[Change]:
        """What is still different after `apply`, read anew; besides, the engine compares itself."""
        return self.diff(desired, await self.observe(desired))

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """Bring back what a checkpoint holds, after any part of the changes.

        May be called twice. Raises VerificationError when the machine does not become so.
        """
        desired = self.restoring(checkpoint)
        changes = await self.to_restore(desired, tell)
        if changes:
            await self.apply(desired, changes, tell)
            still = await self.to_restore(desired, tell)
            if still:
                raise not_as_asked(still, "does not go back to what it was")

    async def to_restore(self, desired: Desired, tell: Progress) -> list[Change]:
        """The changes that lead back to what was there, of what is not lost."""
        observed = await self.observe(desired)
        lost = self.lost_of(desired.resources, desired, observed)
        for key in lost:
            tell(f"{key} is gone, and given up")
        return self.diff(desired.without(lost), observed)

    def restoring(self, checkpoint: Value) -> Desired:
        """The default checkpoint as something to be desired."""
        return Desired(
            {
                ResourceKey(self.name, kind, name): Resource(before)
                for kind, name, before in checkpoint
            }
        )

    def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        """Yield whenever something of this domain that is kept as `desired` may have changed: a few
        words on what. More than that may be told.

        Ends, or raises PrivacyRouterError, when it cannot go on; it is started again later.
        An asynchronous generator.
        """
        return _nothing()

    def key(self, kind: str, name: str) -> ResourceKey:
        """A key in this plugin's domain."""
        return ResourceKey(self.name, kind, name)


async def _nothing() -> AsyncIterator[str]:
    never: tuple[str, ...] = ()
    for words in never:
        yield words
