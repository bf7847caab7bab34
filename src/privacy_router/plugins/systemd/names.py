"""Names of units, and what they say about each other (pure); systemd.unit(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = "file"
DROP_IN: Final = "drop-in"
UNIT: Final = "unit"
PROPERTY: Final = "property"
"""The kinds of resource. A drop-in is called `UNIT/NAME.conf`, a property `UNIT/NAME`."""

WITHOUT_FILES: Final = frozenset({"device", "scope"})
WITH_RESOURCES: Final = frozenset({"service", "socket", "mount", "swap", "slice", "scope"})
"""Types of unit that have a control group, and so its properties."""

_TYPES: Final = WITHOUT_FILES | WITH_RESOURCES | {"automount", "path", "target", "timer"}
_OWN_STEMS: Final = ("op-dbus", "privacy-router")
_OWN_PREFIX: Final = "privacy-router-"
_BUSES: Final = frozenset({"dbus.service", "dbus.socket", "dbus-broker.service"})


def type_of(unit: str) -> str:
    """`service` of `nginx.service`."""
    return unit.rpartition(".")[2]


def stem_of(unit: str) -> str:
    """`nginx` of `nginx.service`."""
    return unit.rpartition(".")[0]


def is_unit(name: str) -> bool:
    """Whether a file of that name is about a unit."""
    return type_of(name) in _TYPES and stem_of(name) != ""


def is_template(unit: str) -> bool:
    """Whether this is a template (`getty@.service`), which has to be given an instance."""
    return stem_of(unit).endswith("@")


def template_of(unit: str) -> str | None:
    """`getty@.service` of `getty@tty1.service`; None of a unit that is no instance."""
    prefix, at, instance = stem_of(unit).partition("@")
    return f"{prefix}@.{type_of(unit)}" if at and instance else None


def unit_of(name: str) -> str:
    """The unit that a drop-in or a property is of."""
    return name.partition("/")[0]


def names_with_drop_ins(unit: str) -> Iterator[str]:
    """All names whose drop-ins concern this unit: its own, its template's, and those that end in a
    dash: `foo-.service` of `foo-bar.service`."""
    yield unit
    template = template_of(unit)
    if template is not None:
        yield template
    parts = stem_of(unit).partition("@")[0].split("-")
    for count in range(1, len(parts)):
        yield f"{'-'.join(parts[:count])}-.{type_of(unit)}"


def concerns(kind: str, name: str, unit: str) -> bool:
    """Whether a file or a drop-in is one of those that this unit is made of."""
    if kind == FILE:
        return name in {unit, template_of(unit)}
    return kind == DROP_IN and unit_of(name) in names_with_drop_ins(unit)


def is_own(unit: str) -> bool:
    """Whether the unit is op-dbus's own, or its drop-ins would be of those."""
    stem = stem_of(unit).partition("@")[0]
    if stem in _OWN_STEMS or stem.startswith(_OWN_PREFIX):
        return True
    return stem.endswith("-") and any(own.startswith(stem) for own in (*_OWN_STEMS, _OWN_PREFIX))


def is_bus(unit: str) -> bool:
    """Whether the unit is the bus on which the service manager is spoken to."""
    return unit in _BUSES
