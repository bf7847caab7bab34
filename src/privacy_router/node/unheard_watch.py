"""Look every second at what no event of the kernel tells of, and tell of what is different."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import FAILURES
from privacy_router.host import namespaces
from privacy_router.host.device_settings import snapshot_here
from privacy_router.host.threads import in_thread
from privacy_router.node.kinds import firewall, foreign, setting, tunnel
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.host.device_settings import Snapshot
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.sysctls import Sysctl

_log = structlog.get_logger()

_PERIOD_S: Final = 1.0


class _Place:
    """The settings of one namespace, and the snapshot of its devices' under which these were right:
    as long as that is the same, their files need not be read."""

    def __init__(self, where: str, wanted: Mapping[Sysctl, str]) -> None:
        self.where = where
        self._all = dict(wanted)
        self._others = {one: text for one, text in wanted.items() if one.device is None}
        self._right: Snapshot | None = None

    def differences(self) -> list[str]:
        """What is not as it should be, in words. Raises OSError."""
        return namespaces.run_in(path_of(self.where), self._look)

    def _look(self) -> list[str]:
        snapshot = snapshot_here()
        wanted = self._others if snapshot == self._right else self._all
        settings = setting.read_here(wanted)
        if settings == wanted:
            self._right, differing = snapshot, []
        else:
            self._right = None
            differing = [one.path for one, text in wanted.items() if settings[one] != text]
        return [*differing, *self._foreign()]

    def _foreign(self) -> Iterator[str]:
        if self.where != HOST:
            yield from (key.name for key, _ in foreign.read_here(self.where))
            yield from (key.name for key, _ in firewall.foreign_here(self.where))


class Expectation:
    """What of a desired state can be looked at so often, sorted once."""

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        settings: dict[str, dict[Sysctl, str]] = {}
        for key, value in setting.settings_of(desired):
            settings.setdefault(key.where, {})[key.sysctl] = value.text
        self._places = [_Place(where, wanted) for where, wanted in settings.items()]
        self._tunnels = list(tunnel.tunnels_of(desired))

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
        for key, wanted in self._tunnels:
            if namespaces.exists(key.where) and tunnel.read(key, wanted, machine) != wanted:
                yield key.device


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
