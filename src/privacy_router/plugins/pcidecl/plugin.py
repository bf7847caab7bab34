"""The plugin `pcidecl` towards the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.model import (
    AVAILABLE,
    Availability,
    Change,
    Desired,
    Mode,
    Observed,
    Resource,
    ResourceKey,
    Value,
    enforced,
)
from privacy_router.engine.plugin import Plugin, Progress
from privacy_router.errors import PrivacyRouterError
from privacy_router.host.threads import in_thread
from privacy_router.host.uevents import uevents
from privacy_router.plugins.pcidecl.bus import PciBus
from privacy_router.plugins.pcidecl.check import check, other_than, require_identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from privacy_router.config.plugins.pcidecl import PciDevice
    from privacy_router.host.uevents import Uevent
    from privacy_router.plugins.target import Machine

DEVICE = "device"


class PcideclPlugin(Plugin):
    """PCI devices and the drivers that they are bound to."""

    name: ClassVar[str] = "pcidecl"
    title: ClassVar[str] = "PCI devices and their drivers"
    after: ClassVar[frozenset[str]] = frozenset({"packagekit"})  # which brings drivers

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._bus = PciBus(machine)

    async def availability(self) -> Availability:
        """Whether the machine has a PCI bus."""
        if self._bus.is_here():
            return AVAILABLE
        return Availability(
            "this machine has no PCI bus", "leave plugins.pcidecl out of its document"
        )

    def declare(self, section: Any) -> Desired:
        """The payload is the addresses of those that may lose their driver in any case."""
        devices: dict[str, PciDevice] = {} if section is None else section.devices
        resources = {
            self.key(DEVICE, address): Resource(_value(item), Mode(item.mode))
            for address, item in devices.items()
        }
        forced = frozenset(address for address, item in devices.items() if item.force)
        return Desired(resources, forced)

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """All devices, or those."""
        return await in_thread(self._query, keys)

    def _query(self, keys: Collection[ResourceKey] | None) -> Observed:
        if keys is None:
            addresses = self._bus.addresses() if self._bus.is_here() else []
            keys = [self.key(DEVICE, address) for address in addresses]
        found = {key: self._bus.read(key.name) for key in keys}
        return Observed({key: value for key, value in found.items() if value is not None})

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse other devices than are meant, drivers that are not loaded, and to take away what
        the machine cannot do without."""
        await in_thread(check, self._machine, self._bus, changes, desired.payload)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:
        """A device that was taken out, be there another one in its place or not."""
        found = observed.values.get(key)
        return found is None or other_than(found, desired.resources[key].value) is not None

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:  # noqa: ARG002
        """Each device in turn; a kernel that takes its time is not interrupted."""
        for change in enforced(changes):
            if change.after is not None:
                await in_thread(self._apply, change, tell)

    def _apply(self, change: Change, tell: Progress) -> None:
        address, wanted = change.key.name, change.after
        found = self._bus.read(address)
        require_identity(address, found, wanted)  # between a look and a change lies a moment
        if "driver_override" in wanted and found["driver_override"] != wanted["driver_override"]:
            self._bus.override(address, wanted["driver_override"])
        if "driver" in wanted and found["driver"] != wanted["driver"]:
            tell(f"{address}: {found['driver'] or 'no driver'} → {wanted['driver'] or 'no driver'}")
            self._bus.bind(address, wanted["driver"])

    async def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        """Devices that come, go, or change drivers. The kernel says nothing of driver_override."""
        try:
            async for event in uevents("pci"):
                yield _words(event)
        except OSError as error:
            raise PrivacyRouterError(
                f"the kernel does not tell of devices: {error.strerror}", retryable=True
            ) from error


def _value(item: PciDevice) -> Value:
    """Only what the section names. A driver comes with an override, so that no other takes the
    device when the bus is searched again."""
    value: dict[str, Value] = {"vendor": item.vendor, "device": item.device}
    if "driver" in item.model_fields_set:
        value["driver"] = item.driver
    if "driver_override" in item.model_fields_set:
        value["driver_override"] = item.driver_override
    elif item.driver is not None:
        value["driver_override"] = item.driver
    return value


def _words(event: Uevent) -> str:
    device = event.get("PCI_SLOT_NAME", "")
    return f"PCI device {device}: {event.get('ACTION', '')}" if device else "PCI devices"
