"""The plugin: what the engine calls, and threads for what blocks."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from privacy_router.engine.errors import not_as_asked
from privacy_router.engine.model import (
    Change,
    Mode,
    Observed,
    ResourceKey,
    differences,
    project,
)
from privacy_router.engine.plugin import Plugin
from privacy_router.host.threads import in_thread
from privacy_router.plugins.net import dhcp, names
from privacy_router.plugins.net.apply import Applier
from privacy_router.plugins.net.check import Proposal, check, check_switch
from privacy_router.plugins.net.declare import (
    PLUGIN,
    declare,
    wanted_addresses,
    without_others,
)
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.observe import Location, NetObserved, NetState, observe, read
from privacy_router.plugins.net.rollback import (
    bring_back,
    devices_of,
    reconnect,
    restoring,
    written_down,
)
from privacy_router.plugins.net.session import NetSession
from privacy_router.plugins.net.watch import watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from privacy_router.engine.model import Desired, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.host.devices import Device
    from privacy_router.plugins.target import Machine

_OVS_SOCKET: Final = "/run/openvswitch/db.sock"
_MANAGED: Final = frozenset({names.DHCP, names.IPV6_RA, names.UPLINK, names.INTERFACE})


class NetPlugin(Plugin):
    """The machine's bridges, interfaces, addresses and routes.

    `namespace` and `ovs_socket` are for tests: another network, another Open vSwitch.
    """

    name: ClassVar[str] = PLUGIN
    title: ClassVar[str] = "Bridges, interfaces, addresses and routes"
    # which bring the drivers and programs of devices
    after: ClassVar[frozenset[str]] = frozenset({"packagekit", "pcidecl"})

    def __init__(
        self, machine: Machine, *, namespace: Path | None = None, ovs_socket: Path | None = None
    ) -> None:
        socket = machine.path(_OVS_SOCKET) if ovs_socket is None else ovs_socket
        self._location = Location(machine, namespace, socket)
        # A thread that was given up goes on to its end: what undoes its work waits for that.
        self._working = threading.Lock()

    def declare(self, section: Any) -> Desired:
        """One resource for each setting, address, route, bridge and port."""
        return declare(section)

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """Read the kernel's tables, Open vSwitch's database, and who runs DHCP."""
        wanted = None if keys is None else sorted(keys)
        return observe(await self._read(wanted), wanted)

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """As for every plugin; but "no others" means those that are there, an uplink is where it
        should be when it is on that bridge, with any addresses, and a DHCP client ends
        when it has an address."""
        changes = []
        for change in differences(desired, observed):
            if change.key.kind == names.UPLINK:
                changes += _uplink_change(change, observed)
            elif change.key.kind == names.DHCP and _waits(change, observed):
                changes.append(replace(change, mode=Mode.OBSERVE_ONLY))
            elif change.key.kind != names.OTHER_ADDRESSES or names.NO_OTHERS not in change.after:
                changes.append(change)
        return sorted([*changes, *_others(desired, observed)], key=lambda change: change.key)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:
        """What is about a device that is gone, unless that comes back."""
        if not isinstance(observed, NetObserved):
            return False
        coming = {
            other.name
            for other, resource in desired.resources.items()
            if other.kind in {names.BRIDGE, names.PORT} and resource.value is not None
        }
        needed = devices_of(key.kind, key.name, desired.resources[key].value)
        return not needed <= observed.devices | coming

    def takes(
        self, desired: Desired, observed: Observed, changes: Sequence[Change]
    ) -> dict[ResourceKey, Value]:
        """A DHCP client that has no address yet is ended later."""
        found = super().takes(desired, observed, changes)
        waiting = [c for c in self.diff(desired, observed) if _waits(c, observed)]
        return {c.key: c.before for c in waiting if _is_enforced(desired, c.key)} | found

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse what would cut the machine off, or touch what others made."""
        if any(change.key.kind in names.SWITCH for change in changes):
            await in_thread(check_switch, self._location.ovs_socket)
        state = await self._read([change.key for change in changes])
        check(Proposal(state, desired, changes))

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """The changes, and the devices that they are about with all their addresses and routes."""
        return written_down(await self._read([]), changes)

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """From the bridge up to the routes; what goes, the other way round."""
        await in_thread(self._alone, self._apply, desired, changes, tell)

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """First the uplink's addresses, so that the machine is connected; then all the rest."""
        await in_thread(self._alone, self._roll_back, checkpoint, tell)
        still = await self.to_restore(self.restoring(checkpoint), tell)
        if still:
            raise not_as_asked(still, "does not go back to what it was")

    def restoring(self, checkpoint: Value) -> Desired:
        """What was there of what a run changes."""
        return restoring(checkpoint)

    def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        """The kernel's announcements, and those of Open vSwitch's database."""
        return watched(self._location)

    # --- in threads ------------------------------------------------------------------------------

    async def _read(self, keys: Collection[ResourceKey] | None) -> NetState:
        with doing("read the machine's network"):
            state = await in_thread(read, self._location)
        if keys is None:
            devices = set(state.devices)
        else:
            devices = {key.name for key in keys if key.kind in _MANAGED}
        wanted = {name: device for name, device in state.devices.items() if name in devices}
        return replace(state, managed=await self._managed(wanted)) if wanted else state

    async def _managed(self, devices: Mapping[str, Device]) -> dict[str, dhcp.Managed]:
        machine, found = self._location.machine, {}
        networkd = await dhcp.networkd_runs(machine.bus)
        for name, device in sorted(devices.items()):
            managed = dhcp.by_networkd(machine, device.index) if networkd else None
            managed = managed or await dhcp.by_network_manager(machine.bus, name)
            if managed is not None:
                found[name] = managed
        return found

    def _alone(self, session: Callable[..., None], *arguments: Any) -> None:
        with self._working:
            session(*arguments)

    def _apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        with NetSession(self._location, tell) as session:
            applier = Applier(session, desired, changes)
            applier.run()
            applier.start_dhcp()

    def _roll_back(self, checkpoint: Value, tell: Progress) -> None:
        desired = self.restoring(checkpoint)
        with NetSession(self._location, tell) as session:
            reconnect(session, checkpoint)
            seen = observe(read(self._location), sorted(desired.resources))
            desired = desired.without(self.lost_of(desired.resources, desired, seen))
            changes = self.diff(desired, seen)
            applier = Applier(session, desired, changes)
            try:
                if any(key.kind in names.SWITCH for key in desired.resources):
                    session.ovs.read()  # without its answer, "not there" would be a guess
                applier.run()
            finally:
                bring_back(session, checkpoint)
            applier.start_dhcp()


