"""Make the machine have packages, after it is known what that would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.errors import VerificationError
from privacy_router.plugins.packagekit import apt
from privacy_router.plugins.packagekit.declaring import ANY, LATEST
from privacy_router.plugins.packagekit.rehearsal import (
    Effects,
    Work,
    effects_of,
    may_go,
    require_allowed,
    require_versions,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from privacy_router.engine.model import Desired, Value
    from privacy_router.engine.plugin import Tell
    from privacy_router.plugins.packagekit.packages import State
    from privacy_router.plugins.packagekit.transactions import Transactions
    from privacy_router.plugins.place import Place

_APT = "apt"


class Making:
    """Changes of packages. Methods raise PrivacyRouterError."""

    def __init__(self, place: Place, packagekit: Transactions) -> None:
        self._place = place
        self._packagekit = packagekit

    # --- before anything is touched ----------------------------------------------------------

    async def check(self, desired: Desired, work: Work) -> None:
        """Refuse what would not work, or would do more than is asked for."""
        if work.pins and await self._packagekit.backend() != _APT:
            raise RefusedError(
                "a version can be kept from upgrades with apt only, and PackageKit uses another",
                remedy="leave the version out, or hold the package by other means",
            )
        states = await self._packagekit.states([*work.wishes, *work.removals])
        left = work.left(states)
        await self._require_known(left, states)
        if left.wishes and await self._packagekit.is_offline():
            raise RefusedError(
                f"{', '.join(sorted(left.wishes))} cannot be fetched: PackageKit says that the"
                " machine is offline",
                remedy="connect it (a default route is what it looks for)",
                retryable=True,
            )
        allowed = may_go(desired, work)
        for effects in await self._rehearsed(left, states):
            require_allowed(effects, allowed)

    async def _require_known(self, work: Work, states: Mapping[str, State]) -> None:
        unknown = sorted(name for name in work.wishes if name not in states)
        if unknown:
            raise RefusedError(
                f"no repository has a package {' or '.join(unknown)}",
                remedy="check the name, and refresh the lists: pkcon refresh",
            )
        for name, version in await self._nowhere(_exact(work.wishes)):
            raise RefusedError(
                f"no repository has {name} {version}",
                remedy=f"apt-cache madison {name} shows the versions that there are",
            )

    async def _nowhere(self, wishes: Mapping[str, str]) -> list[tuple[str, str]]:
        """Which of these versions no repository has, as far as that can be known."""
        if not wishes or await self._packagekit.backend() != _APT:
            return []
        there = await apt.versions(wishes)
        return [(name, version) for name, version in wishes.items() if version not in there[name]]

    async def along(self, work: Work) -> dict[str, Value]:
        """The packages that come, change or go besides those of the work, as they are now."""
        named = {*work.wishes, *work.removals}
        left = work.left(await self._packagekit.states(named))
        states = await self._packagekit.states([*left.wishes, *left.removals])
        touched = {n for effects in await self._rehearsed(left, states) for n in effects} - named
        before = await self._packagekit.states(touched)
        return {name: _as_it_is(before.get(name)) for name in touched}

    async def _rehearsed(self, work: Work, states: Mapping[str, State]) -> list[Effects]:
        found = []
        if work.wishes:
            found.append(await self._rehearsed_wishes(work, states))
        if work.removals:
            ids = _installed_ids(work.removals, states)
            rows = await self._packagekit.remove(ids, simulate=True)
            found.append(effects_of(rows, await self._packagekit.naming()))
        return found

    async def _rehearsed_wishes(self, work: Work, states: Mapping[str, State]) -> Effects:
        if work.pins:
            wishes = {name: _version(wish) for name, wish in work.wishes.items()}
            effects = await apt.rehearse(self._place, wishes, work.pins)
        else:
            rows = await self._packagekit.install(_ids(work.wishes, states), simulate=True)
            effects = effects_of(rows, await self._packagekit.naming())
        require_versions(effects, _exact(work.wishes))
        return effects

    # --- touching it -------------------------------------------------------------------------

    async def make(self, desired: Desired, work: Work, tell: Tell) -> None:
        """Install, then remove: what is to go may be needed by what is still to be replaced.

        What no repository has is left out, and told at the end.
        """
        allowed = may_go(desired, work)
        work = Work(await self._with_versions(work.wishes), work.removals)
        nowhere = dict(await self._nowhere(_exact(work.left(await self._now(work)).wishes)))
        wishes = {name: wish for name, wish in work.wishes.items() if name not in nowhere}
        await self._install(Work(wishes), allowed, tell)
        await self._remove(Work(removals=work.removals), allowed, tell)
        if nowhere:
            named = ", ".join(f"{name} {version}" for name, version in nowhere.items())
            raise VerificationError(
                f"no repository has {named} any more",
                remedy="install that version by hand (dpkg -i), or try pkcon refresh first",
            )

    async def _now(self, work: Work) -> dict[str, State]:
        return await self._packagekit.states([*work.wishes, *work.removals])

    async def _with_versions(self, wishes: Mapping[str, Value]) -> dict[str, Value]:
        """With the newest version where that was not known before the pins changed."""
        names = [name for name, wish in wishes.items() if _version(wish) is None]
        states = await self._packagekit.states(names)
        newest = {name: (state.offered or state.installed) for name, state in states.items()}
        return {
            name: {"version": one.version} if (one := newest.get(name)) else wish
            for name, wish in wishes.items()
        }

    async def _install(self, work: Work, allowed: Collection[str] | None, tell: Tell) -> None:
        states = await self._now(work)
        left = work.left(states)
        if not left.wishes:
            return
        (effects,) = await self._rehearsed(left, states)
        require_allowed(effects, allowed)
        await self._warn(effects, tell)
        await self._packagekit.install(_ids(left.wishes, states), tell)

    async def _remove(self, work: Work, allowed: Collection[str] | None, tell: Tell) -> None:
        states = await self._now(work)
        left = work.left(states)
        if not left.removals:
            return
        (effects,) = await self._rehearsed(left, states)
        require_allowed(effects, allowed)
        await self._warn(effects, tell)
        await self._packagekit.remove(_installed_ids(left.removals, states), tell)

    async def _warn(self, effects: Effects, tell: Tell) -> None:
        """Tell which versions would not come back."""
        before = await self._packagekit.states(effects)
        replaced = {name: state.version for name, state in before.items() if state.version}
        for name, version in await self._nowhere(replaced):
            tell(f"{name} {version} is in no repository: once gone, it cannot come back by itself")


def _version(wish: Value) -> str | None:
    """The version; None while it is not known which."""
    version = str(wish["version"])
    return None if version in {ANY, LATEST} else version


def _exact(wishes: Mapping[str, Value]) -> dict[str, str]:
    found = {name: _version(wish) for name, wish in wishes.items()}
    return {name: version for name, version in found.items() if version is not None}


def _ids(wishes: Mapping[str, Value], states: Mapping[str, State]) -> list[str]:
    found = (
        states[name].package_id(wish["version"], automatic=bool(wish.get("automatic")))
        for name, wish in wishes.items()
        if name in states
    )
    return [one for one in found if one is not None]


def _installed_ids(names: Iterable[str], states: Mapping[str, State]) -> Sequence[str]:
    found = (states[name].installed for name in names if name in states)
    return [one.id for one in found if one is not None]


def _as_it_is(state: State | None) -> Value:
    if state is None or state.installed is None:
        return None
    return {"version": state.installed.version, "automatic": state.installed.automatic}
