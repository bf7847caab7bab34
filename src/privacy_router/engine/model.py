"""What the engine reasons about: resources as they should be, as they are, and the way between.

Desired, observed and change are types of their own, so that none can be taken for another. The
values in them are JSON values (None, bool, int, float, str, list, dict with str keys): they go
into the journal, over D-Bus and on the screen as they are, and hold no secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from privacy_router.values.changes import KeyedChange

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

Value: TypeAlias = Any
"""A JSON value; None stands for "not there"."""


class Mode(StrEnum):
    """What is done about a difference."""

    ENFORCE = "enforce"
    OBSERVE_ONLY = "observe-only"


@dataclass(frozen=True, order=True)
class ResourceKey:
    """What a resource is about: the plugin in whose domain it is, its kind, its name there."""

    plugin: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.plugin} {self.kind} {self.name}"


@dataclass(frozen=True)
class Resource:
    """One resource as it should be.

    A dict as `value` says only what matters: keys that it does not name are left as they are.
    """

    value: Value
    mode: Mode = Mode.ENFORCE


@dataclass(frozen=True)
class Desired:
    """What one plugin's section asks for; `payload` is the plugin's own business.

    `caller_pid` is the process that called for this run over D-Bus; None for a run of the daemon's
    own (a start, a signal, a repair).
    """

    resources: Mapping[ResourceKey, Resource] = field(default_factory=dict)
    payload: Any = field(default=None, repr=False)
    caller_pid: int | None = None

    def without(self, keys: Collection[ResourceKey]) -> Desired:
        """The same, but for these resources."""
        return replace(self, resources={k: r for k, r in self.resources.items() if k not in keys})


@dataclass(frozen=True)
class Observed:
    """Resources as they were read from the machine; one that is not there has no entry."""

    values: Mapping[ResourceKey, Value] = field(default_factory=dict)

    def canonical(self) -> bytes:
        """The same bytes for the same state."""
        rows = [
            [key.plugin, key.kind, key.name, self.values[key]]
            for key in sorted(self.values)
            if self.values[key] is not None
        ]
        return canonical_json(rows).encode()


@dataclass(frozen=True)
class Change(KeyedChange[ResourceKey, Value]):
    """One difference of a resource.

    `before` says no more than `after` asks for (see `project`), so that going back touches nothing
    else. `by` names the plugin whose section asks for it, where that is another's, and `note` says
    what of it is not known in a plan.
    """

    mode: Mode = Mode.ENFORCE
    by: str = ""
    note: str = ""


@dataclass(frozen=True)
class Availability:
    """Whether a plugin can work on this machine, and if not, why and what to do about it."""

    reason: str = ""
    remedy: str = ""

    def __bool__(self) -> bool:
        return not self.reason


AVAILABLE = Availability()


class Capability(StrEnum):
    """What a plugin can do beyond reading."""

    APPLY = "apply"
    ROLLBACK = "rollback"
    OBSERVE_ONLY = "observe-only"


def canonical_json(value: Value) -> str:
    """JSON with sorted keys and no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def project(observed: Value, pattern: Value) -> Value:
    """Of `observed` what `pattern` has an opinion on: the same keys, at every depth of dicts."""
    if isinstance(observed, dict) and isinstance(pattern, dict):
        return {key: project(observed.get(key), wanted) for key, wanted in pattern.items()}
    return observed


def differences(desired: Desired, observed: Observed) -> list[Change]:
    """The changes that turn `observed` into `desired`, by key."""
    return list(_differences(desired.resources, observed.values))


def _differences(
    resources: Mapping[ResourceKey, Resource], values: Mapping[ResourceKey, Value]
) -> Iterator[Change]:
    for key in sorted(resources):
        wanted = resources[key]
        before = project(values.get(key), wanted.value)
        if before != wanted.value:
            yield Change(key, before, wanted.value, wanted.mode)


def enforced(changes: Iterable[Change]) -> list[Change]:
    """Those that are to be made; the others are only reported."""
    return [change for change in changes if change.mode is Mode.ENFORCE]
