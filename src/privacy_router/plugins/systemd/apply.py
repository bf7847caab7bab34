"""Make changes: stop, write files, enable, set properties, start; in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.engine.errors import PluginFailedError
from privacy_router.engine.model import Mode
from privacy_router.host.file_state import put_entry, read_entry, remove_if_empty
from privacy_router.host.threads import in_thread
from privacy_router.plugins.systemd.diff import declared_active, units_to_restart
from privacy_router.plugins.systemd.jobs import RESTART, START, STOP, run_jobs
from privacy_router.plugins.systemd.names import (
    DROP_IN,
    FILE,
    PROPERTY,
    UNIT,
    concerns,
    is_template,
    unit_of,
)
from privacy_router.plugins.systemd.observe import enabled_of, masked_of
from privacy_router.plugins.systemd.properties import PERSISTENT, RUNTIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from privacy_router.engine.model import Change, Desired, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.systemd.manager import Systemd1
    from privacy_router.plugins.systemd.unit_paths import UnitPaths

_BROKEN = frozenset({"bad-setting", "error"})


@dataclass
class Applier:
    """One round of changes. `stale`: what the service manager has read is no longer what is
    there."""

    systemd: Systemd1
    paths: UnitPaths
    desired: Desired
    changes: Sequence[Change]
    tell: Progress
    stale: bool = False

    async def run(self) -> None:
        """Make them. Raises PrivacyRouterError."""
        leaving = self._leaving()
        await self._stop(leaving)
        for name, value in leaving.items():
            if value is None or value.get("enabled") is False:
                await self._set_enabled(name, False)
        await in_thread(self._write)
        for name, value in self._of(UNIT):
            await self._set_enablement(name, value or {"enabled": False, "masked": False})
        await self._reload_if_stale()
        await self._set_properties()
        await self._require_readable()
        await self._start()

    def _of(self, kind: str) -> list[tuple[str, Value]]:
        """Name and wanted value of each change of that kind."""
        return [(c.key.name, c.after) for c in self.changes if c.key.kind == kind]

    def _leaving(self) -> dict[str, Value]:
        """The units of this round, and those of the next whose file goes in this one: they have to
        be stopped and disabled while it is there."""
        gone = [name for name, value in self._of(FILE) if value is None]
        others = {
            key.name: wanted.value
            for key, wanted in self.desired.resources.items()
            if key.kind == UNIT
            and wanted.mode is Mode.ENFORCE
            and any(concerns(FILE, name, key.name) for name in gone)
        }
        return {**others, **dict(self._of(UNIT))}

    # --- stopping and starting -------------------------------------------------------------------

    async def _stop(self, units: Mapping[str, Value]) -> None:
        wanted = [n for n, value in units.items() if value is None or value.get("active") is False]
        running = [name for name in wanted if await self._is_to_be_stopped(name)]
        if running:
            self.tell(f"stop {', '.join(running)}")
        await run_jobs(self.systemd, STOP, running)

    async def _is_to_be_stopped(self, name: str) -> bool:
        return not is_template(name) and not (await self.systemd.unit(name)).is_over

    async def _start(self) -> None:
        running = {name: (await self.systemd.unit(name)).is_running for name in self._active_ones()}
        restart = [name for name in await self._outdated() if running.get(name)]
        start = [
            name
            for name, value in self._of(UNIT)
            if value and value.get("active") and not running[name]
        ]
        await self._reload_if_outdated([*restart, *start])
        await start_units(self.systemd, start, restart, self.tell)
        for name, value in self._of(UNIT):
            if value is None:
                await self.systemd.forget_failure(name)

    def _active_ones(self) -> list[str]:
        declared = [key.name for key in declared_active(self.desired.resources)]
        changed = [name for name, value in self._of(UNIT) if value and value.get("active")]
        return sorted({*declared, *changed})

    async def _outdated(self) -> list[str]:
        """Units to restart because of the files that were changed now. One of which more files are
        to change in the next round waits for that."""
        names = [key.name for key in units_to_restart(self.desired, self.changes)]
        return [name for name in names if not await in_thread(self._waits, name)]

    def _waits(self, unit: str) -> bool:
        return any(
            read_entry(self.paths.of(key.kind, key.name)) != wanted.value
            for key, wanted in self.desired.resources.items()
            if wanted.mode is Mode.ENFORCE and concerns(key.kind, key.name, unit)
        )

    # --- files -----------------------------------------------------------------------------------

    def _write(self) -> None:
        for kind in (FILE, DROP_IN):
            for name, value in self._of(kind):
                path = self.paths.of(kind, name)
                self.stale |= put_entry(path, value)
                if value is None and kind == DROP_IN:
                    remove_if_empty(path.parent)
        for name, value in self._of(PROPERTY):
            kept = None if value is None else value["stored"]
            if kept != PERSISTENT:
                self._unset(name, PERSISTENT)
            if kept is None:
                self._unset(name, RUNTIME)

    def _unset(self, name: str, how: str) -> None:
        unit, _, key = name.partition("/")
        paths = self.paths.settings_of(unit, key, how)
        removed = [put_entry(path, None) for path in paths]
        if any(removed):
            self.stale = True
            remove_if_empty(paths[0].parent)
            remove_if_empty(paths[0].parent.parent)

    # --- enablement ------------------------------------------------------------------------------

    async def _set_enablement(self, name: str, value: Value) -> None:
        masked = masked_of(await self.systemd.file_state(name))
        wanted = value.get("masked", masked)
        if masked and wanted != masked:
            await self.systemd.unmask(name, runtime=masked == RUNTIME)
            self.stale = True
        if not wanted and "enabled" in value:
            await self._set_enabled(name, value["enabled"])
        if wanted and wanted != masked:
            self.tell(f"mask {name}")
            await self.systemd.mask(name, runtime=wanted == RUNTIME)
            self.stale = True

    async def _set_enabled(self, name: str, wanted: Value) -> None:
        found = enabled_of(await self.systemd.file_state(name))
        if found and found != wanted and wanted is not True:
            self.tell(f"disable {name}")
            await self._disable(name, runtime=found == RUNTIME)
            found = enabled_of(await self.systemd.file_state(name))
        if wanted and found != wanted:
            self.tell(f"enable {name}")
            await self.systemd.enable(name, runtime=wanted == RUNTIME)
            self.stale = True

    async def _disable(self, name: str, *, runtime: bool) -> None:
        """Disabling takes the unit itself away where it is a link to a file elsewhere; that link
        stays."""
        path = self.paths.of(FILE, name)
        before = await in_thread(read_entry, path)
        await self.systemd.disable(name, runtime=runtime)
        self.stale = True
        if before is not None and before["link"] is not None:
            await in_thread(put_entry, path, before)

    # --- properties ------------------------------------------------------------------------------

    async def _set_properties(self) -> None:
        for how in (PERSISTENT, RUNTIME):
            by_unit: dict[str, dict[str, Value]] = {}
            for name, value in self._of(PROPERTY):
                if (
                    value is not None
                    and value["stored"] == how
                    and await self._differs(name, value)
                ):
                    by_unit.setdefault(unit_of(name), {})[name.partition("/")[2]] = value["value"]
            for unit, values in sorted(by_unit.items()):
                self.tell(f"set {', '.join(values)} of {unit}")
                await in_thread(self._forget_relative, unit, values)
                await self.systemd.set_properties(unit, values, runtime=how == RUNTIME)
                self.stale = True
        # What another drop-in says otherwise would come back at the next reload: let it come now.
        await self._reload_if_stale()

    async def _differs(self, name: str, value: Value) -> bool:
        unit = await self.systemd.unit(unit_of(name))
        return bool(await self.systemd.value(unit, name.partition("/")[2]) != value["value"])

    def _forget_relative(self, unit: str, keys: Iterable[str]) -> None:
        """A value in percent, set earlier, would win over the one that is set now."""
        for key in keys:
            _, relative = self.paths.settings_of(unit, key, PERSISTENT)
            put_entry(relative, None)

    # --- the service manager's view --------------------------------------------------------------

    async def _reload_if_stale(self) -> None:
        if self.stale:
            self.tell("have systemd read its unit files")
            await self.systemd.reload()
            self.stale = False

    async def _reload_if_outdated(self, names: Iterable[str]) -> None:
        """Another program may have changed files of what is started now."""
        for name in names:
            self.stale |= (await self.systemd.unit(name)).properties["NeedDaemonReload"]
        await self._reload_if_stale()

    async def _require_readable(self) -> None:
        for name, value in self._of(FILE):
            if value is not None and not is_template(name):
                unit = await self.systemd.unit(name)
                if unit.load_state in _BROKEN:
                    raise PluginFailedError(
                        f"systemd cannot use the file of {name}: {unit.trouble.rstrip('.')}",
                        remedy=f"correct its content; systemd-analyze verify {name} says more",
                    )


async def start_units(
    systemd: Systemd1, start: Iterable[str], restart: Iterable[str], tell: Progress
) -> None:
    """Start some units and restart others. Raises PluginFailedError."""
    for method, names in ((RESTART, sorted(restart)), (START, sorted(start))):
        if names:
            tell(f"{'start' if method == START else 'restart'} {', '.join(names)}")
        for name in names:
            await systemd.forget_failure(name)  # that it failed before must not keep it down
        await run_jobs(systemd, method, names)
