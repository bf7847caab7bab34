"""What a machine cannot do without: mounted disks and the way out, and which device they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from privacy_router.plugins.place import Place

_OVS: Final = "ovs-system"  # which of its ports leads out, only its flows know
_IPV4_ANY, _IPV6_ANY, _LOOPBACK = "00000000", "0" * 32, "lo"
_IPV6_LENGTH, _IPV6_DEVICE = 1, 9  # fields of /proc/net/ipv6_route
_IPV4_DEVICE, _IPV4_DESTINATION, _IPV4_MASK = 0, 1, 7  # of /proc/net/route
_MOUNT_NUMBER, _MOUNT_POINT = 2, 4  # of /proc/self/mountinfo


def use_of(place: Place, device: Path) -> str:
    """In words what would be lost without this device (a directory); empty if nothing is known."""
    return _use_of_disks(place, device) or _use_of_links(place, device)


def _use_of_disks(place: Place, device: Path) -> str:
    mounts = _mounts(place)
    disks = {*_below(place, "/sys/class/block", device), *_multipath_disks(place, device)}
    for disk in _with_holders(place, disks):
        if disk in mounts:
            return f"{disk} is mounted at {mounts[disk]}"
    return ""


def _use_of_links(place: Place, device: Path) -> str:
    ways_out = _default_devices(place)
    for name in sorted(_below(place, "/sys/class/net", device)):
        uppers = _uppers(place, name)
        if uppers & ways_out:
            return f"the default route goes by {name}"
        if _OVS in uppers:
            return f"{name} is a port of Open vSwitch"
    return ""


def _below(place: Place, kind: str, device: Path) -> Iterator[str]:
    """The block or network devices that are part of a device."""
    directory = place.path(kind)
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.resolve().is_relative_to(device):
            yield path.name


def _multipath_disks(place: Place, device: Path) -> Iterator[str]:
    """NVMe disks that several controllers lead to belong to none of them in sysfs."""
    for subsystem in place.path("/sys/class/nvme-subsystem").glob("*"):
        parts = list(subsystem.iterdir())
        if any(part.is_symlink() and part.resolve().is_relative_to(device) for part in parts):
            yield from (part.name for part in parts if (part / "holders").is_dir())


def _with_holders(place: Place, disks: Iterable[str]) -> list[str]:
    """Disks, and what is made of them: volumes, arrays, encrypted ones."""
    found: list[str] = []
    waiting = sorted(disks, reverse=True)
    while waiting:
        disk = waiting.pop()
        if disk not in found:
            found.append(disk)
            holders = place.path(f"/sys/class/block/{disk}/holders")
            waiting += (path.name for path in holders.glob("*"))
    return found


def _mounts(place: Place) -> dict[str, str]:
    """Mounted and swapped-to block devices by name, and where."""
    found: dict[str, str] = {}
    for line in reversed(_lines(place, "/proc/self/mountinfo")):
        fields, _, source = line.partition(" - ")
        words = fields.split()
        for name in (_of_number(place, words[_MOUNT_NUMBER]), _of_node(place, source.split()[1])):
            if name:
                found[name] = words[_MOUNT_POINT]
    for line in _lines(place, "/proc/swaps")[1:]:
        found[_of_node(place, line.split()[0])] = "swap"
    return found


def _of_number(place: Place, number: str) -> str:
    path = place.path(f"/sys/dev/block/{number}")
    return path.resolve().name if path.exists() else ""


def _of_node(place: Place, source: str) -> str:
    """Some file systems have a number of their own (btrfs); they still say where they are."""
    return place.path(source).resolve().name if source.startswith("/dev/") else ""


def _default_devices(place: Place) -> set[str]:
    found = set()
    for line in _lines(place, "/proc/net/route")[1:]:
        words = line.split()
        if words[_IPV4_DESTINATION] == words[_IPV4_MASK] == _IPV4_ANY:
            found.add(words[_IPV4_DEVICE])
    for line in _lines(place, "/proc/net/ipv6_route"):
        words = line.split()
        if words[0] == _IPV6_ANY and words[_IPV6_LENGTH] == "00":
            found.add(words[_IPV6_DEVICE])
    return found - {_LOOPBACK}


def _uppers(place: Place, name: str) -> set[str]:
    """A network device, and the bridges, bonds and VLANs on top of it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            above = place.path(f"/sys/class/net/{one}").glob("upper_*")
            waiting += (path.name.removeprefix("upper_") for path in above)
    return found


def _lines(place: Place, path: str) -> list[str]:
    try:
        return place.path(path).read_text().splitlines()
    except FileNotFoundError:
        return []  # a kernel without IPv6, or without swap
