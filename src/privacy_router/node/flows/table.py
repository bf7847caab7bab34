"""The bridge's flows and meters over OpenFlow: compared with what should be there, and changed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.node.flows.changes import Changes, meter_mods
from privacy_router.node.switch_drift import drift_of, is_strange
from privacy_router.openflow import (
    Difference,
    FlowEvent,
    FlowEventKind,
    FlowMod,
    MeterMod,
    MonitorFlag,
    OpenFlowError,
    OwnChange,
    PortStatus,
    PortStatusReason,
    RequestTimeoutError,
    SetAsync,
    SetConfig,
    SwitchError,
    Told,
    delete_meter,
)
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.openflow.text import format_flow
from privacy_router.pipeline.allocation import OWNER, OWNER_MASK, layer_of
from privacy_router.pipeline.flow import meters_of
from privacy_router.pipeline.tables import TABLES, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from privacy_router.openflow import FlowStats, MeterConfig
    from privacy_router.pipeline.flow import RateLimit

_log = structlog.get_logger()
_TIMEOUT_S = 5.0
_ASK_EVERY_S = 1.0
_SHARE_OF_TIME = 50  # the pause between two questions, in times of what an answer takes
_CHANGES = MonitorFlag.ADD | MonitorFlag.DELETE | MonitorFlag.MODIFY
_EVERY_BIT = 0xFFFFFFFFFFFFFFFF


class FlowError(PrivacyRouterError):
    """The switch could not be reached, or refused a flow or a meter."""


class FlowTable:
    """The flows of one bridge, over one connection that is made anew whenever it breaks.

    With `on_drift` the switch is asked to tell of changes that another controller makes to our
    flows (by cookie; None for a flow in our tables that may have taken the place of one), and of
    the end of the connection by `on_lost`.
    """

    def __init__(
        self,
        bridge_name: str,
        socket: Path,
        on_drift: Callable[[int | None], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._bridge_name = bridge_name
        self._socket = socket
        self._on_drift = on_drift
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._guard: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def statistics(self) -> list[FlowStats]:
        """Our flows with their counters; none while the bridge is not there."""
        if not self._socket.is_socket():
            return []
        with self._asking("be read"):
            channel = await self._connected()
            return await channel.dump_flows(cookie=OWNER, cookie_mask=OWNER_MASK)

    async def meter_drops(self) -> dict[int, int]:
        """How many packets each meter has dropped; empty while the bridge is not there."""
        if not self._socket.is_socket():
            return {}
        with self._asking("be counted"):
            channel = await self._connected()
            meters = await channel.meter_stats()
            return {m.meter_id: sum(packets for packets, _ in m.bands) for m in meters}

    async def compare(self, flows: Sequence[FlowMod], rates: Mapping[int, RateLimit]) -> Changes:
        """From the flows and meters that are there to these. Raises FlowError."""
        if not self._socket.is_socket():
            return Changes(Difference(added=tuple(flows)), meter_mods(rates.values(), {}))
        with self._asking("be compared"):
            channel = await self._connected()
            difference = await channel.compare_flows(flows, cookie=OWNER, cookie_mask=OWNER_MASK)
            present = {meter.meter_id: meter for meter in await channel.dump_meters()}
            unused = await _ours(channel, present.keys() - rates.keys())
            switch = drift_of(await channel.dump_ports(), await channel.config())
        return Changes(difference, meter_mods(rates.values(), present), unused, switch)

    async def compare_under(
        self, wanted: Mapping[int, Sequence[FlowMod]], rates: Iterable[RateLimit] = ()
    ) -> Changes:
        """The same for the flows under some cookies, and some meters. Raises FlowError.

        A cookie that is asked for whole is looked up, however many flows there are.
        """
        with self._asking("be compared"):
            channel = await self._connected()
            flows = await _compare_under(channel, wanted)
            present = {m.meter_id: m for m in await channel.dump_meters()} if rates else {}
        return Changes(flows, meter_mods(rates, present))

    async def apply(
        self, changes: Changes, confirm: Mapping[int, Sequence[FlowMod]] | None = None
    ) -> None:
        """Ports and meters first, then all flows in one step or none of them, then meters without
        use.

        With `confirm`, what is there under those cookies is read back at once, and has to be that.
        Raises FlowError; the flows that were in force still are, unless that is what it says.
        """
        if not changes:
            return
        readings: list[asyncio.Task[Difference]] = []
        with self._asking("be installed"):
            channel = await self._connected()

            def read_back() -> None:
                if confirm is not None:
                    readings.append(asyncio.create_task(_compare_under(channel, confirm)))

            try:
                if changes.switch:
                    await channel.apply(changes.switch.messages())
                await channel.apply_bundle(
                    changes.flows.messages(), before=changes.meters, committing=read_back
                )
            except SwitchError as error:
                raise _refusal(error) from error
            finally:
                found = await asyncio.gather(*readings)
            if changes.unused_meters:
                await channel.apply([delete_meter(number) for number in changes.unused_meters])
        if any(found):
            raise FlowError("the switch does not have the flows that it was given", retryable=True)

    async def close(self) -> None:
        """Close the connection; the flows stay."""
        guard, self._guard = self._guard, None
        channel, self._channel = self._channel, None
        if guard is not None:
            guard.cancel()
            await asyncio.gather(guard, return_exceptions=True)
        if channel is not None:
            await channel.close()

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OpenFlowError, OSError) as error:
            if self._channel is not None:
                self._channel.abort("given up after an error")
                self._channel = None
            raise FlowError(
                f"the flows of {self._bridge_name} could not {what}: {error}", retryable=True
            ) from error

    async def _connected(self) -> Channel:
        async with self._connecting:
            if self._channel is None or self._channel.closed:
                self._channel = await connect_unix(self._socket, timeout_s=_TIMEOUT_S)
                if self._on_drift is not None:
                    watching = self._watch(self._channel, self._on_drift)
                    self._guard = asyncio.create_task(watching)
            return self._channel

    async def _watch(self, channel: Channel, on_drift: Callable[[int | None], None]) -> None:
        """Tell when another controller changes our flows, or the connection ends."""
        await asyncio.gather(
            _until_lost(channel, _follow(channel, on_drift)),
            _until_lost(channel, _follow_switch(channel, on_drift)),
            _until_lost(channel, _follow_meters(channel, on_drift)),
        )
        await channel.wait_closed()
        if self._channel is channel:
            self._channel = None
        if self._on_lost is not None:
            self._on_lost()


async def _until_lost(channel: Channel, watching: Coroutine[None, None, None]) -> None:
    """Have a watch go on for as long as the connection does."""
    try:
        await watching
    except OpenFlowError as error:
        # a switch that does not tell is read now and then; a lost connection is seen elsewhere
        _log.debug("changes of the switch are not told", reason=str(error))
    except Exception as error:  # a defect of ours: a new connection, and all is compared
        _log.error("a watch of the switch failed", reason=repr(error), exc_info=error)
        channel.abort("given up after a defect")


async def _follow_switch(channel: Channel, on_drift: Callable[[int | None], None]) -> None:
    """Hear of ports that another program configures; ask how the switch handles fragments."""
    config = await channel.config()
    told = Told(port_status=1 << PortStatusReason.MODIFY)
    with channel.subscribe() as heard:
        await channel.apply([SetConfig(flags=config.flags), SetAsync(told)])
        while True:
            try:
                message = await heard.get(_ASK_EVERY_S)
            except RequestTimeoutError:
                if drift_of((), await channel.config()):
                    on_drift(None)
                continue
            if not isinstance(message, PortStatus) or is_strange(message.port):
                on_drift(None)


async def _follow_meters(channel: Channel, on_drift: Callable[[int | None], None]) -> None:
    """Ask for the meters, since no message tells that another program has changed the rate of one.

    One that is deleted takes its flows with it, which the switch tells; one that is new changes
    none of ours. With many meters it is asked less often: an answer about 30,000 takes a while.
    """
    known: dict[int, MeterConfig] = {}
    while True:
        began_s = time.monotonic()
        now = {meter.meter_id: meter for meter in await channel.dump_meters()}
        if any(now.get(number, meter) != meter for number, meter in known.items()):
            on_drift(None)
        known = now
        await asyncio.sleep(max(_ASK_EVERY_S, _SHARE_OF_TIME * (time.monotonic() - began_s)))


async def _follow(channel: Channel, on_drift: Callable[[int | None], None]) -> None:
    with await channel.monitor_flows(flags=_CHANGES) as changes:
        async for change in changes:
            if isinstance(change, OwnChange):
                continue
            if not isinstance(change, FlowEvent):
                on_drift(None)  # the switch could not keep up, and told only a part
            elif layer_of(change.cookie) is not None:
                on_drift(change.cookie)
            elif change.table_id < len(TABLES) and change.kind != FlowEventKind.DELETED:
                on_drift(None)


async def _ours(channel: Channel, meters: set[int]) -> tuple[int, ...]:
    """Those of these meters that flows of ours go through; a meter itself does not say whose it
    is, and deleting one deletes the flows that use it."""
    if not meters:
        return ()
    flows = await channel.dump_flows(cookie=OWNER, cookie_mask=OWNER_MASK)
    named = {number for flow in flows for number in meters_of(flow)}
    return tuple(sorted(named & meters))


async def _compare_under(channel: Channel, wanted: Mapping[int, Sequence[FlowMod]]) -> Difference:
    questions = (
        channel.compare_flows(flows, cookie=cookie, cookie_mask=_EVERY_BIT)
        for cookie, flows in wanted.items()
    )
    found = await asyncio.gather(*questions)
    return Difference(
        tuple(flow for part in found for flow in part.added),
        tuple(flow for part in found for flow in part.changed),
        tuple(flow for part in found for flow in part.removed),
    )


_REMEDIES = {
    MeterMod: "it has no meters, or no more of them: set openflow.rates.arp, icmp, syn and dns to"
    " null, some or all",
    FlowMod: "TABLE_FULL: another program sets flow_limit of a Flow_Table in Open vSwitch's"
    " database, again and again; end it. Else see what `privacy-router flows diff` says",
}


def _refusal(error: SwitchError) -> Exception:
    """The refusal with the flow or the meter in text: asking again would not help."""
    message = error.refused
    if isinstance(message, FlowMod):
        what = f"the flow {format_flow(message, table_name=name_of)}"
    elif isinstance(message, MeterMod):
        what = f"the meter {message.meter_id}"
    else:
        return error
    return FlowError(f"the switch refused {what}: {error.name}", remedy=_REMEDIES[type(message)])
