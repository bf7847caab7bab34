"""A connection to a switch, with a method for each thing that can be asked of one.

`channel`, `programming`, `exchange`, `transport`, `listening` and `subscription` are the only
modules of this package that know asyncio.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from privacy_router.openflow import multipart
from privacy_router.openflow.constants import GroupId, MeterId, PortNumber, TableId
from privacy_router.openflow.difference import difference_untrusted
from privacy_router.openflow.entries import (
    Aggregate,
    FlowStats,
    GroupDesc,
    GroupFeatures,
    GroupStats,
    MeterConfig,
    MeterFeatures,
    MeterStats,
    PortStats,
    RawEntry,
    TableStats,
)
from privacy_router.openflow.errors import ConnectionLostError, DecodeError, RequestTimeoutError
from privacy_router.openflow.exchange import monitor_words
from privacy_router.openflow.flows import ANY_FLOW
from privacy_router.openflow.messages import (
    FeaturesReply,
    FeaturesRequest,
    GetConfigReply,
    GetConfigRequest,
    SetConfig,
)
from privacy_router.openflow.monitor import EVERYTHING, KINDS, CancelMonitor, FlowMonitor
from privacy_router.openflow.ports import PortDesc
from privacy_router.openflow.programming import Programming
from privacy_router.openflow.queues import (
    ALL_QUEUES,
    QueueGetConfigReply,
    QueueGetConfigRequest,
    QueueQuery,
    QueueStats,
)
from privacy_router.openflow.roles import GetAsyncReply, GetAsyncRequest, RoleReply, RoleRequest
from privacy_router.openflow.subscription import Subscription
from privacy_router.openflow.tables import TableFeatures

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Iterable
    from pathlib import Path

    from privacy_router.openflow.difference import Difference
    from privacy_router.openflow.exchange import MonitorWord
    from privacy_router.openflow.flows import FlowMod
    from privacy_router.openflow.match import Match
    from privacy_router.openflow.message import Message

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_EVENTS = 4096
DEFAULT_PORT = 6653  # IANA: openflow
_Wanted = TypeVar("_Wanted")


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
    loop = asyncio.get_running_loop()
    channel = Channel(timeout_s, keepalive_s)
    connecting = loop.create_unix_connection(lambda: channel.protocol, str(path))
    return await _opened(channel, connecting, str(path))


async def connect_tcp(
    host: str,
    port: int = DEFAULT_PORT,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    keepalive_s: float | None = None,
) -> Channel:
    """Connect to a switch over TCP, inside TLS when `tls` is given, and greet.

    The context decides what is verified; `server_name` is the name in the switch's certificate
    where that is not `host`. Everything else is as with `connect_unix`.
    """
    loop = asyncio.get_running_loop()
    channel = Channel(timeout_s, keepalive_s)
    connecting = loop.create_connection(
        lambda: channel.protocol, host, port, ssl=tls, server_hostname=server_name
    )
    return await _opened(channel, connecting, f"{host} port {port}")


async def _opened(channel: Channel, connecting: Awaitable[object], where: str) -> Channel:
    limit = f"within {channel.timeout_s:g} s"
    try:
        async with asyncio.timeout(channel.timeout_s):
            await connecting
            await channel.greeted()
    except TimeoutError:
        channel.abort(f"{where} did not greet {limit}")
        raise RequestTimeoutError(f"{where} did not greet {limit}") from None
    except OSError as error:
        channel.abort("the connection could not be made")
        raise ConnectionLostError(
            f"cannot connect to {where}: {error.strerror or error}"
        ) from error
    except BaseException:
        channel.abort("the connection was given up")
        raise
    return channel


class Channel(Programming):
    """An open connection to one switch; an asynchronous context manager.

    Made by `connect_unix`, `connect_tcp` and what `listening` has.
    """

    _last_monitor = 0

    # --- asking ----------------------------------------------------------------------------------

    async def features(self) -> FeaturesReply:
        """What the switch is."""
        return await self._expect(FeaturesRequest(), FeaturesReply)

    async def config(self) -> GetConfigReply:
        """How the switch is configured."""
        return await self._expect(GetConfigRequest(), GetConfigReply)

    async def take_role(self, role: int, generation_id: int = 0) -> RoleReply:
        """Take a role among several controllers, or ask for it with `Role.NOCHANGE`.

        Raises SwitchError (ROLE_REQUEST_FAILED.STALE) when a later election is known.
        """
        return await self._expect(RoleRequest(role, generation_id), RoleReply)

    async def told(self) -> GetAsyncReply:
        """What the switch tells without being asked; `SetAsync` changes it."""
        return await self._expect(GetAsyncRequest(), GetAsyncReply)

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

    async def compare_flows(
        self,
        desired: Iterable[FlowMod],
        table_id: int = TableId.ALL,
        cookie: int = 0,
        cookie_mask: int = 0,
        *,
        timeout_s: float | None = None,
    ) -> Difference:
        """What has to change for the flows of that table and that cookie to be the desired ones.

        Much faster than `dump_flows` and comparing: see `difference_untrusted`.
        """
        query = multipart.FlowQuery(table_id, ANY_FLOW, cookie, cookie_mask)
        question = multipart.flow_request(query)
        parts = await self._ask(question, RawEntry, timeout_s, raw=True)
        return difference_untrusted(desired, [part.data for part in parts])

    async def dump_ports(self) -> list[PortDesc]:
        """All ports."""
        return await self._ask(multipart.port_desc_request(), PortDesc)

    async def port_stats(self, port: int = PortNumber.ANY) -> list[PortStats]:
        """Counters of one or all ports."""
        return await self._ask(multipart.port_stats_request(port), PortStats)

    async def count_flows(
        self,
        table_id: int = TableId.ALL,
        cookie: int = 0,
        cookie_mask: int = 0,
        match: Match = ANY_FLOW,
    ) -> Aggregate:
        """How many flows have at least that match and that cookie, and what they counted."""
        query = multipart.FlowQuery(table_id, match, cookie, cookie_mask)
        return await self._ask_one(multipart.aggregate_request(query), Aggregate)

    async def table_stats(self) -> list[TableStats]:
        """Counters of all tables."""
        return await self._ask(multipart.table_request(), TableStats)

    async def table_features(self, *, timeout_s: float | None = None) -> list[TableFeatures]:
        """What the tables can do. Open vSwitch has 254 and says much about each."""
        return await self._ask(multipart.table_features_request(), TableFeatures, timeout_s)

    async def queues(self, port: int = PortNumber.ANY) -> QueueGetConfigReply:
        """The queues of one or all ports. Open vSwitch wants one port, and tells no rates."""
        return await self._expect(QueueGetConfigRequest(port), QueueGetConfigReply)

    async def queue_stats(
        self, port: int = PortNumber.ANY, queue_id: int = ALL_QUEUES
    ) -> list[QueueStats]:
        """Counters of one or all queues."""
        query = QueueQuery(port, queue_id)
        return await self._ask(multipart.queue_stats_request(query), QueueStats)

    async def dump_meters(self) -> list[MeterConfig]:
        """All meters."""
        return await self._ask(multipart.meter_config_request(), MeterConfig)

    async def meter_stats(self, meter_id: int = MeterId.ALL) -> list[MeterStats]:
        """Counters of one or all meters."""
        return await self._ask(multipart.meter_stats_request(meter_id), MeterStats)

    async def meter_features(self) -> MeterFeatures:
        """What meters the switch can do."""
        return await self._ask_one(multipart.meter_features_request(), MeterFeatures)

    async def dump_groups(self) -> list[GroupDesc]:
        """All groups."""
        return await self._ask(multipart.group_desc_request(), GroupDesc)

    async def group_stats(self, group_id: int = GroupId.ALL) -> list[GroupStats]:
        """Counters of one or all groups."""
        return await self._ask(multipart.group_stats_request(group_id), GroupStats)

    async def group_features(self) -> GroupFeatures:
        """What groups the switch can do."""
        return await self._ask_one(multipart.group_features_request(), GroupFeatures)

    async def _expect(self, question: Message, wanted: type[_Wanted]) -> _Wanted:
        answer = await self.request(question)
        if not isinstance(answer, wanted):
            asked = type(question).__name__
            raise DecodeError(f"{asked} was answered with {type(answer).__name__}")
        return answer

    async def _ask_one(
        self, question: multipart.MultipartRequest, wanted: type[_Wanted]
    ) -> _Wanted:
        found = await self._ask(question, wanted)
        if len(found) != 1:
            raise DecodeError(f"{question.kind!r} was answered with {len(found)} entries")
        return found[0]

    async def _ask(
        self,
        question: multipart.MultipartRequest,
        wanted: type[_Wanted],
        timeout_s: float | None = None,
        *,
        raw: bool = False,
    ) -> list[_Wanted]:
        answer = await self.request(question, timeout_s, raw=raw)
        if not isinstance(answer, multipart.MultipartReply) or answer.kind != question.kind:
            raise DecodeError(f"{question.kind!r} was answered with {type(answer).__name__}")
        return [entry for entry in answer.entries if isinstance(entry, wanted)]

    # --- listening -------------------------------------------------------------------------------

    async def enable_events(self, miss_send_len: int = 128) -> None:
        """Ask for asynchronous messages, which a `.mgmt` socket does not carry by itself."""
        await self.apply([SetConfig(miss_send_len=miss_send_len)])

    def subscribe(self, limit: int = DEFAULT_EVENTS) -> Subscription[Message]:
        """Port changes, removed flows, packets and unclaimed errors from now on."""
        self._require_open()
        subscription: Subscription[Message] = Subscription(limit, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    async def monitor_flows(
        self,
        match: Match = ANY_FLOW,
        table_id: int = TableId.ALL,
        flags: int = EVERYTHING,
        *,
        limit: int = DEFAULT_EVENTS,
        timeout_s: float | None = None,
    ) -> Subscription[MonitorWord]:
        """Every change to flows that have at least that match, by any controller.

        With `MonitorFlag.INITIAL`, the flows that are there come first. Closing the subscription
        ends the monitor. The switch does not say which monitor a change is told to: with several
        on one channel, each gets the changes of all. After a `Lost` or a `MonitorPaused`, what the
        switch has is to be read anew. Raises SwitchError where there are no flow monitors, and
        ValueError for flags that ask for nothing, or for what there is not.
        """
        # Open vSwitch 3.1 refuses such flags with transaction 0: the caller would not learn why.
        if not flags & KINDS or flags & ~EVERYTHING:
            raise ValueError(f"a flow monitor with flags {flags:#x} tells nothing")
        self._last_monitor += 1
        number = self._last_monitor
        subscription: Subscription[MonitorWord] = Subscription(
            limit, lambda left: self._end_monitor(left, number)
        )

        def begin(answer: Message) -> None:
            subscription.begin_with(monitor_words(answer))
            self._monitors.append(subscription)

        question = multipart.monitor_request(FlowMonitor(number, flags, match, table_id))
        await self.request(question, timeout_s, taken=begin)
        return subscription

    def _end_monitor(self, left: Subscription[MonitorWord], number: int) -> None:
        if left not in self._monitors:
            return
        self._monitors.remove(left)
        if not self.closed:
            self.send(CancelMonitor(number))
