"""Tell what has to be changed (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.model import Change, Mode, differences, project
from privacy_router.plugins.systemd.names import DROP_IN, FILE, PROPERTY, UNIT, concerns, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.engine.model import Desired, Observed, Resource, ResourceKey, Value


def compare(desired: Desired, observed: Observed) -> list[Change]:
    """The changes, by key.

    A unit that is restarted because of its files stands among them with the same value before and
    after.
    """
    changes = [c for c in differences(desired, observed) if not _is_satisfied(c)]
    changed = {change.key for change in changes}
    restarted = [c for c in _restarts(desired, observed, changes) if c.key not in changed]
    return sorted([*changes, *restarted], key=lambda change: change.key)


def is_lost(key: ResourceKey, desired: Desired, observed: Observed) -> bool:
    """Whether a unit is gone, so that neither its state nor its properties can be given back,
    unless its file is."""
    if key.kind not in {UNIT, PROPERTY} or key in observed.values:
        return False
    return not any(
        other.kind == FILE and concerns(FILE, other.name, unit_of(key.name)) and wanted.value
        for other, wanted in desired.resources.items()
    )


def units_to_restart(desired: Desired, changes: Iterable[Change]) -> Iterator[ResourceKey]:
    """The units that are declared active and must not run on with files that these changes
    replace. The payload of `desired` names those that are left alone all the same."""
    files = [
        change.key
        for change in changes
        if change.key.kind in {FILE, DROP_IN} and change.mode is Mode.ENFORCE
    ]
    for key in declared_active(desired.resources):
        spared = key.name in (desired.payload or ())
        if not spared and any(concerns(file.kind, file.name, key.name) for file in files):
            yield key


def declared_active(resources: Mapping[ResourceKey, Resource]) -> list[ResourceKey]:
    """The units that are to be kept running."""
    return sorted(
        key
        for key, wanted in resources.items()
        if key.kind == UNIT and wanted.mode is Mode.ENFORCE and (wanted.value or {}).get("active")
    )


def _restarts(desired: Desired, observed: Observed, changes: Iterable[Change]) -> Iterator[Change]:
    for key in units_to_restart(desired, changes):
        found = observed.values.get(key)
        if found is not None and found["active"]:
            wanted = desired.resources[key].value
            yield Change(key, project(found, wanted), wanted)


def _is_satisfied(change: Change) -> bool:
    """Whether the difference is none that matters."""
    if change.key.kind == UNIT:
        # What is not there is not active either, and the other way round.
        return not _does_anything(change.before) and not _does_anything(change.after)
    if change.key.kind == PROPERTY:
        return _same_property(change.before, change.after)
    return False


def _does_anything(value: Value) -> bool:
    return value is not None and any(value.values())


def _same_property(before: Value, after: Value) -> bool:
    """A property that is declared has to have its value, however it came by it. One that is given
    back must not be set any more; what it then is, its unit's files say."""
    if after is None or after["stored"] is None:
        return before is None or before["stored"] is None
    return before is not None and bool(before["value"] == after["value"])
