"""What a section asks for, and what that means for a machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.engine.model import (
    Change,
    Desired,
    Mode,
    Observed,
    Resource,
    ResourceKey,
    differences,
)
from privacy_router.host.file_state import file_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.config.plugins.packagekit import PackageItem, PackagekitConfig
    from privacy_router.engine.model import Value

PACKAGE: Final = "package"
AVAILABLE: Final = "available"
PIN: Final = "pin"
ANY: Final = "any"
LATEST: Final = "latest"
"""In place of a version; no version begins with a letter."""

PINS: Final = "/etc/apt/preferences.d"
_PIN_PREFIX: Final = "50-privacy-router-"
_PIN_SUFFIX: Final = ".pref"
# Above 1000: also where a newer version is installed, apt goes back to this one.
_PIN_PRIORITY: Final = 1001


@dataclass(frozen=True)
class Wanted:
    """What the section says besides its resources: what it names, and whether others may go."""

    names: frozenset[str] = frozenset()
    allow_remove_dependents: bool = False


def resources(section: PackagekitConfig) -> Iterator[tuple[tuple[str, str], Resource]]:
    """What the section asks for."""
    for name, item in section.packages.items():
        mode = Mode(item.mode)
        yield (PACKAGE, name), Resource(_wanted(item), mode)
        if item.version is not None and mode is Mode.ENFORCE:
            yield (PIN, name), Resource(pin_value(name, item.version))


def _wanted(item: PackageItem) -> Value:
    if item.state == "removed":
        return None
    return {"version": LATEST if item.state == "latest" else item.version or ANY}


def pin_value(name: str, version: str) -> Value:
    """The file that keeps a package at a version; see apt_preferences(5)."""
    return file_value(
        "# Written by op-dbus, which does so again: change plugins.packagekit of its document.\n"
        f"Package: {name}\nPin: version {version}\nPin-Priority: {_PIN_PRIORITY}\n"
    )


def pin_file(name: str) -> str:
    """The name of that file: apt reads no file whose name has a `+`, and no package's has a `_`."""
    return f"{_PIN_PREFIX}{name.replace('+', '_')}{_PIN_SUFFIX}"


def pinned_name(file: str) -> str | None:
    """The package of one of our pin files; None for other files."""
    if not (file.startswith(_PIN_PREFIX) and file.endswith(_PIN_SUFFIX)):
        return None
    return file.removeprefix(_PIN_PREFIX).removesuffix(_PIN_SUFFIX).replace("_", "+")


def changes(desired: Desired, observed: Observed) -> list[Change]:
    """The changes from `observed` to `desired`, with the versions that packages come to.

    Of what is given back (it is in no section any more) only whether it is there counts: no section
    wants yesterday's version because the document no longer speaks of the package.
    """
    pins = {k: r for k, r in desired.resources.items() if k.kind == PIN}
    found = differences(Desired(pins), observed)
    unpinned = {change.key.name for change in found if change.before is not None}
    names = desired.payload.names if isinstance(desired.payload, Wanted) else None
    for key, resource in desired.resources.items():
        if key.kind == PACKAGE:
            given_back = names is not None and key.name not in names
            wanted = {"version": ANY} if given_back and resource.value else resource.value
            target = _target(key, wanted, observed.values, key.name in unpinned)
            found += _difference(key, resource, target, observed, given_back=given_back)
    return sorted(found, key=lambda change: change.key)


def is_lost(key: ResourceKey, desired: Desired, observed: Observed) -> bool:
    """Whether a package that is given back is in no repository any more."""
    if key.kind != PACKAGE or key in observed.values or not isinstance(desired.payload, Wanted):
        return False
    offered = observed.values.get(ResourceKey(key.plugin, AVAILABLE, key.name)) or {}
    return offered.get("version") is None


def _difference(
    key: ResourceKey,
    resource: Resource,
    target: str | None,
    observed: Observed,
    *,
    given_back: bool,
) -> list[Change]:
    value, mode = observed.values.get(key), resource.mode
    if target is None:
        return [] if value is None else [Change(key, value, None, mode)]
    if value is None:
        return [Change(key, None, {**resource.value, "version": target}, mode)]
    if given_back or value["version"] == target:
        return []
    return [Change(key, {"version": value["version"]}, {"version": target}, mode)]


def _target(
    key: ResourceKey, wanted: Value, values: Mapping[ResourceKey, Value], unpinned: bool
) -> str | None:
    """The version that a package is to have, as far as it is known; None for none."""
    if wanted is None:
        return None
    version: str = wanted["version"]
    value = values.get(key)
    if version == LATEST and unpinned:
        return LATEST  # what that is shows when the pin is gone
    if version == ANY and value is not None:
        return str(value["version"])
    if version in {ANY, LATEST}:
        offered = values.get(ResourceKey(key.plugin, AVAILABLE, key.name)) or {}
        known = value.get("available", value["version"]) if value else offered.get("version")
        return str(known or version)
    return version
