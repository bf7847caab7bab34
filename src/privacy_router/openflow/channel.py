"""A connection to a switch over a socket: the only part of this package that knows asyncio.

No task is ever started: everything happens in the transport's callbacks and in the callers.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

from privacy_router.openflow import multipart
from privacy_router.openflow.batch import Batch, switch_error
from privacy_router.openflow.bundle import BundleControl
from privacy_router.openflow.connection import Connection, Negotiated, Received
from privacy_router.openflow.constants import BundleControlType, PortNumber, TableId
from privacy_router.openflow.entries import FlowStats, GroupDesc, MeterConfig, PortStats
from privacy_router.openflow.errors import (
    ConnectionLostError,
    DecodeError,
    OpenFlowError,
    RequestTimeoutError,
    SwitchError,
)
from privacy_router.openflow.flows import ANY_FLOW, FlowRemoved
from privacy_router.openflow.messages import (
    BarrierRequest,
    EchoRequest,
    ErrorMessage,
    FeaturesReply,
    FeaturesRequest,
    PacketIn,
    SetConfig,
)
from privacy_router.openflow.ports import PortDesc, PortStatus
from privacy_router.openflow.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from privacy_router.openflow.match import Match
    from privacy_router.openflow.message import Message

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_EVENTS = 4096
_BATCH_MESSAGES = 256
_UNASKED: Final = (PortStatus, FlowRemoved, PacketIn, ErrorMessage)
_Wanted = TypeVar("_Wanted")


class _Asked(NamedTuple):
    message: Message
    answer: asyncio.Future[Message]


async def connect_unix(
    path: Path | str,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    *,
    keepalive_s: float | None = None,
) -> Channel:
    """Connect to a switch's unix socket, e.g. `<rundir>/<bridge>.mgmt`, and greet.

    `timeout_s` bounds this and is the default for every later wait. With `keepalive_s`, an echo
    goes out so often, and a switch that leaves one unanswered until the next is given up. Raises
    ConnectionLostError, NegotiationError, DecodeError or RequestTimeoutError.
    """
    channel = Channel(timeout_s, keepalive_s)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_unix_connection(lambda: channel.protocol, str(path))
            await channel.greeted()
    except TimeoutError:
        channel.abort(f"{path} did not greet within {timeout_s:g} s")
        raise RequestTimeoutError(f"{path} did not greet within {timeout_s:g} s") from None
    except OSError as error:
        raise ConnectionLostError(f"cannot connect to {path}: {error.strerror}") from error
    except BaseException:
        channel.abort("the connection was given up")
        raise
    return channel


class Channel:
    """An open connection to one switch; an asynchronous context manager.

    Made by `connect_unix`. All waits end: by an answer, by `timeout_s`, or by the end of the
    connection.
    """

    def __init__(self, timeout_s: float, keepalive_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self.protocol = _Protocol(self)
        self._keepalive_s = keepalive_s
        self._connection = Connection()
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._reason: OpenFlowError | None = None
        self._asked: dict[int, _Asked] = {}
        self._batches: list[Batch] = []
        self._subscriptions: list[Subscription] = []
        self._last_bundle_id = 0
        self._timer: asyncio.TimerHandle | None = None

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
        if self._timer is not None:
            self._timer.cancel()
        if not self._greeted.done():
            self._greeted.set_exception(reason)
            self._greeted.exception()  # a caller that gave up will not look at it
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(_lost(reason))
        for subscription in self._subscriptions:
            subscription.end(_lost(reason))
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
            self.protocol.close()
            return
        self._flush()
        for event in events:
            if isinstance(event, Negotiated):
                self._open()
            else:
                self._dispatch(event)

    def disconnected(self, error: Exception | None) -> None:
        """The socket is gone."""
        why = f": {error}" if error else ""
        self._fail(ConnectionLostError(f"the switch closed the connection{why}"))

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
                subscription.publish(message)

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

    async def request(self, message: Message, timeout_s: float | None = None) -> Message:
        """Send a message and wait for its answer.

        Raises SwitchError when the switch refuses it, RequestTimeoutError, ConnectionLostError,
        EncodeError.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        self._require_open()
        xid = self._connection.send(message)
        asked = self._asked[xid] = _Asked(message, self._loop.create_future())
        self._flush()
        try:
            async with asyncio.timeout(limit_s):
                return await asked.answer
        except TimeoutError:
            what = type(message).__name__
            raise RequestTimeoutError(f"no answer to {what} within {limit_s:g} s") from None
        finally:
            del self._asked[xid]

    async def apply(self, messages: Sequence[Message], timeout_s: float | None = None) -> None:
        """Send messages in order and wait until the switch has worked through them.

        Not atomic: what is in force after a SwitchError is everything but the refused ones. For
        meters, which no bundle takes.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        batch = self._new_batch(messages)
        with self._watched(batch):
            await self._send_batch(batch, limit_s)
            await self.request(BarrierRequest(), limit_s)
        batch.check()

    async def apply_bundle(
        self, messages: Sequence[Message], timeout_s: float | None = None
    ) -> None:
        """All messages in order, in one step, or none of them (ONF EXT-230).

        Raises SwitchError with the first message that was refused; whatever was in force stays.
        `timeout_s` bounds each wait, not the whole. After a RequestTimeoutError or
        ConnectionLostError during the last step it is not known which it was: all or none.
        """
        if not messages:
            return
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        self._last_bundle_id += 1
        bundle_id = self._last_bundle_id
        await self._control(bundle_id, BundleControlType.OPEN_REQUEST, limit_s)
        batch = self._new_batch(messages, bundle_id)
        with self._watched(batch):
            try:
                await self._fill(bundle_id, batch, limit_s)
            except BaseException:
                self._discard(bundle_id)
                raise
            await self._commit(bundle_id, batch, limit_s)

    async def _fill(self, bundle_id: int, batch: Batch, limit_s: float) -> None:
        await self._send_batch(batch, limit_s)
        # Its answer comes after every refusal of a message: a commit would ignore those.
        await self._control(bundle_id, BundleControlType.CLOSE_REQUEST, limit_s)
        batch.check()

    async def _commit(self, bundle_id: int, batch: Batch, limit_s: float) -> None:
        try:
            await self._control(bundle_id, BundleControlType.COMMIT_REQUEST, limit_s)
        except SwitchError:
            batch.check()  # the refusal that names the message, when there was one
            raise

    async def _control(self, bundle_id: int, control: BundleControlType, limit_s: float) -> None:
        await self.request(BundleControl(bundle_id, control), limit_s)

    def _discard(self, bundle_id: int) -> None:
        if not self.closed:
            self.send(BundleControl(bundle_id, BundleControlType.DISCARD_REQUEST))

    def _new_batch(self, messages: Sequence[Message], bundle_id: int | None = None) -> Batch:
        self._require_open()
        return Batch(messages, self._connection.reserve_xids(len(messages)), bundle_id)

    @contextmanager
    def _watched(self, batch: Batch) -> Iterator[None]:
        self._batches.append(batch)
        try:
            yield
        finally:
            self._batches.remove(batch)

    async def _send_batch(self, batch: Batch, limit_s: float) -> None:
        for start in range(0, len(batch.messages), _BATCH_MESSAGES):
            self._connection.send_encoded(batch.encoded(start, start + _BATCH_MESSAGES))
            self._flush()
            await asyncio.sleep(0)  # let refusals in, whether or not the switch keeps up
            await self._drain(limit_s)
            if batch.bundle_id is not None:
                batch.check()

    # --- asking ----------------------------------------------------------------------------------

    async def barrier(self, timeout_s: float | None = None) -> None:
        """Wait until the switch has worked through everything sent before."""
        await self.request(BarrierRequest(), timeout_s)

    async def features(self) -> FeaturesReply:
        """What the switch is."""
        answer = await self.request(FeaturesRequest())
        if not isinstance(answer, FeaturesReply):
            raise DecodeError(f"the features were answered with {type(answer).__name__}")
        return answer

    async def dump_flows(
        self,
        table_id: int = TableId.ALL,
        cookie: int = 0,
        cookie_mask: int = 0,
        match: Match = ANY_FLOW,
        *,
        timeout_s: float | None = None,
    ) -> list[FlowStats]:
        """The flows that have at least that match and that cookie."""
        query = multipart.FlowQuery(table_id, match, cookie, cookie_mask)
        return await self._ask(multipart.flow_request(query), FlowStats, timeout_s)

    async def dump_ports(self) -> list[PortDesc]:
        """All ports."""
        return await self._ask(multipart.port_desc_request(), PortDesc)

    async def port_stats(self, port: int = PortNumber.ANY) -> list[PortStats]:
        """Counters of one or all ports."""
        return await self._ask(multipart.port_stats_request(port), PortStats)

    async def dump_meters(self) -> list[MeterConfig]:
        """All meters."""
        return await self._ask(multipart.meter_config_request(), MeterConfig)

    async def dump_groups(self) -> list[GroupDesc]:
        """All groups."""
        return await self._ask(multipart.group_desc_request(), GroupDesc)

    async def _ask(
        self,
        question: multipart.MultipartRequest,
        wanted: type[_Wanted],
        timeout_s: float | None = None,
    ) -> list[_Wanted]:
        answer = await self.request(question, timeout_s)
        if not isinstance(answer, multipart.MultipartReply) or answer.kind != question.kind:
            raise DecodeError(f"{question.kind!r} was answered with {type(answer).__name__}")
        return [entry for entry in answer.entries if isinstance(entry, wanted)]

    # --- listening -------------------------------------------------------------------------------

    async def enable_events(self, miss_send_len: int = 128) -> None:
        """Ask for asynchronous messages, which a `.mgmt` socket does not carry by itself."""
        await self.apply([SetConfig(miss_send_len=miss_send_len)])

    def subscribe(self, limit: int = DEFAULT_EVENTS) -> Subscription:
        """Port changes, removed flows, packets and unclaimed errors from now on."""
        self._require_open()
        subscription = Subscription(limit, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription


def _answer(asked: _Asked, xid: int, message: Message) -> None:
    if asked.answer.done():
        return
    if isinstance(message, ErrorMessage):
        asked.answer.set_exception(switch_error(message, xid, asked.message))
    else:
        asked.answer.set_result(message)


def _lost(reason: OpenFlowError) -> ConnectionLostError:
    error = ConnectionLostError(str(reason))
    error.__cause__ = reason
    return error


class _Protocol(asyncio.Protocol):
    """What asyncio's transport calls; remembers whether there is room to write."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._transport: asyncio.Transport | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        self._channel.connected()

    def data_received(self, data: bytes) -> None:
        self._channel.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.disconnected(exc)
        self.lost.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is None:
            self.lost.set()
        else:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is None:
            self.lost.set()
        else:
            self._transport.abort()
