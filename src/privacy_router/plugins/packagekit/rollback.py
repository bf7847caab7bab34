"""What comes, changes or goes along with changes of packages, so that it can be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.engine.model import Value
    from privacy_router.plugins.packagekit.dry_run import DryRun, PackageChanges
    from privacy_router.plugins.packagekit.packages import State
    from privacy_router.plugins.packagekit.transactions import Transactions


async def along(
    packagekit: Transactions, dry_run: DryRun, packages: PackageChanges
) -> dict[str, Value]:
    """The packages that come, change or go besides the named ones, as they are now."""
    named = {*packages.wishes, *packages.removals}
    left = packages.left(await packagekit.states(named))
    states = await packagekit.states([*left.wishes, *left.removals])
    touched = {n for effects in await dry_run.effects(left, states) for n in effects} - named
    before = await packagekit.states(touched)
    return {name: _as_it_is(before.get(name)) for name in touched}


def _as_it_is(state: State | None) -> Value:
    if state is None or state.installed is None:
        return None
    return {"version": state.installed.version, "automatic": state.installed.automatic}
