"""One controller a node, and how to reach it.

The node is held in two ways. The lock file in the run directory has the controller's process id,
for people and scripts; but another program can remove it or its directory, and then a second
controller could start beside the first. So an abstract name, which no program can remove, is held
too. Its scope is the network namespace, and that is what two controllers would fight over: the same
names of namespaces, bridges, devices and tables, even if each of them sees other files. A name on
D-Bus would do as well, but a node runs where there is no bus.

Any user may hold an abstract name. One that is held by neither root nor this user is told, and does
not keep the node down.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import ConflictError, StorageError
from privacy_router.host import abstract_names
from privacy_router.host.files import make_directory
from privacy_router.host.inotify import watching

if TYPE_CHECKING:
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()
_TRIES = 5
_PAUSE_S = 0.02
_ENDING_S = 2.0
READ_CLIENTS = signal.SIGUSR1
"""Tells the controller that clients were added or removed. SIGHUP would have it read all files."""


class NodeLock:
    """One controller a node: the lock goes with its process, however that ends."""

    def __init__(self, paths: NodePaths) -> None:
        self._path = paths.lock
        self._names = _Names(paths)
        self._handle: int | None = None

    def take(self, *, as_controller: bool = True) -> None:
        """Hold the lock, and as the controller be the one that is told of changes.

        Raises ConflictError naming the process that has it, StorageError.
        """
        held = [self._names.hold(self._names.node)]
        try:
            self._handle = self._lock_file()
        except BaseException:
            _release(held)
            raise
        if as_controller:
            self._names.hold(self._names.controller)
            # they mean "read again" and would end a process that does not handle them yet
            for number in (signal.SIGHUP, READ_CLIENTS):
                signal.signal(number, signal.SIG_IGN)
            self.note_pid()

    def _lock_file(self) -> int:
        make_directory(self._path.parent)
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._no_file(error) from error
        try:
            _lock_patiently(handle)
            os.ftruncate(handle, 0)  # an earlier controller's number may be another process' now
        except BlockingIOError as error:
            os.close(handle)
            raise _taken(read_controller_pid(self._path)) from error
        except OSError as error:
            os.close(handle)
            raise self._no_file(error) from error
        return handle

    def _no_file(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write to {self._path}: {error.strerror}",
            remedy="make room there, take away what else has that name, or set PRIVACY_ROUTER_RUN"
            " to another directory",
        )

    def note_pid(self) -> None:
        """Write the caller's process id into the lock file."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    async def stay(self) -> None:
        """Put the lock file back where it was removed, until cancelled.

        The name holds the node meanwhile. Raises StorageError, also when the directory goes.
        """
        directory = self._path.parent
        make_directory(directory)
        inode = _inode_of(directory)
        heard: asyncio.Queue[Path] = asyncio.Queue()
        with watching([directory, directory.parent], heard.put_nowait):
            while True:
                if inode is None or _inode_of(directory) != inode:
                    raise StorageError(f"{directory} was removed", retryable=True)
                self._renew()
                await heard.get()

    def _renew(self) -> None:
        if self._handle is None or _is_file(self._path, self._handle):
            return
        removed, self._handle = self._handle, self._lock_file()
        os.close(removed)
        self.note_pid()


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _is_file(path: Path, handle: int) -> bool:
    """Whether that is the file which is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


class _Names:
    """The abstract names of one node: of the process that changes it, and of its controller."""

    def __init__(self, paths: NodePaths) -> None:
        place = hashlib.sha256(os.fsencode(os.path.realpath(paths.run))).hexdigest()[:32]
        self.node = f"privacy-router/{place}/node"
        self.controller = f"privacy-router/{place}/controller"

    def hold(self, name: str) -> int | None:
        """Hold it; None where another user's process keeps it from us. Raises ConflictError."""
        deadline_s = time.monotonic() + _ENDING_S
        while True:
            descriptor = abstract_names.hold(name)
            if descriptor is not None:
                return descriptor
            holders = abstract_names.holders_of(name)
            if holders or time.monotonic() > deadline_s:
                break
            time.sleep(_PAUSE_S)  # a process that is ending has it and shows it no more
        if holders and not any(map(_is_ours, holders)):
            _log.warning("another user holds the node's name", name=name, processes=holders)
            return None
        if abstract_names.is_held(self.controller):
            raise _taken(self.controller_pid() or "of another container")
        raise _taken(None)

    def controller_pid(self) -> int | None:
        """Of an `up` that goes on in a child, the child."""
        holders = [pid for pid in abstract_names.holders_of(self.controller) if _is_ours(pid)]
        return max(holders, default=None)


def _is_ours(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid in {0, os.geteuid()}
    except FileNotFoundError:
        return False


def _release(held: list[int | None]) -> None:
    for descriptor in held:
        if descriptor is not None:
            os.close(descriptor)


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


def _taken(process: int | str | None) -> ConflictError:
    if process is None:
        return ConflictError(
            "the node is being taken down by another command",
            remedy="wait for that one, then try again",
        )
    return ConflictError(
        f"a controller is up already (process {process})",
        remedy="privacy-router apply has it make the machine as a document says, privacy-router"
        " status shows what it keeps; to start anew: privacy-router down",
    )


def read_controller_pid(lock: Path) -> int | None:
    """The process id in the lock file."""
    try:
        return int(lock.read_text())
    except (OSError, ValueError):
        return None


def controller_pid(paths: NodePaths) -> int | None:
    """The running controller's process id, or None when no process holds the lock.

    Where its lock file was removed, the name that it holds tells.
    """
    try:
        handle = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return _Names(paths).controller_pid()
    try:
        # shared: two that only look must not take each other for a controller
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_controller_pid(paths.lock)
    else:
        return _Names(paths).controller_pid()
    finally:
        os.close(handle)


def tell_of_clients(paths: NodePaths) -> bool:
    """Have the controller read the clients again, and nothing else; False when there is none."""
    pid = controller_pid(paths)
    if pid is None:
        return False
    try:
        os.kill(pid, READ_CLIENTS)
    except ProcessLookupError:
        return False
    return True
