"""One controller a node, and how to reach it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.node.paths import NodePaths


class NodeLock:
    """One controller a node: the lock goes with its process, however that ends."""

    def __init__(self, paths: NodePaths) -> None:
        self._path = paths.lock
        self._handle: int | None = None

    def take(self) -> None:
        """Hold the lock. Raises ConflictError naming the process that has it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write to {self._path.parent}: {error.strerror}",
                remedy="make room there, or set PRIVACY_ROUTER_RUN to another directory",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise ConflictError(
                f"the node is up already (controller process {read_controller_pid(self._path)})",
                remedy="privacy-router status; to start anew: privacy-router down",
            ) from error
        self._handle = handle

    def note_pid(self) -> None:
        """Write the caller's process id into the lock file."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)


def read_controller_pid(lock: Path) -> int | None:
    """The process id in the lock file."""
    try:
        return int(lock.read_text())
    except (FileNotFoundError, ValueError):
        return None


def controller_pid(paths: NodePaths) -> int | None:
    """The running controller's process id, or None when nobody holds the lock."""
    try:
        handle = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return read_controller_pid(paths.lock)
    else:
        return None
    finally:
        os.close(handle)


def tell_controller(paths: NodePaths) -> bool:
    """Have the controller read configuration and clients again; False when there is none."""
    pid = controller_pid(paths)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    return True
