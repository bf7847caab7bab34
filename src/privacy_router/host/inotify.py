"""Hear of changes in directories: inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from contextlib import contextmanager
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_HEADER: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_BYTES: Final = 65536


class Event(IntFlag):
    """What happened; inotify(7)."""

    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    ONLYDIR = 0x01000000


_WANTED: Final = (
    Event.ATTRIB
    | Event.CLOSE_WRITE
    | Event.MOVED_FROM
    | Event.MOVED_TO
    | Event.CREATE
    | Event.DELETE
    | Event.DELETE_SELF
    | Event.ONLYDIR
)


@contextmanager
def watching(directories: Iterable[Path], tell: Callable[[Path], None]) -> Iterator[None]:
    """Inside `with`, `tell` is called by the running event loop with each entry of these
    directories that is made, written, renamed, given other permissions or removed.

    A directory that is not there is left out; one that goes is told itself, and so are all when
    the kernel had to drop events. Raises StorageError when the kernel has no watch to give.
    """
    descriptor = _require(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")
    loop = asyncio.get_running_loop()
    try:
        watched = dict(_add(descriptor, directories))
        loop.add_reader(descriptor, _read, descriptor, watched, tell)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _add(descriptor: int, directories: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    for directory in directories:
        watch = _LIBC.inotify_add_watch(descriptor, os.fsencode(directory), int(_WANTED))
        if watch >= 0 or ctypes.get_errno() not in {errno.ENOENT, errno.ENOTDIR}:
            yield _require(watch, str(directory)), directory


def _require(result: int, what: str) -> int:
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise StorageError(
            f"cannot watch {what}: {reason}",
            remedy="raise fs.inotify.max_user_instances and fs.inotify.max_user_watches",
            retryable=True,
        )
    return result


def _read(descriptor: int, watched: dict[int, Path], tell: Callable[[Path], None]) -> None:
    data = os.read(descriptor, _READ_BYTES)
    position = 0
    while position < len(data):
        watch, _mask, _cookie, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size + length
        name = os.fsdecode(data[position - length : position].rstrip(b"\0"))
        for directory in [watched[watch]] if watch in watched else list(watched.values()):
            tell(directory / name)
