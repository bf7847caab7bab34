"""A PCI bus in a directory, which reacts to what is written to it as the kernel's does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from privacy_router.host import inotify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNSET = "(null)\n"


class PciKernel:
    """The tree below `root`, and the rules by which drivers take devices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bus = root / "sys/bus/pci"
        self._ids: dict[str, set[str]] = {}
        for directory in (self._bus / "devices", self._bus / "drivers", root / "proc/net"):
            directory.mkdir(parents=True)
        (self._bus / "drivers_probe").touch()

    def add_driver(self, name: str, *ids: str) -> None:
        """A driver, loaded, that fits devices with these ids (vendor and device)."""
        self._ids[name] = set(ids)
        (self._bus / "drivers" / name).mkdir()
        for attribute in ("bind", "unbind"):
            (self._bus / "drivers" / name / attribute).touch()

    def add_device(self, address: str, ids: str = "8086 1533", driver: str | None = None) -> Path:
        """A device, bound to a driver or not; its directory."""
        device = self.root / f"sys/devices/pci0000:00/{address}"
        device.mkdir(parents=True)
        vendor, kind = ids.split()
        for name, text in (("vendor", vendor), ("device", kind), ("class", "020000")):
            (device / name).write_text(f"0x{text}\n")
        (device / "driver_override").write_text(UNSET)
        (self._bus / "devices" / address).symlink_to(f"../../../devices/pci0000:00/{address}")
        if driver is not None:
            self._link(device, driver)
        return device

    def add_part(self, device: Path, kind: str, name: str) -> Path:
        """A disk or a network device that belongs to a device; its directory."""
        part = device / kind / name
        part.mkdir(parents=True)
        self._class(kind, name, part)
        return part

    def add_virtual(self, kind: str, name: str) -> Path:
        """One that belongs to none."""
        part = self.root / f"sys/devices/virtual/{kind}/{name}"
        part.mkdir(parents=True)
        self._class(kind, name, part)
        return part

    def _class(self, kind: str, name: str, part: Path) -> None:
        directory = self.root / "sys/class" / kind
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).symlink_to(os.path.relpath(part, directory))

    def route(self, device: str) -> None:
        """The default route."""
        row = f"{device}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        (self.root / "proc/net/route").write_text(f"Iface\tDestination\tGateway\n{row}")

    def mount(self, source: str, point: str) -> None:
        """A mounted device, by the number 8:1."""
        self_ = self.root / "proc/self"
        self_.mkdir(exist_ok=True)
        row = f"22 1 8:1 / {point} rw shared:1 - ext4 {source} rw\n"
        (self_ / "mountinfo").write_text(f"21 22 0:20 / /proc rw - proc proc rw\n{row}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """React, within the running event loop."""
        directories = [self._bus, *(self._bus / "drivers").iterdir()]
        directories += [path.resolve() for path in (self._bus / "devices").iterdir()]
        with inotify.watching(directories, self._written):
            yield

    def _written(self, path: Path) -> None:
        if path.name == "driver_override":
            if not path.read_text().strip():
                path.write_text(UNSET)
            return
        if path.name not in {"bind", "unbind", "drivers_probe"} or not path.read_text():
            return
        device = (self._bus / "devices" / path.read_text().strip()).resolve()
        path.write_text("")
        if path.name == "unbind":
            if (device / "driver").readlink().name == path.parent.name:
                (device / "driver").unlink()
        elif not (device / "driver").is_symlink():
            names = list(self._ids) if path.name == "drivers_probe" else [path.parent.name]
            for name in names:
                if self._fits(device, name):
                    self._link(device, name)
                    return

    def _fits(self, device: Path, driver: str) -> bool:
        override = (device / "driver_override").read_text()
        if override != UNSET:
            return override.partition("\n")[0] == driver
        ids = " ".join((device / name).read_text()[2:].strip() for name in ("vendor", "device"))
        return ids in self._ids[driver]

    def _link(self, device: Path, driver: str) -> None:
        (device / "driver").symlink_to(os.path.relpath(self._bus / "drivers" / driver, device))
