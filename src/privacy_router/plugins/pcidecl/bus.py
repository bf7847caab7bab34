"""The kernel's PCI bus in sysfs: Documentation/ABI/testing/sysfs-bus-pci of the kernel."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.engine.model import Value
    from privacy_router.plugins.target import Machine

_UNSET: Final = "(null)"  # how the kernel shows a driver_override that is not set
_PROBE_S: Final = 5.0  # some drivers bind in the background
_POLL_S: Final = 0.01


class PciBus:
    """The devices of a machine and their drivers, by name."""

    def __init__(self, machine: Machine) -> None:
        self._bus = machine.path("/sys/bus/pci")

    def is_here(self) -> bool:
        """Whether the machine has a PCI bus, be there devices on it or not."""
        return (self._bus / "devices").is_dir()

    def addresses(self) -> list[str]:
        """All devices."""
        return sorted(path.name for path in (self._bus / "devices").iterdir())

    def device(self, address: str) -> Path:
        """A device's directory, where it really is: those of its parts are below it."""
        return (self._bus / "devices" / address).resolve()

    def read(self, address: str) -> Value:
        """A device as a value; None when it is not there."""
        device = self._bus / "devices" / address
        try:
            return {
                "class": _line(device / "class"),
                "vendor": _line(device / "vendor"),
                "device": _line(device / "device"),
                "driver": self.driver(address),
                "driver_override": _override(device),
            }
        except FileNotFoundError:
            return None

    def driver(self, address: str) -> str | None:
        """The driver that a device is bound to."""
        try:
            return (self._bus / "devices" / address / "driver").readlink().name
        except FileNotFoundError:
            return None

    def has_driver(self, name: str) -> bool:
        """Whether a driver is loaded."""
        return (self._bus / "drivers" / name).is_dir()

    def is_writable(self, address: str) -> bool:
        """Whether the device's files can be written: not in a container, as a rule."""
        return os.access(self._bus / "devices" / address / "driver_override", os.W_OK)

    def override(self, address: str, name: str | None) -> None:
        """Let only that driver bind the device from now on; None: whichever fits."""
        _write(self._bus / "devices" / address / "driver_override", name or "")

    def bind(self, address: str, name: str | None) -> None:
        """Have the device bound to that driver, or to none; taking it from another one.

        Raises PrivacyRouterError when it does not become so.
        """
        found = self.driver(address)
        if found == name:
            return
        if found is not None:
            _write(self._bus / "drivers" / found / "unbind", address)
            self._await(address, None)
        if name is not None:
            self._offer(address, name)

    def _offer(self, address: str, name: str) -> None:
        """Have the bus searched for a driver, when no other than this one can be found."""
        override = _override(self._bus / "devices" / address)
        if override is None:
            _write(self._bus / "drivers" / name / "bind", address)
        else:
            self.override(address, name)
            _write(self._bus / "drivers_probe", address)
        try:
            self._await(address, name)
        finally:
            if override is not None:
                self.override(address, override)

    def _await(self, address: str, name: str | None) -> None:
        deadline = time.monotonic() + _PROBE_S
        while (found := self.driver(address)) != name:
            if time.monotonic() > deadline:
                raise PrivacyRouterError(
                    f"the PCI device {address} is bound to {found or 'no driver'} and does not"
                    f" change to {name or 'none'}",
                    remedy="the kernel's log says why (dmesg)",
                )
            time.sleep(_POLL_S)


def _line(path: Path) -> str:
    return path.read_text().partition("\n")[0]


def _override(device: Path) -> str | None:
    """None too where the kernel is older than the attribute (3.16)."""
    path = device / "driver_override"
    name = _line(path) if path.exists() else ""
    return name if name not in {"", _UNSET} else None


def _write(path: Path, text: str) -> None:
    try:
        with path.open("w") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise PrivacyRouterError(
            f"the kernel does not take {text!r} in {path}: {error.strerror}",
            remedy="its log says why (dmesg)",
        ) from error
