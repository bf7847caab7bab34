"""The plugin `packagekit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.engine.model import (
    AVAILABLE as CAN_WORK,
)
from privacy_router.engine.model import (
    Availability,
    Desired,
    Observed,
    ResourceKey,
)
from privacy_router.engine.plugin import Plugin
from privacy_router.host.dbus import DBusCallError
from privacy_router.host.file_state import put_entry, read_entry
from privacy_router.host.threads import in_thread
from privacy_router.plugins.packagekit import declare
from privacy_router.plugins.packagekit.apply import Applier
from privacy_router.plugins.packagekit.check import check
from privacy_router.plugins.packagekit.declare import (
    AVAILABLE,
    PACKAGE,
    PIN,
    PINS,
    Wanted,
    pin_file,
    pinned_name,
)
from privacy_router.plugins.packagekit.dry_run import DryRun, PackageChanges
from privacy_router.plugins.packagekit.rollback import along
from privacy_router.plugins.packagekit.transactions import Transactions
from privacy_router.plugins.packagekit.watch import changes as outside_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Sequence
    from pathlib import Path

    from privacy_router.config.plugins.packagekit import PackagekitConfig
    from privacy_router.engine.model import Change, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.packagekit.packages import Package, State
    from privacy_router.plugins.target import Machine


class PackagekitPlugin(Plugin):
    """Packages: installed, in which version, or not."""

    name = "packagekit"
    title = "Packages"
    timeout_s = 1800.0

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._packagekit = Transactions(machine.bus)
        self._dry_run = DryRun(machine, self._packagekit)

    async def availability(self) -> Availability:
        try:
            await self._packagekit.backend()
        except DBusCallError as error:
            return Availability(
                f"PackageKit does not answer: {error.message}",
                "apt-get install packagekit (and see that systemctl start packagekit works)",
            )
        return CAN_WORK

    def declare(self, section: Any) -> Desired:
        if section is None:
            return Desired(payload=Wanted())
        config: PackagekitConfig = section
        found = {self.key(*where): one for where, one in declare.resources(config)}
        names = frozenset(config.packages)
        return Desired(found, Wanted(names, config.allow_remove_dependents))

    # --- looking -----------------------------------------------------------------------------

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        if keys is None:
            installed = await self._packagekit.installed()
            packages = {self.key(PACKAGE, n): _installed(one) for n, one in installed.items()}
            pins = await in_thread(self._pins)
            return Observed({**packages, **{self.key(PIN, n): pin for n, pin in pins.items()}})
        names = {key.name for key in keys if key.kind in {PACKAGE, AVAILABLE}}
        states = await self._packagekit.states(names)
        found = dict(self._rows(states))
        for key in keys:
            if key.kind == PIN:
                found[key] = await in_thread(read_entry, self._pin_path(key.name))
        return Observed({key: value for key, value in found.items() if value is not None})

    def _rows(self, states: dict[str, State]) -> Iterator[tuple[ResourceKey, Value]]:
        for name, state in states.items():
            offered = state.offered.version if state.offered else None
            if state.installed is None:
                yield self.key(AVAILABLE, name), {"version": offered}
            else:
                value = _installed(state.installed)
                yield self.key(PACKAGE, name), {**value, "available": offered or state.version}

    def _pins(self) -> dict[str, Value]:
        directory = self._machine.path(PINS)
        files = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
        names = [name for name in map(pinned_name, files) if name is not None]
        return {name: read_entry(self._pin_path(name)) for name in names}

    def _pin_path(self, name: str) -> Path:
        return self._machine.path(PINS) / pin_file(name)

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        return declare.changes(desired, observed)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:
        return declare.is_lost(key, desired, observed)

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        await check(self._packagekit, self._dry_run, desired, PackageChanges.of(changes))

    # --- changing ----------------------------------------------------------------------------

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """What the changes change, and what comes or goes along with them."""
        rows = await super().checkpoint(changes)
        if self._machine.bus.address is None:
            return rows  # without a bus nothing is made, so nothing comes along
        packages = PackageChanges.of(changes)
        others = await along(self._packagekit, self._dry_run, packages)
        return [*rows, *([PACKAGE, name, before] for name, before in sorted(others.items()))]

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Pins first, for they say which versions there are to choose from."""
        packages = PackageChanges.of(changes)
        for name, value in packages.pins.items():
            await in_thread(put_entry, self._pin_path(name), value)
        await Applier(self._packagekit, self._dry_run).run(desired, packages, tell)

    def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        return outside_changes(self._machine)


def _installed(package: Package) -> dict[str, Value]:
    return {"version": package.version, "automatic": package.automatic}
