"""Refuse other devices than are meant, drivers that are not loaded, and to take away what the
machine cannot do without: mounted disks and the way out. Blocks on sysfs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import enforced

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

    from privacy_router.engine.model import Change, Value
    from privacy_router.plugins.pcidecl.bus import PciBus
    from privacy_router.plugins.target import Machine

_OVS: Final = "ovs-system"  # which of its ports leads out, only its flows know
_IPV4_ANY, _IPV6_ANY, _LOOPBACK = "00000000", "0" * 32, "lo"
_IPV6_LENGTH, _IPV6_DEVICE = 1, 9  # fields of /proc/net/ipv6_route
_IPV4_DEVICE, _IPV4_DESTINATION, _IPV4_MASK = 0, 1, 7  # of /proc/net/route
_MOUNT_NUMBER, _MOUNT_POINT = 2, 4  # of /proc/self/mountinfo


def check(machine: Machine, bus: PciBus, changes: Iterable[Change], forced: Container[str]) -> None:
    """Raise RefusedError for a change that must not be made. `forced` are the addresses of the
    devices that may be taken away though the machine cannot do without them."""
    for change in enforced(changes):
        if change.after is not None:
            _require_the_same(bus, change)
            _require_driver(bus, change)
            if change.key.name not in forced:
                _require_spare(machine, bus, change)


def _require_the_same(bus: PciBus, change: Change) -> None:
    address = change.key.name
    require_identity(address, change.before, change.after)
    if not bus.is_writable(address):
        raise RefusedError(
            f"the files of the PCI device {address} in /sys cannot be written here",
            remedy="a container cannot do that: run op-dbus on the host",
        )


def require_identity(address: str, found: Value, wanted: Value) -> None:
    """Raise RefusedError for a device that is not the one that is meant."""
    if found is None:
        raise RefusedError(
            f"there is no PCI device {address}",
            remedy="`lspci -Dn` lists those that there are; or leave it out of the document",
        )
    name = other_than(found, wanted)
    if name is not None:
        raise RefusedError(
            f"the PCI device {address} is another one than declared: its {name} is"
            f" {found[name]}, not {wanted[name]}",
            remedy="see `lspci -Dn` for where the device is now, and correct its address",
        )


def _require_driver(bus: PciBus, change: Change) -> None:
    driver = change.after.get("driver")
    if driver is not None and not bus.has_driver(driver):
        raise RefusedError(
            f"the driver {driver} for the PCI device {change.key.name} is not loaded",
            remedy=f"modprobe {driver}, and name it in /etc/modules-load.d for the next start",
        )


def _require_spare(machine: Machine, bus: PciBus, change: Change) -> None:
    loses = change.before.get("driver")
    if loses is None or loses == change.after.get("driver"):
        return
    use = use_of(machine, bus.device(change.key.name))
    if use:
        raise RefusedError(
            f"the PCI device {change.key.name} is in use: {use}",
            remedy='take that elsewhere first; with "force": true it is done all the same',
        )


def other_than(found: Value, wanted: Value) -> str | None:
    """What shows that a device is not the one that is meant."""
    names = (name for name in ("vendor", "device") if name in wanted)
    return next((name for name in names if found[name] != wanted[name]), None)


# --- what the machine cannot do without -----------------------------------------------------------


def use_of(machine: Machine, device: Path) -> str:
    """In words what would be lost without this device (a directory); empty if nothing is known."""
    return _use_of_disks(machine, device) or _use_of_links(machine, device)


def _use_of_disks(machine: Machine, device: Path) -> str:
    mounts = _mounts(machine)
    disks = {*_below(machine, "/sys/class/block", device), *_multipath_disks(machine, device)}
    for disk in _with_holders(machine, disks):
        if disk in mounts:
            return f"{disk} is mounted at {mounts[disk]}"
    return ""


def _use_of_links(machine: Machine, device: Path) -> str:
    ways_out = _default_devices(machine)
    for name in sorted(_below(machine, "/sys/class/net", device)):
        uppers = _uppers(machine, name)
        if uppers & ways_out:
            return f"the default route goes by {name}"
        if _OVS in uppers:
            return f"{name} is a port of Open vSwitch"
    return ""


def _below(machine: Machine, kind: str, device: Path) -> Iterator[str]:
    """The block or network devices that are part of a device."""
    directory = machine.path(kind)
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.resolve().is_relative_to(device):
            yield path.name


def _multipath_disks(machine: Machine, device: Path) -> Iterator[str]:
    """NVMe disks that several controllers lead to belong to none of them in sysfs."""
    for subsystem in machine.path("/sys/class/nvme-subsystem").glob("*"):
        parts = list(subsystem.iterdir())
        if any(part.is_symlink() and part.resolve().is_relative_to(device) for part in parts):
            yield from (part.name for part in parts if (part / "holders").is_dir())


def _with_holders(machine: Machine, disks: Iterable[str]) -> list[str]:
    """Disks, and what is made of them: volumes, arrays, encrypted ones."""
    found: list[str] = []
    waiting = sorted(disks, reverse=True)
    while waiting:
        disk = waiting.pop()
        if disk not in found:
            found.append(disk)
            holders = machine.path(f"/sys/class/block/{disk}/holders")
            waiting += (path.name for path in holders.glob("*"))
    return found


def _mounts(machine: Machine) -> dict[str, str]:
    """Mounted and swapped-to block devices by name, and where."""
    found: dict[str, str] = {}
    for line in reversed(_lines(machine, "/proc/self/mountinfo")):
        fields, _, source = line.partition(" - ")
        words = fields.split()
        for name in (
            _of_number(machine, words[_MOUNT_NUMBER]),
            _of_node(machine, source.split()[1]),
        ):
            if name:
                found[name] = words[_MOUNT_POINT]
    for line in _lines(machine, "/proc/swaps")[1:]:
        found[_of_node(machine, line.split()[0])] = "swap"
    return found


def _of_number(machine: Machine, number: str) -> str:
    path = machine.path(f"/sys/dev/block/{number}")
    return path.resolve().name if path.exists() else ""


def _of_node(machine: Machine, source: str) -> str:
    """Some file systems have a number of their own (btrfs); they still say where they are."""
    return machine.path(source).resolve().name if source.startswith("/dev/") else ""


def _default_devices(machine: Machine) -> set[str]:
    found = set()
    for line in _lines(machine, "/proc/net/route")[1:]:
        words = line.split()
        if words[_IPV4_DESTINATION] == words[_IPV4_MASK] == _IPV4_ANY:
            found.add(words[_IPV4_DEVICE])
    for line in _lines(machine, "/proc/net/ipv6_route"):
        words = line.split()
        if words[0] == _IPV6_ANY and words[_IPV6_LENGTH] == "00":
            found.add(words[_IPV6_DEVICE])
    return found - {_LOOPBACK}


def _uppers(machine: Machine, name: str) -> set[str]:
    """A network device, and the bridges, bonds and VLANs on top of it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            above = machine.path(f"/sys/class/net/{one}").glob("upper_*")
            waiting += (path.name.removeprefix("upper_") for path in above)
    return found


def _lines(machine: Machine, path: str) -> list[str]:
    try:
        return machine.path(path).read_text().splitlines()
    except FileNotFoundError:
        return []  # a kernel without IPv6, or without swap
