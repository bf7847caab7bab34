"""What stands in the way of files that are to be written, found before anything is touched.

Blocks on the disk.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from privacy_router.plugins.target import Machine

_DROP_IN_DIRECTORIES: Final = (  # of two files of one name the earlier directory's is read
    "/etc/systemd/resolved.conf.d",
    "/run/systemd/resolved.conf.d",
    "/usr/local/lib/systemd/resolved.conf.d",
    "/usr/lib/systemd/resolved.conf.d",
)
_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS of linux/fs.h
_IMMUTABLE: Final = 0x10
_MOUNTS: Final = "/proc/self/mountinfo"
_MOUNT_POINT_FIELD: Final = 4


def require_replaceable(machine: Machine, path: Path) -> None:
    """Refuse when `path` cannot be replaced by a file of ours. Raises RefusedError."""
    parent = path.parent
    if not parent.is_dir():
        raise RefusedError(f"{parent} is not there", remedy="make that directory")
    if os.statvfs(parent).f_flag & os.ST_RDONLY:
        raise RefusedError(
            f"{parent} is read-only", remedy=f"remount it: mount -o remount,rw {parent}"
        )
    for one in (path, parent):
        if _is_immutable(one):
            raise RefusedError(
                f"{one} is immutable: it is protected from being changed",
                remedy=f"chattr -i {one}, if that is meant to end",
            )
    if _mount_points(machine) & {str(path), str(parent.resolve() / path.name)}:
        raise RefusedError(
            f"{path} is a mount of its own, as container managers make it",
            remedy=f"set the servers in the container manager, or umount {path}",
        )


def _is_immutable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # not there, or a symbolic link, which has no such flag
    try:
        flags = fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0))
    except OSError:
        return False  # a file system without such flags
    finally:
        os.close(descriptor)
    return bool(struct.unpack("l", flags)[0] & _IMMUTABLE)


def _mount_points(machine: Machine) -> frozenset[str]:
    mounts = machine.path(_MOUNTS)
    if not mounts.is_file():
        return frozenset()
    lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    return frozenset(line.split(" ")[_MOUNT_POINT_FIELD] for line in lines)


def require_last_word(machine: Machine, ours: Path, names: Collection[str]) -> None:
    """Refuse when a file that is read after ours sets one of these. Raises RefusedError."""
    for path in _files_after(machine, ours.name):
        for name in _names_in(path):
            if name in names:
                raise RefusedError(
                    f"{path} sets {name} too, and is read after {ours}",
                    remedy=f"take {name} out of {path}, or out of plugins.dns",
                )


def _files_after(machine: Machine, name: str) -> Iterator[Path]:
    seen = set()
    for directory in map(machine.path, _DROP_IN_DIRECTORIES):
        for path in sorted(directory.glob("*.conf")):
            if path.name > name and path.name not in seen:
                seen.add(path.name)
                yield path


def _names_in(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, equals, _ = line.partition("=")
        if equals and not name.lstrip().startswith(("#", ";")):
            yield name.strip()
