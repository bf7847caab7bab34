"""The plugin `systemd` towards the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.errors import not_as_asked
from privacy_router.engine.model import (
    AVAILABLE,
    Availability,
    Change,
    Desired,
    Observed,
    Resource,
    ResourceKey,
    Value,
    enforced,
)
from privacy_router.engine.plugin import Plugin, Progress
from privacy_router.host.dbus import DBusCallError
from privacy_router.host.systemd1 import SERVICE
from privacy_router.host.threads import in_thread
from privacy_router.plugins.systemd.apply import Applier
from privacy_router.plugins.systemd.check import Checker
from privacy_router.plugins.systemd.declare import desired_of
from privacy_router.plugins.systemd.diff import compare, is_lost
from privacy_router.plugins.systemd.manager import Systemd1
from privacy_router.plugins.systemd.names import DROP_IN, PROPERTY, unit_of
from privacy_router.plugins.systemd.observe import Reader
from privacy_router.plugins.systemd.properties import PERSISTENT
from privacy_router.plugins.systemd.rollback import Rollback, picture
from privacy_router.plugins.systemd.unit_paths import CONTROL_ROOTS, OURS, UnitPaths
from privacy_router.plugins.systemd.watch import outside_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from privacy_router.plugins.target import Machine


class SystemdPlugin(Plugin):
    """Units of the service manager, their files, drop-ins and properties."""

    name: ClassVar[str] = "systemd"
    title: ClassVar[str] = "Units of the service manager"
    after: ClassVar[frozenset[str]] = frozenset({"packagekit", "net", "dns"})
    timeout_s: ClassVar[float] = 300.0

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._systemd = Systemd1(machine.bus)
        self._paths = UnitPaths(machine)
        self._reader = Reader(self._systemd, self._paths)

    async def availability(self) -> Availability:
        """Whether systemd is on the bus."""
        try:
            owner = await self._machine.bus.owner(SERVICE)
        except DBusCallError as error:
            return Availability(error.message, error.remedy or "start the bus and op-dbus anew")
        if owner is None:
            return Availability(
                f"{SERVICE} is not on the bus: systemd does not run this machine",
                "boot the machine with systemd, or leave plugins.systemd out",
            )
        return AVAILABLE

    def declare(self, section: Any) -> Desired:
        """See declare.py."""
        return Desired() if section is None else desired_of(section)

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """See observe.py."""
        if keys is None:
            found = {self.key(k, n): v async for k, n, v in self._reader.everything()}
        else:
            found = {key: await self._reader.value(key.kind, key.name) for key in keys}
        return Observed({key: value for key, value in found.items() if value is not None})

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """See diff.py."""
        return compare(desired, observed)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:
        """See diff.py."""
        return is_lost(key, desired, observed)

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:  # noqa: ARG002
        """See check.py."""
        await Checker(self._systemd, self._paths, changes).run()

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """See rollback.py."""
        return await in_thread(picture, self._paths, changes)

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """See apply.py."""
        await Applier(self._systemd, self._paths, desired, changes, tell).run()

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """See rollback.py."""
        back = Rollback(self._systemd, self._paths, checkpoint, tell)
        await back.run()
        await in_thread(back.require_done)
        still = enforced(await self.to_restore(self.restoring(checkpoint), tell))
        if still:
            raise not_as_asked(still, "does not go back to what it was")

    def restoring(self, checkpoint: Value) -> Desired:
        """What was there of the changed resources."""
        rows = checkpoint["changes"]
        return Desired({self.key(kind, name): Resource(before) for kind, name, before in rows})

    async def watch(self, desired: Desired) -> AsyncIterator[str]:
        """See watch.py."""
        units = {unit_of(key.name) for key in desired.resources}
        control = CONTROL_ROOTS[PERSISTENT]
        paths = (OURS, control, *_directories(desired.resources, control))
        directories = {self._machine.path(path) for path in paths}
        async for words in outside_changes(self._systemd, units, directories):
            yield words


def _directories(keys: Iterable[ResourceKey], control: str) -> Iterable[str]:
    """The directories in which the drop-ins and the set properties of these resources are."""
    for key in keys:
        if key.kind == DROP_IN:
            yield f"{OURS}/{unit_of(key.name)}.d"
        elif key.kind == PROPERTY:
            yield f"{control}/{unit_of(key.name)}.d"
