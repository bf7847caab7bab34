"""Values, resources and changes of the engine in types of D-Bus (pure).

A caller who may look may not look into files that only root may read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from dbus_fast import Variant
from dbus_fast.annotations import DBusSignature

from privacy_router.host.file_state import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.engine.model import Change, Observed, Value

_INT64_MAX = 2**63 - 1

Row = tuple[str, str, str, str, dict[str, Variant]]
Changed = Annotated[list[Row], DBusSignature("a(ssssa{sv})")]
"""Verb, plugin, kind, name; and `before`, `after`, `by`, `note` (left out where there is none), and
`mode`."""
Resources = Annotated[list[tuple[str, str, str, Variant]], DBusSignature("a(sssv)")]
"""Plugin, kind, name, value."""


def variant(value: Value) -> Variant:
    """A JSON value: objects are a{sv} and lists av; what is null is left out of them."""
    if isinstance(value, bool):
        return Variant("b", value)
    if isinstance(value, int):
        return Variant("x", value) if value <= _INT64_MAX else Variant("t", value)
    if isinstance(value, float):
        return Variant("d", value)
    if isinstance(value, dict):
        present = {key: variant(item) for key, item in value.items() if item is not None}
        return Variant("a{sv}", present)
    if isinstance(value, list | tuple):
        return Variant("av", [variant(item) for item in value if item is not None])
    return Variant("s", "" if value is None else str(value))


def changed(changes: Iterable[Change]) -> list[Row]:
    """Changes as rows."""
    return [
        (change.verb, change.key.plugin, change.key.kind, change.key.name, _details(change))
        for change in changes
    ]


def _details(change: Change) -> dict[str, Variant]:
    sides = {"before": change.before, "after": change.after}
    known = {name: value for name, value in sides.items() if value is not None}
    found = {name: variant(redacted(value)) for name, value in known.items()}
    said = {"by": change.by, "note": change.note}
    words = {name: Variant("s", text) for name, text in said.items() if text}
    return {**found, "mode": Variant("s", change.mode.value), **words}


def resources(observed: Observed) -> list[tuple[str, str, str, Variant]]:
    """What was read, by key."""
    values = observed.values
    return [(k.plugin, k.kind, k.name, variant(redacted(values[k]))) for k in sorted(values)]
