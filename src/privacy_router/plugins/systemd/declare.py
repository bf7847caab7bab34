"""From the section to resources, and what of it cannot be (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, Mode, Resource, ResourceKey
from privacy_router.host.file_state import file_value
from privacy_router.plugins.systemd.names import (
    DROP_IN,
    FILE,
    PROPERTY,
    UNIT,
    WITH_RESOURCES,
    WITHOUT_FILES,
    concerns,
    is_bus,
    is_own,
    is_template,
    type_of,
    unit_of,
)
from privacy_router.plugins.systemd.properties import PERSISTENT, PROPERTIES
from privacy_router.plugins.systemd.unit_text import can_be_enabled, runs_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.plugins.systemd import SystemdConfig, UnitConfig, UnitFile

PLUGIN = "systemd"


def desired_of(section: SystemdConfig) -> Desired:
    """What the section asks for. Raises RefusedError with all that cannot be.

    The payload names the units that are not restarted when their files change.
    """
    problems = list(_problems(section))
    if problems:
        raise RefusedError(
            f"plugins.systemd: {'; '.join(problems)}",
            remedy="correct the section; nothing was changed",
        )
    spared = frozenset(n for n, unit in section.units.items() if not unit.restart_on_change)
    return Desired(dict(_resources(section)), spared)


def _resources(section: SystemdConfig) -> Iterator[tuple[ResourceKey, Resource]]:
    for kind, files in ((FILE, section.files), (DROP_IN, section.drop_ins)):
        for name, file in files.items():
            yield ResourceKey(PLUGIN, kind, name), _file_resource(file)
    for name, unit in section.units.items():
        mode = Mode(unit.mode)
        value = unit.model_dump(include={"active", "enabled", "masked"}, exclude_none=True)
        if value:
            yield ResourceKey(PLUGIN, UNIT, name), Resource(value, mode)
        for key, wanted in unit.properties.declared().items():
            stored = {"value": wanted, "stored": PERSISTENT}
            yield ResourceKey(PLUGIN, PROPERTY, f"{name}/{key}"), Resource(stored, mode)


def _file_resource(file: UnitFile) -> Resource:
    value = None if file.content is None else file_value(file.content)
    return Resource(value, Mode(file.mode))


def _problems(section: SystemdConfig) -> Iterator[str]:
    named = {*section.files, *map(unit_of, section.drop_ins), *section.units}
    for name in sorted(named):
        if is_own(name):
            yield f"{name} is op-dbus's own and is left alone; leave it out"
    for name in sorted({*section.files, *map(unit_of, section.drop_ins)}):
        if type_of(name) in WITHOUT_FILES:
            yield f"{name} is made by the system and has no files; leave them out"
    for name, unit in sorted(section.units.items()):
        yield from (f"{name}: {text}" for text in _problems_of_unit(name, unit))
        yield from (f"{name}: {text}" for text in _problems_with_file(section, name, unit))
        yield from (f"{name}: {text}" for text in _problems_of_restart(section, name, unit))


def _problems_of_restart(section: SystemdConfig, name: str, unit: UnitConfig) -> Iterator[str]:
    files = [*((FILE, file) for file in section.files), *((DROP_IN, d) for d in section.drop_ins)]
    concerned = any(concerns(kind, file, name) for kind, file in files)
    if is_bus(name) and unit.active and unit.restart_on_change and concerned:
        yield (
            "its files are declared, and restarting it would cut off all that works by it; set"
            " restart_on_change to false, and boot anew when that suits you"
        )


def _problems_of_unit(name: str, unit: UnitConfig) -> Iterator[str]:
    if is_template(name):
        if unit.active is not None:
            yield "a template is never active itself; name an instance such as " + (
                name.replace("@.", "@one.")
            )
        if unit.properties.declared():
            yield "a template has no properties; give them to an instance, or by a drop-in"
    if type_of(name) in WITHOUT_FILES and (unit.active, unit.enabled, unit.masked) != (None,) * 3:
        yield "it comes and goes with what it stands for; leave active, enabled and masked out"
    if is_bus(name) and (unit.active is False or unit.masked):
        yield "op-dbus works by it, so it has to go on; leave it active and unmasked"
    if type_of(name) not in WITH_RESOURCES:
        for key in unit.properties.declared():
            if not PROPERTIES[key].of_unit:
                yield f"a {type_of(name)} has no {key}; leave it out"


def _problems_with_file(section: SystemdConfig, name: str, unit: UnitConfig) -> Iterator[str]:
    file = section.files.get(name)
    if file is None or file.content is None:
        return
    texts = [file.content, *_drop_in_texts(section, name)]
    if unit.masked:
        yield "a file of /etc/systemd/system cannot be masked; declare its content as null"
    if unit.enabled and not any(map(can_be_enabled, texts)):
        yield "its file has no [Install] section with WantedBy= or the like, so it is not enabled"
    if unit.active and runs_once("\n".join(texts)):
        yield (
            "its service is over once it has run, so it is never kept active; add"
            " RemainAfterExit=yes, or leave active out"
        )


def _drop_in_texts(section: SystemdConfig, name: str) -> list[str]:
    """The texts of its own drop-ins, in the order in which they count."""
    found = sorted((key, file) for key, file in section.drop_ins.items() if unit_of(key) == name)
    return [file.content for _, file in found if file.content is not None]