def _waits(change: Change, observed: Observed) -> bool:
    """Whether that is about a DHCP client that would leave the machine without an address."""
    ends = change.key.kind == names.DHCP and change.after is False
    return ends and isinstance(observed, NetObserved) and change.key.name in observed.waiting


def _is_enforced(desired: Desired, key: ResourceKey) -> bool:
    return desired.resources[key].mode is Mode.ENFORCE


def _uplink_change(change: Change, observed: Observed) -> list[Change]:
    """`before` is all of it: what gives an uplink back needs to know what were its addresses."""
    wanted, found = change.after["bridge"], observed.values.get(change.key)
    if found is None:
        ports = observed.ports if isinstance(observed, NetObserved) else frozenset()
        taken_out = wanted is None and change.key.name not in ports
        return [] if taken_out else [change]
    connected = found["connected"] or not change.after.get("connected")
    settled = found["bridge"] == wanted and connected
    return [] if settled else [replace(change, before=found)]


def _others(desired: Desired, observed: Observed) -> Iterator[Change]:
    """The addresses that `exact` takes away: those that no other resource asks for."""
    wanted = wanted_addresses(desired)
    for key, resource in without_others(desired).items():
        found = observed.values.get(key) or {}
        others = [text for text in sorted(found) if f"{key.name} {text}" not in wanted]
        present = {text: found[text] for text in others if found[text] is not None}
        if present:
            yield Change(key, project(found, present), dict.fromkeys(present), resource.mode)
