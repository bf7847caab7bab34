"""What would happen, found out before it does, and whether that may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode
from privacy_router.plugins.packagekit import apt
from privacy_router.plugins.packagekit.declare import ANY, LATEST, PACKAGE, PIN, Wanted
from privacy_router.plugins.packagekit.failures import untrusted
from privacy_router.plugins.packagekit.packages import COMING, GOING, Info

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from privacy_router.engine.model import Change, Desired, Value
    from privacy_router.plugins.packagekit.packages import Naming, Package, State
    from privacy_router.plugins.packagekit.transactions import Transactions
    from privacy_router.plugins.target import Machine

_APT: Final = "apt"

Effects = dict[str, "str | None"]
"""By package: the version that it comes to, None when it goes."""


@dataclass(frozen=True)
class PackageChanges:
    """Changes of packages, by name: which version each is to have, and which are to go."""

    wishes: Mapping[str, Value] = field(default_factory=dict)
    removals: Sequence[str] = ()
    pins: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, changes: Iterable[Change]) -> PackageChanges:
        """What the changes come to."""
        of_kind = {
            kind: {c.key.name: c.after for c in changes if c.key.kind == kind}
            for kind in (PACKAGE, PIN)
        }
        packages = of_kind[PACKAGE]
        return cls(
            {name: after for name, after in packages.items() if after is not None},
            sorted(name for name, after in packages.items() if after is None),
            of_kind[PIN],
        )

    def left(self, states: Mapping[str, State]) -> PackageChanges:
        """What of it is still to be done on a machine where this is so."""
        known = {name: state.version for name, state in states.items()}
        wishes = {
            name: wish for name, wish in self.wishes.items() if known.get(name) != wish["version"]
        }
        return PackageChanges(
            wishes, [name for name in self.removals if known.get(name)], self.pins
        )


class DryRun:
    """What changes of packages would do on a machine, and which versions there are. Methods raise
    PrivacyRouterError."""

    def __init__(self, machine: Machine, packagekit: Transactions) -> None:
        self._machine = machine
        self._packagekit = packagekit

    async def is_apt(self) -> bool:
        """Whether apt is behind PackageKit: of others no version can be known or pinned."""
        return await self._packagekit.backend() == _APT

    async def nowhere(self, wishes: Mapping[str, str]) -> list[tuple[str, str]]:
        """Which of these versions no repository has, as far as that can be known."""
        if not wishes or not await self.is_apt():
            return []
        there = await apt.versions(wishes)
        return [(name, version) for name, version in wishes.items() if version not in there[name]]

    async def effects(self, packages: PackageChanges, states: Mapping[str, State]) -> list[Effects]:
        """What each of the transactions would do: installing, then removing."""
        found = []
        if packages.wishes:
            found.append(await self._effects_of_wishes(packages, states))
        if packages.removals:
            ids = installed_ids(packages.removals, states)
            rows = await self._packagekit.remove(ids, simulate=True)
            found.append(effects_of(rows, await self._packagekit.naming()))
        return found

    async def _effects_of_wishes(
        self, packages: PackageChanges, states: Mapping[str, State]
    ) -> Effects:
        if packages.pins:
            wishes = {name: version_of(wish) for name, wish in packages.wishes.items()}
            effects = await apt.dry_run(self._machine, wishes, packages.pins)
        else:
            rows = await self._packagekit.install(
                package_ids(packages.wishes, states), simulate=True
            )
            effects = effects_of(rows, await self._packagekit.naming())
        require_versions(effects, exact_versions(packages.wishes))
        return effects


def effects_of(rows: Iterable[Package], naming: Naming) -> Effects:
    """What a simulation says. Raises RefusedError for what has no signature."""
    rows = list(rows)
    unsigned = {naming.name_of(row) for row in rows if row.info == Info.UNTRUSTED}
    if unsigned:
        raise untrusted(sorted(unsigned))
    effects: Effects = {naming.name_of(row): row.version for row in rows if row.info in COMING}
    going = {naming.name_of(row) for row in rows if row.info in GOING}
    return effects | {name: None for name in going if name not in effects}


def may_go(desired: Desired, packages: PackageChanges) -> frozenset[str] | None:
    """Which packages may be removed; None for any."""
    if isinstance(desired.payload, Wanted) and desired.payload.allow_remove_dependents:
        return None
    unwanted = {
        key.name
        for key, wanted in desired.resources.items()
        if key.kind == PACKAGE and wanted.value is None and wanted.mode is Mode.ENFORCE
    }
    return frozenset(unwanted.union(packages.removals))


def require_allowed(effects: Effects, allowed: Collection[str] | None) -> None:
    """Refuse when others would go along. Raises RefusedError."""
    going = {name for name, version in effects.items() if version is None}
    others = sorted(going.difference(allowed if allowed is not None else going))
    if others:
        raise RefusedError(
            f"{', '.join(others)} would be removed along, which the document does not ask for",
            remedy='declare them "removed" too, or set "allow_remove_dependents" to true',
        )


def require_versions(effects: Effects, wishes: Mapping[str, str]) -> None:
    """Refuse when other versions would come than were asked for: PackageKit takes what there is
    for what there is not. Raises RefusedError."""
    for name, version in wishes.items():
        if effects.get(name) != version:
            would = f"{effects[name]} would" if effects.get(name) else "nothing would"
            raise RefusedError(
                f"{name} {version} cannot be had: {would} be installed in its place",
                remedy=f"apt-cache policy {name} shows the versions that there are, and pins",
            )


def version_of(wish: Value) -> str | None:
    """The version; None while it is not known which."""
    version = str(wish["version"])
    return None if version in {ANY, LATEST} else version


def exact_versions(wishes: Mapping[str, Value]) -> dict[str, str]:
    """Of the wishes those that name a version."""
    found = {name: version_of(wish) for name, wish in wishes.items()}
    return {name: version for name, version in found.items() if version is not None}


def package_ids(wishes: Mapping[str, Value], states: Mapping[str, State]) -> list[str]:
    """The package ids by which PackageKit installs these versions."""
    found = (
        states[name].package_id(wish["version"], automatic=bool(wish.get("automatic")))
        for name, wish in wishes.items()
        if name in states
    )
    return [one for one in found if one is not None]


def installed_ids(names: Iterable[str], states: Mapping[str, State]) -> Sequence[str]:
    """The package ids of what is installed of these."""
    found = (states[name].installed for name in names if name in states)
    return [one.id for one in found if one is not None]
