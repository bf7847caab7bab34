"""Named network namespaces, compatible with `ip netns` (one bind mount a name in /run/netns)."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from privacy_router.host import libc
from privacy_router.host.libc import CloneFlag, MountFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NETNS_DIR = Path("/run/netns")
OWN = Path("/proc/self/ns/net")
"""The one that this process was started in."""

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


def bound(names: Iterable[str]) -> list[str]:
    """Those of the names that are taken, by a live namespace or by a left-over file."""
    return [name for name in names if path_of(name).exists()]


def create(name: str) -> Path:
    """Make and bind a new network namespace, replacing a left-over file of that name.

    Raises OSError when the kernel refuses.
    """
    _prepare_directory()
    target = path_of(name)
    target.unlink(missing_ok=True)
    target.touch(mode=0o600, exist_ok=False)

    def bind() -> None:
        libc.unshare(CloneFlag.NEWNET)
        libc.mount("/proc/thread-self/ns/net", target, None, MountFlag.BIND)

    _in_thread(bind)
    return target


def _prepare_directory() -> None:
    """Have the directory, and have it as `ip netns` wants it: a shared mount of its own.

    If that came later, the namespaces bound by then would be held by the mount below, which nobody
    could reach any more.
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
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.setns(handle, CloneFlag.NEWNET)
    finally:
        os.close(handle)


def _in_thread(work: Callable[[], T]) -> T:
    future: Future[T] = Future()

    def target() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to the caller's thread, whatever it is
            future.set_exception(error)

    thread = threading.Thread(target=target, name="in-namespace", daemon=True)
    thread.start()
    thread.join()
    return future.result()
