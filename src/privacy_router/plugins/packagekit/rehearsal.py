"""What would happen, found out before it does, and whether that may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode
from privacy_router.plugins.packagekit.declaring import PACKAGE, PIN, Wanted
from privacy_router.plugins.packagekit.failures import untrusted
from privacy_router.plugins.packagekit.packages import COMING, GOING, Info

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from privacy_router.engine.model import Change, Desired, Value
    from privacy_router.plugins.packagekit.packages import Naming, Package, State

Effects = dict[str, "str | None"]
"""By package: the version that it comes to, None when it goes."""


@dataclass(frozen=True)
class Work:
    """Changes of packages, by name: which version each is to have, and which are to go."""

    wishes: Mapping[str, Value] = field(default_factory=dict)
    removals: Sequence[str] = ()
    pins: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Work:
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

    def left(self, states: Mapping[str, State]) -> Work:
        """What of it is still to be done on a machine where this is so."""
        known = {name: state.version for name, state in states.items()}
        wishes = {
            name: wish for name, wish in self.wishes.items() if known.get(name) != wish["version"]
        }
        return Work(wishes, [name for name in self.removals if known.get(name)], self.pins)


def effects_of(rows: Iterable[Package], naming: Naming) -> Effects:
    """What a simulation says. Raises RefusedError for what nobody signed."""
    rows = list(rows)
    unsigned = {naming.name_of(row) for row in rows if row.info == Info.UNTRUSTED}
    if unsigned:
        raise untrusted(sorted(unsigned))
    effects: Effects = {naming.name_of(row): row.version for row in rows if row.info in COMING}
    going = {naming.name_of(row) for row in rows if row.info in GOING}
    return effects | {name: None for name in going if name not in effects}


def may_go(desired: Desired, work: Work) -> frozenset[str] | None:
    """Which packages may be removed; None for any."""
    if isinstance(desired.payload, Wanted) and desired.payload.allow_remove_dependents:
        return None
    unwanted = {
        key.name
        for key, wanted in desired.resources.items()
        if key.kind == PACKAGE and wanted.value is None and wanted.mode is Mode.ENFORCE
    }
    return frozenset(unwanted.union(work.removals))


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
