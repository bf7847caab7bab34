"""Requests and their answers over one connection, and what the peer says unasked.

No task is ever started: everything happens in the transport's callbacks and in the callers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from privacy_router.openflow.batch import Batch, switch_error
from privacy_router.openflow.connection import Connection, Negotiated, Received
from privacy_router.openflow.errors import (
    ConnectionLostError,
    LimitError,
    OpenFlowError,
    RequestTimeoutError,
)
from privacy_router.openflow.flows import FlowRemoved
from privacy_router.openflow.messages import EchoRequest, ErrorMessage, PacketIn
from privacy_router.openflow.monitor import (
    FlowEvents,
    MonitorEvent,
    MonitorPaused,
    MonitorResumed,
)
from privacy_router.openflow.multipart import MultipartReply
from privacy_router.openflow.ports import PortStatus
from privacy_router.openflow.transport import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from privacy_router.openflow.message import Message
    from privacy_router.openflow.subscription import Subscription

MonitorWord = MonitorEvent | MonitorPaused | MonitorResumed

_OWED_MAX_BYTES: Final = 64 * 1024
_UNTAKEN_MAX_BYTES: Final = 64 * 1024 * 1024
_UNASKED: Final = (PortStatus, FlowRemoved, PacketIn, ErrorMessage)


class _Asked(NamedTuple):
    message: Message
    answer: asyncio.Future[Message]
    taken: Callable[[Message], None] | None = None


class Exchange:
    """An open connection to one peer; an asynchronous context manager.

    All waits end: by an answer, by `timeout_s`, or by the end of the connection.

    A peer that does not read is not read from: while more than 64 KiB of answers to its echo
    requests wait for it, nothing more is taken, and after `timeout_s` the connection ends. Other
    messages do not hold the reading back: the peer may want its own words read first, and both
    would wait for ever. Of them 64 MiB may wait. What ends a connection so is a LimitError.
    """

    def __init__(self, timeout_s: float, keepalive_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self.protocol = Wire(self)
        self._keepalive_s = keepalive_s
        self._connection = Connection()
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._reason: OpenFlowError | None = None
        self._asked: dict[int, _Asked] = {}
        self._batches: list[Batch] = []
        self._subscriptions: list[Subscription[Message]] = []
        self._monitors: list[Subscription[MonitorWord]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._owed_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- life ------------------------------------------------------------------------------------

    def when_greeted(self, call: Callable[[bool], None]) -> None:
        """Call once it is known whether the peer has greeted."""
        self._greeted.add_done_callback(
            lambda future: call(not future.cancelled() and future.exception() is None)
        )

    async def greeted(self) -> None:
        """Wait for the peer's greeting. Raises what went wrong instead."""
        await self._greeted

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._reason is not None

    @property
    def close_reason(self) -> OpenFlowError | None:
        """Why the connection has ended, or None while it has not."""
        return self._reason

    async def wait_closed(self) -> OpenFlowError:
        """Wait for the end of the connection; returns why. Waits as long as it lasts."""
        await self._ended.wait()
        return self._reason or ConnectionLostError("the connection ended")

    async def close(self) -> None:
        """End the connection, sending what is queued for at most `timeout_s`."""
        self._fail(ConnectionLostError("the connection was closed here"))
        self.protocol.close()
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.protocol.lost.wait()
        except TimeoutError:
            self.protocol.abort()
            await self.protocol.lost.wait()

    def abort(self, why: str) -> None:
        """End the connection at once."""
        self._fail(ConnectionLostError(why))
        self.protocol.abort()

    def _fail(self, reason: OpenFlowError) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        if not self._greeted.done():
            self._greeted.set_exception(reason)
            self._greeted.exception()  # a caller that gave up will not look at it
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(_lost(reason))
        for subscription in self._subscriptions:
            subscription.end(_lost(reason))
        for monitor in self._monitors:
            monitor.end(_lost(reason))
        self._ended.set()

    def _require_open(self) -> None:
        if self._reason is not None:
            raise _lost(self._reason)

    # --- what the transport tells ----------------------------------------------------------------

    def connected(self) -> None:
        """The socket is there: greet."""
        self._connection.start()
        self._flush()

    def received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            events = self._connection.receive_data(data)
        except OpenFlowError as error:
            self._flush()
            self._fail(error)
            self._hang_up()
            return
        self._flush()
        self._count_owed(self._connection.take_echoed_bytes())
        for event in events:
            if isinstance(event, Negotiated):
                self._open()
            else:
                self._dispatch(event)

    def disconnected(self, error: Exception | None) -> None:
        """The socket is gone."""
        why = f": {error}" if error else ""
        self._fail(ConnectionLostError(f"the switch closed the connection{why}"))

    def resumed(self) -> None:
        """The peer has taken nearly all that waited for it."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _count_owed(self, echoed_bytes: int) -> None:
        """Answers to echo requests wait behind what the peer has not taken."""
        writable = self.protocol.writable.is_set()
        self._owed_bytes = 0 if writable else self._owed_bytes + echoed_bytes
        if self._owed_bytes > _OWED_MAX_BYTES and self._patience is None:
            self.protocol.hold_back()
            self._patience = self._loop.call_later(self.timeout_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._break(f"the peer asks for echoes and took none of them for {self.timeout_s:g} s")

    def _hang_up(self) -> None:
        """Let the last word out, unless the peer takes none."""
        if self.protocol.waiting_bytes:
            self.protocol.abort()
        else:
            self.protocol.close()

    def _break(self, why: str) -> None:
        self._fail(LimitError(why))
        self.protocol.abort()

    def _open(self) -> None:
        if not self._greeted.done():
            self._greeted.set_result(None)
        self._schedule_keepalive()

    def _dispatch(self, event: Received) -> None:
        xid, message = event.xid, event.message
        asked = self._asked.get(xid)
        if asked is not None:
            _answer(asked, xid, message)
            return
        if isinstance(message, ErrorMessage) and any(
            batch.refused(xid, message) for batch in self._batches
        ):
            return
        if isinstance(message, _UNASKED):
            for subscription in self._subscriptions:
                subscription.publish(message, event.size_bytes)
        words = monitor_words(message) if self._monitors else []
        for monitor in self._monitors:
            for word in words:
                monitor.publish(word, event.size_bytes // len(words))

    # --- keepalive -------------------------------------------------------------------------------

    def _schedule_keepalive(self) -> None:
        if self._keepalive_s is not None and not self.closed:
            self._timer = self._loop.call_later(self._keepalive_s, self._send_keepalive)

    def _send_keepalive(self) -> None:
        message = EchoRequest()
        answer: asyncio.Future[Message] = self._loop.create_future()
        xid = self._connection.send(message)
        self._asked[xid] = _Asked(message, answer)
        self._flush()
        self._timer = self._loop.call_later(
            self._keepalive_s or self.timeout_s, self._check_keepalive, xid, answer
        )

    def _check_keepalive(self, xid: int, answer: asyncio.Future[Message]) -> None:
        self._asked.pop(xid, None)
        if not answer.done():
            answer.cancel()
            self.abort(f"the switch did not answer an echo within {self._keepalive_s:g} s")
        elif not answer.cancelled() and answer.exception() is None:
            self._send_keepalive()

    # --- sending ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self.protocol.write(data)
        if self.protocol.waiting_bytes > _UNTAKEN_MAX_BYTES:
            self._break(f"the peer has not taken {self.protocol.waiting_bytes} bytes")

    async def _drain(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self.protocol.writable.wait()
        except TimeoutError:
            raise RequestTimeoutError(f"the switch took no data for {timeout_s:g} s") from None
        self._require_open()

    def send(self, message: Message) -> int:
        """Send a message that has no answer; returns its transaction id.

        Should the switch refuse it, an `ErrorMessage` goes to the subscribers.
        """
        self._require_open()
        xid = self._connection.send(message)
        self._flush()
        return xid

    async def request(
        self,
        message: Message,
        timeout_s: float | None = None,
        *,
        raw: bool = False,
        taken: Callable[[Message], None] | None = None,
    ) -> Message:
        """Send a message and wait for its answer.

        With `raw`, a multipart answer stays undecoded (`Connection.keep_raw`). `taken` is called
        with the answer before anything that came after it is looked at. Raises SwitchError when
        the switch refuses it, RequestTimeoutError, ConnectionLostError, EncodeError.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        return await self._answered(self._send_question(message, raw=raw, taken=taken), limit_s)

    def _send_question(
        self,
        message: Message,
        *,
        raw: bool = False,
        taken: Callable[[Message], None] | None = None,
    ) -> int:
        """Send a question; its transaction id, whose answer has to be waited for."""
        self._require_open()
        xid = self._connection.send(message)
        if raw:
            self._connection.keep_raw(xid)
        self._asked[xid] = _Asked(message, self._loop.create_future(), taken)
        self._flush()
        return xid

    async def _answered(self, xid: int, limit_s: float) -> Message:
        asked = self._asked[xid]
        try:
            async with asyncio.timeout(limit_s):
                return await asked.answer
        except TimeoutError:
            what = type(asked.message).__name__
            raise RequestTimeoutError(f"no answer to {what} within {limit_s:g} s") from None
        finally:
            del self._asked[xid]


def monitor_words(message: Message) -> list[MonitorWord]:
    """What a message tells a flow monitor."""
    if isinstance(message, MonitorPaused | MonitorResumed):
        return [message]
    if not isinstance(message, MultipartReply):
        return []
    parts = [entry for entry in message.entries if isinstance(entry, FlowEvents)]
    return [event for part in parts for event in part.events]


def _answer(asked: _Asked, xid: int, message: Message) -> None:
    if asked.answer.done():
        return
    if isinstance(message, ErrorMessage):
        asked.answer.set_exception(switch_error(message, xid, asked.message))
        return
    if asked.taken is not None:
        asked.taken(message)
    asked.answer.set_result(message)


def _lost(reason: OpenFlowError) -> ConnectionLostError:
    error = ConnectionLostError(str(reason))
    error.__cause__ = reason
    return error
