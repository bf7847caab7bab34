"""Refuse changes of packages that would not work, or would do more than is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.plugins.packagekit.dry_run import exact_versions, may_go, require_allowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.engine.model import Desired
    from privacy_router.plugins.packagekit.dry_run import DryRun, PackageChanges
    from privacy_router.plugins.packagekit.packages import State
    from privacy_router.plugins.packagekit.transactions import Transactions


async def check(
    packagekit: Transactions, dry_run: DryRun, desired: Desired, packages: PackageChanges
) -> None:
    """Refuse what would not work, or would do more than is asked for."""
    if packages.pins and not await dry_run.is_apt():
        raise RefusedError(
            "a version can be kept from upgrades with apt only, and PackageKit uses another",
            remedy="leave the version out, or hold the package by other means",
        )
    states = await packagekit.states([*packages.wishes, *packages.removals])
    left = packages.left(states)
    await _require_known(dry_run, left, states)
    if left.wishes and await packagekit.is_offline():
        raise RefusedError(
            f"{', '.join(sorted(left.wishes))} cannot be fetched: PackageKit says that the"
            " machine is offline",
            remedy="connect it (a default route is what it looks for)",
            retryable=True,
        )
    allowed = may_go(desired, packages)
    for effects in await dry_run.effects(left, states):
        require_allowed(effects, allowed)


async def _require_known(
    dry_run: DryRun, packages: PackageChanges, states: Mapping[str, State]
) -> None:
    unknown = sorted(name for name in packages.wishes if name not in states)
    if unknown:
        raise RefusedError(
            f"no repository has a package {' or '.join(unknown)}",
            remedy="check the name, and refresh the lists: pkcon refresh",
        )
    for name, version in await dry_run.nowhere(exact_versions(packages.wishes)):
        raise RefusedError(
            f"no repository has {name} {version}",
            remedy=f"apt-cache madison {name} shows the versions that there are",
        )
