"""Read units, their files and properties as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.host.file_state import read_entry
from privacy_router.host.threads import in_thread
from privacy_router.plugins.systemd.names import (
    DROP_IN,
    FILE,
    PROPERTY,
    UNIT,
    is_template,
    unit_of,
)
from privacy_router.plugins.systemd.properties import PERSISTENT, PROPERTIES, RUNTIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from privacy_router.engine.model import Value
    from privacy_router.plugins.systemd.manager import Systemd1
    from privacy_router.plugins.systemd.unit_paths import UnitPaths

_ENABLED: Final = {"enabled": True, "enabled-runtime": RUNTIME}
_MASKED: Final = {"masked": True, "masked-runtime": RUNTIME}
_OPTIONAL: Final = frozenset({"disabled", "indirect", "linked", "linked-runtime"})
_RUNNING: Final = frozenset({"active", "reloading", "activating"})


def enabled_of(state: str) -> Value:
    """`enabled` of a unit whose file is in that state: true, false, or `runtime` where it is so
    until the next boot only."""
    return _ENABLED.get(state, False)


def masked_of(state: str) -> Value:
    """`masked`, likewise."""
    return _MASKED.get(state, False)


def _unit_value(state: str, *, active: bool) -> Value:
    return {"active": active, "enabled": enabled_of(state), "masked": masked_of(state)}


class Reader:
    """What is there of the resources of this plugin."""

    def __init__(self, systemd: Systemd1, paths: UnitPaths) -> None:
        self._systemd = systemd
        self._paths = paths

    async def value(self, kind: str, name: str) -> Value:
        """The value of a resource; None when it is not there."""
        if kind in {FILE, DROP_IN}:
            return await in_thread(read_entry, self._paths.of(kind, name))
        if kind == UNIT:
            return await self._unit(name)
        return await self._property(name)

    async def everything(self) -> AsyncIterator[tuple[str, str, Value]]:
        """What an operator has decided about: files and drop-ins in /etc, properties that were set,
        and units that are enabled, masked, or active though nothing enables them. Not those that
        come and go when others need them."""
        for kind, name in await in_thread(lambda: sorted(self._paths.declared_here())):
            yield kind, name, await self.value(kind, name)
        states = await self._systemd.unit_files()
        active = {row[0] for row in await self._systemd.units() if row[3] in _RUNNING}
        for name, state in sorted(states.items()):
            decided = enabled_of(state) or masked_of(state)
            if decided or (name in active and state in _OPTIONAL):
                yield UNIT, name, _unit_value(state, active=name in active)
        found = await in_thread(lambda: sorted(set(self._paths.set_properties())))
        for unit, name in found:
            if name in PROPERTIES:
                yield PROPERTY, f"{unit}/{name}", await self._property(f"{unit}/{name}")

    async def _unit(self, name: str) -> Value:
        state = await self._systemd.file_state(name)
        if is_template(name):
            return _unit_value(state, active=False) if state else None
        unit = await self._systemd.unit(name)
        there = state or unit.is_there
        return _unit_value(state, active=unit.is_running) if there else None

    async def _property(self, name: str) -> Value:
        unit = await self._systemd.unit(unit_of(name))
        if not unit.is_there:
            return None
        key = name.partition("/")[2]
        value = await self._systemd.value(unit, key)
        if value is None:
            return None
        stored = await in_thread(self._stored, unit_of(name), key)
        return {"value": value, "stored": stored}

    def _stored(self, unit: str, key: str) -> str | None:
        for how in (PERSISTENT, RUNTIME):
            if any(path.exists() for path in self._paths.settings_of(unit, key, how)):
                return how
        return None
