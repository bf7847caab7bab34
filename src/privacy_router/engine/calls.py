"""Calls of plugins, which may raise anything and may never come back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from privacy_router.engine.errors import (
    PluginFailedError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from privacy_router.engine.model import Availability
    from privacy_router.engine.plugin import Plugin

T = TypeVar("T")
_GRACE_S: Final = 5.0


async def bounded(plugin: Plugin, step: str, call: Coroutine[Any, Any, T]) -> T:
    """What the call returns, within the plugin's time.

    Raises PluginTimeoutError, PluginFailedError for what is no PrivacyRouterError, and the others
    as they are. When this is cancelled, the call is too, and waited for (for a while).
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=plugin.timeout_s)
    finally:
        if not task.done():
            await _abandon(task)
    if not task.done() or task.cancelled():
        raise PluginTimeoutError(
            f"{plugin.name} did not {step} within {plugin.timeout_s:g} s",
            remedy=f"see what the service behind {plugin.name} waits for, then try again",
            retryable=True,
        )
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, PrivacyRouterError):
        raise error
    raise PluginFailedError(
        f"{plugin.name} failed to {step}: {type(error).__name__}: {error}",
        remedy="the daemon's log has the details; this may be a defect of ours",
    ) from error


async def availability(plugin: Plugin) -> Availability:
    """Whether the plugin can work now."""
    return await bounded(plugin, "say whether it is available", plugin.availability())


async def require_available(plugin: Plugin, what: str) -> None:
    """Raise PluginUnavailableError, saying that `what` cannot be had, unless it can work now."""
    found = await availability(plugin)
    if not found:
        # services come and go, at the start of a machine above all
        raise PluginUnavailableError(f"{what}: {found.reason}", remedy=found.remedy, retryable=True)


async def unwaited(work: Callable[[], T]) -> T:
    """Do something in a thread that is not waited for when this is cancelled, not even by the end
    of the process: for what waits for the network and touches nothing here."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not result.done():
            settle()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = functools.partial(result.set_result, work())
        except Exception as error:  # handed to the caller that waits
            settle = functools.partial(result.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
            loop.call_soon_threadsafe(tell, settle)

    threading.Thread(target=run, name="unwaited", daemon=True).start()
    return await result


async def _abandon(task: asyncio.Future[Any]) -> None:
    """End a call; one that does not even end when it is cancelled is left behind."""
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_S)
    if task.done() and not task.cancelled():
        task.exception()  # its outcome comes too late to matter
