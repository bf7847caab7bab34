"""Blocking work in threads, whose end is always awaited.

A thread cannot be cancelled: after `asyncio.to_thread` the caller may be gone while it works on,
against the code that cleans up behind the caller.

Work goes by lanes, each with threads of its own, so that what hangs in one does not hold up the
others. Which lane, says the context (`contextvars`) in which it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import Future
from contextvars import Context, ContextVar, copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Lane:
    """At most `size` threads, made as they are needed; further work waits until one is free.

    They are daemon threads: the process ends without those that hang. Of a lane that `abandons`,
    work is not waited for when the caller is cancelled; it must change nothing.
    """

    def __init__(self, name: str, size: int, *, abandons: bool = False) -> None:
        self.name = name
        self.abandons = abandons
        self._size = size
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # where none of the threads is

    def _begin(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have it done in one of the threads."""
        future: Future[T] = Future()
        self._work.put(lambda: _carry_out(call, future))
        if not self._idle.acquire(blocking=False):
            self._add_thread()
        return future

    def _add_thread(self) -> None:
        with self._lock:
            if self._threads == self._size:
                return
            self._threads += 1
            name = f"{self.name}-{self._threads}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._work.get()()
            self._idle.release()


def _carry_out(call: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # its caller gave up while it waited for a thread
    try:
        result = call()
    except BaseException as error:  # of any kind: the caller that waits for the result gets it
        future.set_exception(error)
    else:
        future.set_result(result)


MACHINE: Final = Lane("machine", 8)
"""The daemon's own work: documents, the journal, plugins."""
NODE: Final = Lane("node", 8)
"""The passes of the node's controller, by which it is repaired."""
CALLERS: Final = Lane("callers", 8, abandons=True)
"""What callers of the bus who may only look have asked for."""

_lane: ContextVar[Lane] = ContextVar("lane", default=MACHINE)


def context_of(lane: Lane) -> Context:
    """A context for a task whose work is to go by that lane, not by that of the task's starter."""
    context = Context()
    context.run(_lane.set, lane)
    return context


@contextlib.contextmanager
def by_lane(lane: Lane) -> Iterator[None]:
    """Inside, work goes by that lane."""
    token = _lane.set(lane)
    try:
        yield
    finally:
        _lane.reset(token)


async def in_thread(
    work: Callable[[*Ts], T], *args: *Ts, on_cancel: Callable[[], None] | None = None
) -> T:
    """What `work` returns or raises. When this is cancelled, `on_cancel` may tell the work to end
    early, and its end is waited for, unless the lane abandons it."""
    lane, context = _lane.get(), copy_context()
    call = asyncio.wrap_future(lane.submit(lambda: context.run(work, *args)))
    return await call if lane.abandons else await to_the_end(call, on_cancel)


async def to_the_end(call: Awaitable[T], on_cancel: Callable[[], None] | None = None) -> T:
    """What the call returns or raises; it is carried out also when the caller is cancelled
    meanwhile, who then is afterwards, with what the call raised as the cause."""
    task: asyncio.Future[T] = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            if on_cancel is not None:
                on_cancel()
    if cancelled is None:
        return task.result()
    raise cancelled from (None if task.cancelled() else task.exception())
