"""No test may see our code block an event loop.

While a test runs, each call of a C function in its thread is looked at (`sys.setprofile`, which
other threads do not have). If an event loop runs there, and the function waits for a disk, a
database, another process or a peer, and our code is what called it, the test fails and says where.

What a test does itself is not judged: our code is, where it runs as a coroutine or as a callback of
the loop, and calls this directly or through a library.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import linecache
import os
import socket
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import rich.traceback

import privacy_router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

OURS: Final = str(Path(privacy_router.__file__).parent)
TESTS: Final = str(Path(__file__).parent)

FUNCTIONS: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        *(io.open, time.sleep, socket.getaddrinfo, sqlite3.connect),
        *(os.open, os.stat, os.lstat, os.statvfs, os.access, os.readlink, os.listdir, os.scandir),
        *(os.mkdir, os.rmdir, os.unlink, os.remove, os.rename, os.replace, os.link, os.symlink),
        *(os.chmod, os.chown, os.truncate, os.fsync, os.fdatasync, os.waitpid, os.posix_spawn),
    }
)
METHODS: Final[frozenset[tuple[type, str]]] = frozenset(
    {
        *((sqlite3.Connection, name) for name in ("execute", "executemany", "executescript")),
        *((sqlite3.Connection, name) for name in ("commit", "rollback", "backup")),
        *((sqlite3.Cursor, name) for name in ("execute", "executemany", "executescript")),
    }
)
"""Of sockets, only name resolution is here: whether another call waits is seen in its arguments,
which a profiler is not given; the loop refuses sockets that block in its debug mode."""

ALLOWED: Final = ("<frozen importlib", linecache.__file__, rich.traceback.__file__)
"""Files of code that may block, since it reads a source file once in the life of a process: the
import of a module when it is first needed, and the trace of a defect in a log (by rich where
logging is not set up, as in tests)."""


class Watch:
    """What blocked the loop, as sentences."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """What `sys.setprofile` wants: called with each call and return."""
        if event != "c_call" or not _blocks(argument):
            return
        if asyncio._get_running_loop() is not None and (who := _culprit(frame)) is not None:
            self.found.add(f"{who} calls {argument.__qualname__} in the event loop's thread")


def _blocks(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    return (type(owner), function.__name__) in METHODS or function in FUNCTIONS


def _culprit(frame: FrameType | None) -> str | None:
    """The innermost function of ours, if our code runs as a coroutine or callback of the loop and
    not because a test called it."""
    innermost = None
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith((TESTS, *ALLOWED)):
            return None
        if code.co_filename.startswith(OURS):
            name = f"{Path(code.co_filename).relative_to(OURS)}:{code.co_qualname}"
            innermost = innermost or f"{name} (line {frame.f_lineno})"
            if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
                return innermost
        frame = frame.f_back
    return innermost


@pytest.fixture(autouse=True)
def no_blocking_in_the_loop() -> Iterator[None]:
    """Fails the test in which code of ours blocked an event loop."""
    watch = Watch()
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert not watch.found, "\n".join(sorted(watch.found))
