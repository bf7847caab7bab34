"""Named network namespaces, compatible with `ip netns` (one bind mount a name in /run/netns)."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from privacy_router.host import libc
from privacy_router.host.libc import CloneFlag, MountFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETNS_DIR = Path("/run/netns")
OWN = Path("/proc/self/ns/net")
"""The one that this process was started in."""

_FILE_MARK = b"privacy-router\n"

T = TypeVar("T")


def path_of(name: str) -> Path:
    """Where the namespace `name` is bound."""
    return NETNS_DIR / name


def exists(name: str) -> bool:
    """Whether `name` is bound to a live network namespace (not merely a left-over file)."""
    return inode_of(path_of(name)) is not None


def inode_of(namespace: Path | None) -> int | None:
    """What tells one namespace from another of the same name (None: of the caller's own); None
    when no live one is bound there."""
    try:
        found = (namespace or OWN).stat()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return found.st_ino if found.st_dev == OWN.stat().st_dev else None


def create(name: str, prepare: Callable[[], None]) -> Path:
    """Make a new network namespace, run `prepare` in it, and bind it to its name.

    A file of that name is replaced. Raises OSError when the kernel refuses, and FileExistsError
    when a live namespace has the name.
    """
    _prepare_directory()
    target = path_of(name)
    if exists(name):
        raise FileExistsError(errno.EEXIST, "a network namespace of that name exists", str(target))
    _have_mount_point(name)

    def bind() -> None:
        libc.unshare(CloneFlag.NEWNET)
        prepare()
        libc.mount("/proc/thread-self/ns/net", target, None, MountFlag.BIND)

    _in_thread(bind)
    return target


def _have_mount_point(name: str) -> None:
    """A file to bind a namespace on. It has our mark from its beginning, so that one that a crash
    leaves behind is known."""
    beginning = _beginning_of(name)
    beginning.write_bytes(_FILE_MARK)
    beginning.rename(path_of(name))


def _beginning_of(name: str) -> Path:
    return NETNS_DIR / f".{name}.new"


def is_leftover(name: str) -> bool:
    """Whether a file of that name is ours, or empty, and no namespace is bound on it."""
    target = path_of(name)
    return not exists(name) and target.is_file() and target.read_bytes() in (b"", _FILE_MARK)


def remove_leftovers(name: str) -> None:
    """Remove the files that a crash while a namespace was made or deleted left behind."""
    _beginning_of(name).unlink(missing_ok=True)
    target = path_of(name)
    if not exists(name) and target.is_file() and target.read_bytes() == _FILE_MARK:
        target.unlink()


def _prepare_directory() -> None:
    """Have the directory, and have it as `ip netns` wants it: a shared mount of its own.

    If that came later, the namespaces bound by then would be held by the mount below, which could
    not be reached any more.
    """
    NETNS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        libc.mount("", NETNS_DIR, "none", MountFlag.SHARED | MountFlag.RECURSIVE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        libc.mount(str(NETNS_DIR), NETNS_DIR, "none", MountFlag.BIND | MountFlag.RECURSIVE)
        libc.mount("", NETNS_DIR, "none", MountFlag.SHARED | MountFlag.RECURSIVE)


def remove_directory() -> None:
    """Take the directory away if no namespace is bound in it."""
    if not NETNS_DIR.is_dir() or any(NETNS_DIR.iterdir()):
        return
    try:
        libc.unmount(NETNS_DIR)
    except OSError as error:
        if error.errno != errno.EINVAL:  # it is not a mount
            raise
    NETNS_DIR.rmdir()


def delete(name: str) -> None:
    """Unbind the namespace; it goes with its devices once nothing uses it any more."""
    target = path_of(name)
    if not target.exists():
        return
    if exists(name):
        libc.unmount(target)
    target.unlink()


@contextmanager
def opened(namespace: Path | None) -> Iterator[int]:
    """A descriptor of the namespace (None: of the caller's own), to move devices into it."""
    handle = os.open(namespace or OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def run_in(namespace: Path | None, work: Callable[[], T]) -> T:
    """Run `work` inside a network namespace and return what it returns.

    Sockets opened and processes started by `work` belong to that namespace for good. It runs in a
    thread of its own, since a network namespace is a property of the thread. None: right here.
    """
    if namespace is None:
        return work()

    def entered() -> T:
        enter(namespace)
        return work()

    return _in_thread(entered)


def enter(namespace: Path) -> None:
    """Move the calling thread into a network namespace, for good."""
    with opened(namespace) as handle:
        libc.setns(handle, CloneFlag.NEWNET)


def _in_thread(work: Callable[[], T]) -> T:
    future: Future[T] = Future()

    def target() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to the caller's thread
            future.set_exception(error)

    thread = threading.Thread(target=target, name="in-namespace", daemon=True)
    thread.start()
    thread.join()
    return future.result()
