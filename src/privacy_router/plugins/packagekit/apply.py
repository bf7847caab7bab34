"""Install and remove packages, each transaction after its dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from privacy_router.errors import VerificationError
from privacy_router.plugins.packagekit.dry_run import (
    DryRun,
    Effects,
    PackageChanges,
    exact_versions,
    installed_ids,
    may_go,
    package_ids,
    require_allowed,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from privacy_router.engine.model import Desired, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.packagekit.packages import State
    from privacy_router.plugins.packagekit.transactions import Transactions

Allowed: TypeAlias = "Collection[str] | None"
"""The packages that may be removed; None for any."""


class Applier:
    """Makes changes of packages. Methods raise PrivacyRouterError."""

    def __init__(self, packagekit: Transactions, dry_run: DryRun) -> None:
        self._packagekit = packagekit
        self._dry_run = dry_run

    async def run(self, desired: Desired, packages: PackageChanges, tell: Progress) -> None:
        """Install, then remove: what is to go may be needed by what is still to be replaced.

        What no repository has is left out, and told at the end.
        """
        allowed = may_go(desired, packages)
        packages = PackageChanges(await self._with_versions(packages.wishes), packages.removals)
        nowhere = dict(
            await self._dry_run.nowhere(
                exact_versions(packages.left(await self._now(packages)).wishes)
            )
        )
        wishes = {name: wish for name, wish in packages.wishes.items() if name not in nowhere}
        await self._install(PackageChanges(wishes), allowed, tell)
        await self._remove(PackageChanges(removals=packages.removals), allowed, tell)
        if nowhere:
            named = ", ".join(f"{name} {version}" for name, version in nowhere.items())
            raise VerificationError(
                f"no repository has {named} any more",
                remedy="install that version by hand (dpkg -i), or try pkcon refresh first",
            )

    async def _now(self, packages: PackageChanges) -> dict[str, State]:
        return await self._packagekit.states([*packages.wishes, *packages.removals])

    async def _with_versions(self, wishes: Mapping[str, Value]) -> dict[str, Value]:
        """With the newest version where that was not known before the pins changed."""
        names = [name for name, wish in wishes.items() if version_of(wish) is None]
        states = await self._packagekit.states(names)
        newest = {name: (state.offered or state.installed) for name, state in states.items()}
        return {
            name: {"version": one.version} if (one := newest.get(name)) else wish
            for name, wish in wishes.items()
        }

    async def _install(self, packages: PackageChanges, allowed: Allowed, tell: Progress) -> None:
        states = await self._now(packages)
        left = packages.left(states)
        if not left.wishes:
            return
        (effects,) = await self._dry_run.effects(left, states)
        require_allowed(effects, allowed)
        await self._warn(effects, tell)
        await self._packagekit.install(package_ids(left.wishes, states), tell)

    async def _remove(self, packages: PackageChanges, allowed: Allowed, tell: Progress) -> None:
        states = await self._now(packages)
        left = packages.left(states)
        if not left.removals:
            return
        (effects,) = await self._dry_run.effects(left, states)
        require_allowed(effects, allowed)
        await self._warn(effects, tell)
        await self._packagekit.remove(installed_ids(left.removals, states), tell)

    async def _warn(self, effects: Effects, tell: Progress) -> None:
        """Tell which versions would not come back."""
        before = await self._packagekit.states(effects)
        replaced = {name: state.version for name, state in before.items() if state.version}
        for name, version in await self._dry_run.nowhere(replaced):
            tell(f"{name} {version} is in no repository: once gone, it cannot come back by itself")
