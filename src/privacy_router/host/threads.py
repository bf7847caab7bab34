"""Blocking work in threads, whose end is awaited whatever happens.

A thread cannot be cancelled: after `asyncio.to_thread` the caller may be gone while it works on,
against whoever cleans up behind the caller.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


async def in_thread(
    work: Callable[[*Ts], T], *args: *Ts, on_cancel: Callable[[], None] | None = None
) -> T:
    """What `work` returns or raises. When this is cancelled, `on_cancel` may tell the work to end
    early, and its end is waited for."""
    call = asyncio.to_thread(work, *args)  # noqa: TID251 - this is what waits for its end
    return await to_the_end(call, on_cancel)


async def to_the_end(
    call: Coroutine[Any, Any, T], on_cancel: Callable[[], None] | None = None
) -> T:
    """What the call returns or raises; it is carried out also when the caller is cancelled
    meanwhile, who then is afterwards, with what the call raised as the cause."""
    task = asyncio.ensure_future(call)
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
