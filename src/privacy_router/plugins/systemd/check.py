"""Refuse what the service manager would refuse, or do without the wanted outcome, beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.host.file_state import read_entry
from privacy_router.host.threads import in_thread
from privacy_router.plugins.systemd.names import (
    DROP_IN,
    FILE,
    PROPERTY,
    UNIT,
    concerns,
    is_template,
    unit_of,
)
from privacy_router.plugins.systemd.observe import masked_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from privacy_router.engine.model import Change, Value
    from privacy_router.plugins.systemd.manager import LoadedUnit, Systemd1
    from privacy_router.plugins.systemd.unit_paths import UnitPaths

_NOT_TO_ENABLE: Final = {
    "static": "its file has no [Install] section; leave enabled out, or give it one by a drop-in",
    "generated": "it is generated at boot from other settings; change those instead",
    "transient": "it was made at run time by a program and has no file of its own",
    "indirect": "enabling it enables only the units of Also= in its file; declare those instead",
    "bad": "its file cannot be read; see systemctl status",
}
_BROKEN: Final = frozenset({"bad-setting", "error"})


class Checker:
    """What a run would do, held against what is there."""

    def __init__(self, systemd: Systemd1, paths: UnitPaths, changes: Sequence[Change]) -> None:
        self._systemd = systemd
        self._paths = paths
        self._changes = changes

    async def run(self) -> None:
        """Raise RefusedError with all that cannot be."""
        problems = [
            f"{change.key.name}: {text}"
            for change in self._changes
            if change.after is not None
            async for text in self._problems(change)
        ]
        if problems:
            raise RefusedError(
                f"plugins.systemd: {'; '.join(problems)}",
                remedy="correct the section; nothing was changed",
            )

    async def _problems(self, change: Change) -> AsyncIterator[str]:
        name, after = change.key.name, change.after
        if change.key.kind == UNIT:
            state = await self._systemd.file_state(name)
            async for text in self._problems_of_enablement(name, state, after):
                yield text
            if "active" in after and not is_template(name):
                async for text in self._problems_of_activity(name, state, after):
                    yield text
        elif change.key.kind == PROPERTY:
            unit = await self._systemd.unit(unit_of(name))
            key = name.partition("/")[2]
            if unit.is_there and await self._systemd.value(unit, key) is None:
                yield f"this version of systemd has no {key}; leave it out"

    async def _problems_of_enablement(
        self, name: str, state: str, after: Value
    ) -> AsyncIterator[str]:
        if state == "alias":
            yield f"it is another name of {await self._id(name)}; use that"
        elif after.get("enabled") and masked_of(state) and after.get("masked") is not False:
            yield 'it is masked; declare "masked": false as well'
        elif after.get("enabled") and state in _NOT_TO_ENABLE and not self._is_rewritten(name):
            yield f"it cannot be enabled: {_NOT_TO_ENABLE[state]}"
        if after.get("masked") is True and not masked_of(state):
            found = await in_thread(read_entry, self._paths.of(FILE, name))
            if found is not None:
                yield (
                    "it cannot be masked, since its file is in /etc/systemd/system itself; declare"
                    " it in plugins.systemd.files with null as its content instead"
                )

    async def _id(self, name: str) -> str:
        return "another unit" if is_template(name) else (await self._systemd.unit(name)).id

    async def _problems_of_activity(
        self, name: str, state: str, after: Value
    ) -> AsyncIterator[str]:
        unit = await self._systemd.unit(name)
        if unit.is_there and unit.id != name and state != "alias":
            yield f"it is another name of {unit.id}; use that"
        elif after["active"]:
            async for text in self._problems_of_starting(name, state, unit, after):
                yield text
        elif unit.is_running and unit.properties["Transient"]:
            yield "it was made at run time by a program, so that it could not be brought back"
        elif unit.is_running and not _may(unit, "Stop"):
            yield "systemd does not let it be stopped by hand; leave active out"

    async def _problems_of_starting(
        self, name: str, state: str, unit: LoadedUnit, after: Value
    ) -> AsyncIterator[str]:
        if masked_of(state) and after.get("masked") is not False:
            yield 'it is masked; declare "masked": false as well'
        elif self._is_rewritten(name) or unit.is_running or not unit.is_there:
            return
        elif unit.load_state in _BROKEN:
            yield f"systemd cannot use its file: {unit.trouble.rstrip('.')}"
        elif unit.load_state == "loaded" and not _may(unit, "Start"):
            yield "systemd does not let it be started by hand; leave active out"
        elif await self._runs_once(unit):
            yield "it is over once it has run, so it is never kept active; leave active out"

    async def _runs_once(self, unit: LoadedUnit) -> bool:
        kind = await self._systemd.detail(unit, "Type")
        return kind == "oneshot" and not await self._systemd.detail(unit, "RemainAfterExit")

    def _is_rewritten(self, name: str) -> bool:
        """Whether its files change in this run, so that what they say now does not count."""
        return any(
            change.key.kind in {FILE, DROP_IN} and concerns(change.key.kind, change.key.name, name)
            for change in self._changes
        )


def _may(unit: LoadedUnit, what: str) -> bool:
    allowed = unit.properties[f"Can{what}"]
    return bool(allowed and not unit.properties[f"RefuseManual{what}"])
