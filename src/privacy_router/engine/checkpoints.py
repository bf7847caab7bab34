"""Named checkpoints: keep what is declared and what is there, look at it later, go back to it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import (
    NothingToUndoError,
    RefusedError,
    UnknownCheckpointError,
)
from privacy_router.engine.journal import Checkpoint, Phase
from privacy_router.engine.model import ResourceKey
from privacy_router.engine.transaction import observed_rows
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.engine.engine import Engine, Outcome
    from privacy_router.engine.model import Change

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_AUTOMATIC: Final = "before-run-"


class Checkpoints:
    """The checkpoints of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._journal = engine.journal

    async def make(self, name: str) -> Checkpoint:
        """Keep the present under a name, in place of an older checkpoint of that name.

        Raises RefusedError for a name that cannot be one.
        """
        if not _NAME.match(name) or name.startswith(_AUTOMATIC):
            raise RefusedError(
                f"{name!r} cannot be the name of a checkpoint",
                remedy="take letters, digits, dots, dashes and underscores, at most 64, and none"
                f" that begins with {_AUTOMATIC}",
            )
        source = self._engine.source
        rows = observed_rows(await self._engine.preview(source))
        made = Checkpoint(name, time.time(), False, source, rows)
        await in_thread(self._journal.save, made)
        return made

    async def all(self) -> Sequence[Checkpoint]:
        """All of them, newest first."""
        return await in_thread(self._journal.checkpoints)

    async def find(self, name: str = "") -> Checkpoint:
        """The checkpoint of that name, or without one the newest automatic one.

        Raises UnknownCheckpointError.
        """
        known = await self.all()
        for one in known:
            if one.name == name or (not name and one.automatic):
                return one
        names = ", ".join(one.name for one in known[:5]) or "none"
        raise UnknownCheckpointError(
            f"there is no checkpoint {name}" if name else "there is no checkpoint",
            remedy=f"there are: {names} (privacy-router checkpoint list)",
        )

    async def difference(self, name: str) -> list[Change]:
        """What has changed on the machine since then: `before` is now, `after` was then."""
        one = await self.find(name)
        then = {ResourceKey(*key): value for *key, value in one.observed}
        found: list[Change] = []
        for name, plugin in sorted(self._engine.plugins.items()):
            recorded = {key: value for key, value in then.items() if key.plugin == name}
            found += await plugin.keeper().since(self._engine, one.source, recorded)
        return found

    async def restore(
        self, name: str = "", confirm_within_s: float = 0.0, *, caller_pid: int | None = None
    ) -> Outcome:
        """Apply the document of then, by which all that was taken over since is given back.

        Without a name what the last run has changed is taken back. Raises NothingToUndoError where
        that is so already.
        """
        if not name:
            await self._require_run_to_undo()
        one = await self.find(name)
        return await self._engine.apply(one.source, confirm_within_s, caller_pid=caller_pid)

    async def _require_run_to_undo(self) -> None:
        runs = await in_thread(self._journal.runs, 1)
        if runs and runs[0].phase is Phase.UNDONE:
            newest = await self.find()
            raise NothingToUndoError(
                f"run {runs[0].number} is undone already: {runs[0].reason}",
                remedy=f"to go further back: privacy-router rollback {newest.name}",
            )

    async def drop(self, name: str) -> None:
        """Forget one. Raises UnknownCheckpointError."""
        await self.find(name)
        await in_thread(self._journal.drop_checkpoint, name)

    async def prune(self, keep: int) -> int:
        """Forget the automatic ones but the newest; how many went."""
        return await in_thread(self._journal.prune, keep)
