"""One controller a node, and how to reach it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError, StorageError
from privacy_router.host.files import make_directory

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.node.paths import NodePaths


_TRIES = 5
_PAUSE_S = 0.02


class NodeLock:
    """One controller a node: the lock goes with its process, however that ends."""

    def __init__(self, paths: NodePaths) -> None:
        self._path = paths.lock
        self._handle: int | None = None

    def take(self, *, as_controller: bool = True) -> None:
        """Hold the lock, and as the controller be the one that is told of changes.

        Raises ConflictError naming the process that has it, StorageError.
        """
        make_directory(self._path.parent)
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write to {self._path.parent}: {error.strerror}",
                remedy="make room there, or set PRIVACY_ROUTER_RUN to another directory",
            ) from error
        try:
            _lock_patiently(handle)
        except BlockingIOError as error:
            os.close(handle)
            raise _taken(read_controller_pid(self._path)) from error
        self._handle = handle
        os.ftruncate(handle, 0)  # an earlier controller's number may be another process' by now
        if as_controller:
            # it means "read again" and would end a process that does not handle it yet
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self.note_pid()

    def note_pid(self) -> None:
        """Write the caller's process id into the lock file."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)


def _lock_patiently(handle: int) -> None:
    """Take the lock, or raise BlockingIOError; a glance of `controller_pid` is waited for."""
    for _ in range(_TRIES - 1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(pid: int | None) -> ConflictError:
    if pid is None:
        return ConflictError(
            "the node is being taken down by another command",
            remedy="wait for that one, then try again",
        )
    return ConflictError(
        f"a controller is up already (process {pid})",
        remedy="privacy-router apply has it make the machine as a document says, privacy-router"
        " status shows what it keeps; to start anew: privacy-router down",
    )


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
        # shared: two that only look must not take each other for a controller
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
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
