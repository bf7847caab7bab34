"""A bounded queue of what a switch says without being asked."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from privacy_router.openflow.errors import OpenFlowError, RequestTimeoutError
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
_Item = TypeVar("_Item")


@value_class
class Lost:
    """So many messages came faster than they were taken, and are gone."""

    count: int


class Subscription(Generic[_Item]):
    """What comes, in the order of its coming; an asynchronous iterator and a context manager.

    When `limit` messages wait, or 8 MiB of them, newer ones are counted and dropped: `Lost` stands
    in their place.
    """

    def __init__(self, limit: int, leave: Callable[[Subscription[_Item]], None]) -> None:
        self._limit = limit
        self._leave = leave
        self._waiting: deque[tuple[_Item, int]] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._arrived = asyncio.Event()
        self._end: OpenFlowError | None = None

    def publish(self, message: _Item, size_bytes: int = 0) -> None:
        """Called by the channel, with what the message had on the wire."""
        if self._lost or self._is_full(size_bytes):
            self._lost += 1
        else:
            self._waiting.append((message, size_bytes))
            self._waiting_bytes += size_bytes
        self._arrived.set()

    def _is_full(self, size_bytes: int) -> bool:
        too_many = len(self._waiting) >= self._limit
        return too_many or self._waiting_bytes + size_bytes > MAX_WAITING_BYTES

    def begin_with(self, messages: Iterable[_Item]) -> None:
        """Called by the channel: what was there before; it does not count for the limits."""
        self._waiting.extend((message, 0) for message in messages)
        self._limit += len(self._waiting)
        self._arrived.set()

    def end(self, reason: OpenFlowError) -> None:
        """Called by the channel: nothing more will come."""
        self._end = reason
        self._arrived.set()

    async def get(self, timeout_s: float | None = None) -> _Item | Lost:
        """The next message.

        Raises RequestTimeoutError when none came in time, and ConnectionLostError when the
        channel is closed and everything was taken.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not (self._waiting or self._lost or self._end):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise RequestTimeoutError(f"nothing came within {timeout_s:g} s") from None
        return self._take()

    def _take(self) -> _Item | Lost:
        if self._waiting:
            message, size_bytes = self._waiting.popleft()
            self._waiting_bytes -= size_bytes
            return message
        if self._lost:
            lost, self._lost = Lost(self._lost), 0
            return lost
        raise self._end or RequestTimeoutError("nothing came")

    def close(self) -> None:
        """Take no more messages."""
        self._leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Item | Lost:
        return await self.get()
