"""Keep an exact picture of what changes touch, and put it back.

The service manager undoes less and more than what it did: disabling removes links that were there
before, and reverting removes properties of others. So the way back is by the entries themselves:
every link that enables, masks or renames the units in question, and every property that was set of
them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import VerificationError
from privacy_router.host.file_state import (
    make_directory,
    put_entry,
    read_entry,
    remove_if_empty,
)
from privacy_router.host.threads import in_thread
from privacy_router.plugins.systemd.apply import start_units
from privacy_router.plugins.systemd.jobs import STOP, run_jobs
from privacy_router.plugins.systemd.names import (
    DROP_IN,
    FILE,
    PROPERTY,
    UNIT,
    concerns,
    is_template,
    unit_of,
)
from privacy_router.plugins.systemd.unit_text import also

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from privacy_router.engine.model import Change, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.systemd.manager import LoadedUnit, Systemd1
    from privacy_router.plugins.systemd.unit_paths import UnitPaths


def picture(paths: UnitPaths, changes: Sequence[Change]) -> Value:
    """What is there of all that these changes may touch, as JSON values."""
    units = sorted({c.key.name for c in changes if c.key.kind == UNIT})
    family = sorted(_family(paths, units, changes))
    controlled = sorted({*units, *(unit_of(c.key.name) for c in changes if c.key.kind == PROPERTY)})
    return {
        "changes": [[c.key.kind, c.key.name, c.before] for c in changes],
        "family": family,
        "controlled": controlled,
        "entries": {str(p): read_entry(p) for p in _touched(paths, family, controlled)},
        "directories": sorted(map(str, paths.directories())),
        "invocations": {unit: paths.invocation(unit) for unit in units},
    }


def _family(paths: UnitPaths, units: Iterable[str], changes: Sequence[Change]) -> set[str]:
    """These units and all that is enabled and disabled together with them."""
    found: set[str] = set()
    pending = list(units)
    while pending:
        unit = pending.pop()
        if unit not in found:
            found.add(unit)
            pending += also([*paths.texts(unit), *_new_texts(unit, changes)])
    return found


def _new_texts(unit: str, changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        key, after = change.key, change.after
        if after is not None and key.kind in {FILE, DROP_IN} and concerns(key.kind, key.name, unit):
            yield after["content"] or ""


def _touched(paths: UnitPaths, family: Iterable[str], controlled: Iterable[str]) -> Iterator[Path]:
    """The links of these units that are there, and the settings."""
    names = set(family)
    for path in paths.links():
        if path.name in names or path.readlink().name in names:
            yield path
    for unit in controlled:
        yield from paths.all_settings(unit)


class Rollback:
    """One way back to a picture, after any part of the changes, and whether or not it
    was gone before."""

    def __init__(self, systemd: Systemd1, paths: UnitPaths, kept: Value, tell: Progress) -> None:
        self._systemd = systemd
        self._paths = paths
        self._kept = kept
        self._tell = tell

    async def run(self) -> None:
        """Go. Raises PrivacyRouterError."""
        await run_jobs(self._systemd, STOP, await self._to_stop())
        changed = await in_thread(self._put_entries)
        if changed or await self._is_stale():
            await self._systemd.reload()
        await in_thread(self._put_directories)
        for name, before in self._rows(UNIT):
            if before is None or not before.get("active"):
                await self._systemd.forget_failure(name)
        await self._start()

    def _rows(self, *kinds: str) -> list[tuple[str, Value]]:
        """Name and earlier value of each change of these kinds."""
        return [(name, before) for kind, name, before in self._kept["changes"] if kind in kinds]

    async def _units(self) -> list[tuple[str, Value, LoadedUnit]]:
        return [
            (name, before, await self._systemd.unit(name))
            for name, before in self._rows(UNIT)
            if not is_template(name)
        ]

    async def _to_stop(self) -> list[str]:
        return [
            name
            for name, before, unit in await self._units()
            if (before is None or before.get("active") is False) and not unit.is_over
        ]

    async def _is_stale(self) -> bool:
        names = {*self._kept["controlled"], *(name for name, _ in self._rows(FILE))}
        units = [await self._systemd.unit(name) for name in names if not is_template(name)]
        return any(unit.properties["NeedDaemonReload"] for unit in units)

    async def _start(self) -> None:
        start, restart = [], []
        for name, before, unit in await self._units():
            if before is not None and before.get("active") and unit.is_there:
                if not unit.is_running:
                    start.append(name)
                elif self._runs_with_others(name):
                    restart.append(name)
        await start_units(self._systemd, start, restart, self._tell)

    def _runs_with_others(self, unit: str) -> bool:
        """Whether it was started anew since, while its files were others: not when that was by an
        earlier attempt to go back."""
        if self._kept["invocations"][unit] == self._paths.invocation(unit):
            return False
        started_ns = self._paths.invoked_at_ns(unit)
        return any(
            _changed_at_ns(self._paths.of(kind, name)) > started_ns
            for kind, name, _ in self._kept["changes"]
            if concerns(kind, name, unit)
        )

    # --- entries ---------------------------------------------------------------------------------

    def _put_entries(self) -> bool:
        wanted = self._entries()
        found = set(_touched(self._paths, self._kept["family"], self._kept["controlled"]))
        done = [put_entry(path, wanted.get(path)) for path in sorted({*found, *wanted})]
        return any(done)

    def _entries(self) -> dict[Path, Value]:
        kept = {Path(path): value for path, value in self._kept["entries"].items()}
        files = {
            self._paths.of(kind, name): before
            for kind, name, before in self._kept["changes"]
            if kind in {FILE, DROP_IN}
        }
        return {**kept, **files}

    def _put_directories(self) -> None:
        kept = set(map(Path, self._kept["directories"]))
        for path in sorted(kept):
            make_directory(path)
        for path in sorted(self._paths.directories(), reverse=True):
            if path not in kept:
                remove_if_empty(path)

    def require_done(self) -> None:
        """Raise VerificationError when an entry is not as it was."""
        wanted = self._entries()
        found = set(_touched(self._paths, self._kept["family"], self._kept["controlled"]))
        paths = sorted({*found, *wanted})
        still = [str(path) for path in paths if read_entry(path) != wanted.get(path)]
        if still:
            raise VerificationError(
                f"{', '.join(still)}: does not go back to what it was",
                remedy="see whether another program changes the same files",
                retryable=True,
            )


def _changed_at_ns(path: Path) -> int:
    """When an entry became what it is, or the directory that lost it."""
    while not os.path.lexists(path):
        path = path.parent
    return path.lstat().st_ctime_ns
