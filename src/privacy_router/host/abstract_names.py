"""Names that one process at a time can hold, and that no file is behind; unix(7), "abstract".

A name is held from `hold` until the process (and those that it forks) has ended, however it ends.
It cannot be deleted, as a lock file or its directory can. Names belong to a network namespace, not
to a mount namespace: two processes that see different files and the same network devices meet here,
and two machines in namespaces of their own do not.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_REGISTER = Path("/proc/net/unix")


def hold(name: str) -> int | None:
    """A descriptor that holds the name for as long as it is open; None when it is held already."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            bound.bind(f"\0{name}")  # it never listens, so nothing can be sent there
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        return bound.detach()


def is_held(name: str) -> bool:
    """Whether a process of this network namespace holds it."""
    return next(_inodes(name), None) is not None


def holders_of(name: str) -> list[int]:
    """The processes that hold it, of those that are seen from here: of the same PID namespace."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(name)}
    if not wanted:
        return []
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if not wanted.isdisjoint(_open_files_of(pid))]


def _inodes(name: str) -> Iterator[str]:
    """proc_net_unix(5): Num RefCount Protocol Flags Type St Inode Path."""
    for line in _REGISTER.read_text(errors="replace").splitlines():
        fields = line.split(maxsplit=7)
        if fields[7:] == [f"@{name}"]:
            yield fields[6]


def _open_files_of(pid: int) -> set[str]:
    """The files that it has open; none when it has ended, or is another user's."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(entry.readlink()))
    return found
