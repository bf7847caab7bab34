"""Look every second at what no event of the kernel tells of, and tell of what is different."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import FAILURES
from privacy_router.host import namespaces
from privacy_router.host.device_settings import snapshot_here
from privacy_router.host.threads import in_thread
from privacy_router.node.unheard import (
    SETTINGS,
    foreign_here,
    observe_tunnels,
    read_settings_here,
)
from privacy_router.values.items import HOST, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.host.device_settings import Snapshot
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

_log = structlog.get_logger()

_PERIOD_S: Final = 1.0


class _Place:
    """The settings of one namespace, and the snapshot of its devices' under which these were right:
    as long as that is the same, their files need not be read."""

    def __init__(self, where: str, wanted: Mapping[str, str]) -> None:
        self.where = where
        self._all = dict(wanted)
        self._others = {name: value for name, value in wanted.items() if not _is_devices(name)}
        self._right: Snapshot | None = None

    def differences(self) -> list[str]:
        """What is not as it should be, in words. Raises OSError."""
        if self.where == HOST:
            return self._look()
        return namespaces.run_in(namespaces.path_of(self.where), self._look)

    def _look(self) -> list[str]:
        snapshot = snapshot_here()
        wanted = self._others if snapshot == self._right else self._all
        settings = read_settings_here(wanted)
        if settings == wanted:
            self._right, differing = snapshot, []
        else:
            self._right = None
            differing = [name for name, value in wanted.items() if settings[name] != value]
        return [*differing, *(key.name for key in foreign_here(self.where))]


def _is_devices(setting: str) -> bool:
    """Whether it is a setting of one device, as `ipv4/conf/warp0/forwarding`."""
    parts = setting.split("/")
    return parts[1] == "conf" and parts[2] not in ("all", "default")


class Expectation:
    """What of a desired state can be looked at so often, sorted once."""

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        settings: dict[str, dict[str, str]] = {}
        for key, value in desired.items.items():
            if key.kind in SETTINGS:
                settings.setdefault(key.where, {})[key.name] = value
        self._places = [_Place(where, wanted) for where, wanted in settings.items()]
        self._tunnels = [key for key in desired.items if key.kind is Kind.TUNNEL]

    def is_of(self, desired: DesiredState) -> bool:
        """Whether it is still that state."""
        return self._desired is desired

    def differences(self, machine: NodeHost) -> list[str]:
        """What is not as it should be, in words, in the places that are there. Raises OSError."""
        found = list(self._different_tunnels(machine))
        for place in self._places:
            if place.where == HOST or namespaces.exists(place.where):
                found += place.differences()
        return found

    def _different_tunnels(self, machine: NodeHost) -> Iterator[str]:
        found = dict(observe_tunnels(self._desired, machine))
        for key in self._tunnels:
            if namespaces.exists(key.where) and found.get(key) != self._desired.items[key]:
                yield key.name


class UnheardWatch:
    """Calls `tell` while something of the state that `desired` gives is different."""

    def __init__(
        self, desired: Callable[[], DesiredState], machine: NodeHost, tell: Callable[[], None]
    ) -> None:
        self._desired = desired
        self._machine = machine
        self._tell = tell
        self._expected = Expectation(desired())

    async def run(self) -> None:
        """Look until cancelled; a look that fails is tried again like any other."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                found = await in_thread(self._differences)
            except FAILURES as error:
                _log.debug("what is unheard of cannot be read", reason=str(error))
                continue
            if found:
                _log.debug("seen different", what=found[0], count=len(found))
                self._tell()

    def _differences(self) -> list[str]:
        desired = self._desired()
        if not self._expected.is_of(desired):
            self._expected = Expectation(desired)
        return self._expected.differences(self._machine)
