"""The bridge's flows over OpenFlow: read back, and changed in one atomic bundle."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from privacy_router.errors import PrivacyRouterError
from privacy_router.openflow import (
    FlowEvent,
    FlowMod,
    FlowModCommand,
    MonitorFlag,
    OpenFlowError,
    OwnChange,
)
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.pipeline.cookies import OWNER, OWNER_MASK, Layer, layer_of
from privacy_router.pipeline.flow import Flow, flow_key
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.plan.state import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privacy_router.node.machine import Machine
    from privacy_router.openflow import FlowStats
    from privacy_router.ovsdb.model import BridgeSpec
    from privacy_router.plan.state import Change

_TIMEOUT_S = 5.0
_CHANGES = MonitorFlag.ADD | MonitorFlag.DELETE | MonitorFlag.MODIFY


class FlowError(PrivacyRouterError):
    """The switch could not be reached or refused a flow."""


class FlowTable:
    """The flows of one bridge, over one connection that is made anew whenever it breaks.

    With `on_change` the switch is asked to tell of changes that somebody else makes.
    """

    def __init__(
        self, bridge: BridgeSpec, machine: Machine, on_change: Callable[[], None] | None = None
    ) -> None:
        self._bridge = bridge
        self._socket = machine.management_socket_dir / f"{bridge.name}.mgmt"
        self._on_change = on_change
        self._channel: Channel | None = None
        self._guard: asyncio.Task[None] | None = None

    async def read(self) -> dict[Key, Any]:
        """Our flows as items; none while the bridge is not there."""
        return {
            Key(Kind.FLOW, self._bridge.name, flow_key(s.table_id, s.priority, s.match)): _flow(s)
            for s in await self._statistics()
        }

    async def counted(self) -> list[tuple[Flow, int, int]]:
        """Our flows, each with the packets and bytes that it has seen."""
        return [(_flow(s), s.packet_count, s.byte_count) for s in await self._statistics()]

    async def _statistics(self) -> list[FlowStats]:
        if not self._socket.is_socket():
            return []
        try:
            channel = await self._connected()
            return await channel.dump_flows(cookie=OWNER, cookie_mask=OWNER_MASK)
        except (OpenFlowError, OSError):
            await self.close()
            return []

    async def apply(self, changes: Sequence[Change]) -> None:
        """Remove, add and replace flows as one transaction. Raises FlowError; nothing changed."""
        if not changes:
            return
        try:
            channel = await self._connected()
            await channel.apply_bundle([_flow_mod(change) for change in changes])
        except (OpenFlowError, OSError) as error:
            await self.close()
            raise FlowError(
                f"the flows of {self._bridge.name} could not be installed: {error}", retryable=True
            ) from error

    async def close(self) -> None:
        """Close the connection; the flows stay."""
        guard, self._guard = self._guard, None
        channel, self._channel = self._channel, None
        if guard is not None:
            guard.cancel()
            await asyncio.gather(guard, return_exceptions=True)
        if channel is not None:
            await channel.close()

    async def _connected(self) -> Channel:
        if self._channel is None:
            self._channel = await connect_unix(self._socket, timeout_s=_TIMEOUT_S)
            if self._on_change is not None:
                watching = self._watch(self._channel, self._on_change)
                self._guard = asyncio.create_task(watching)
        return self._channel

    async def _watch(self, channel: Channel, on_change: Callable[[], None]) -> None:
        """Tell when somebody else changes our flows, or the connection ends."""
        # a switch without flow monitors is only read now and then; a lost connection is seen below
        with contextlib.suppress(OpenFlowError):
            await self._follow(channel, on_change)
        await channel.wait_closed()
        if self._channel is channel:
            self._channel = None
            on_change()

    async def _follow(self, channel: Channel, on_change: Callable[[], None]) -> None:
        with await channel.monitor_flows(flags=_CHANGES) as changes:
            async for change in changes:
                if not _is_of_no_concern(change):
                    on_change()


def _is_of_no_concern(change: object) -> bool:
    """What this program did itself, and other owners' flows."""
    if isinstance(change, FlowEvent):
        return layer_of(change.cookie) is None
    return isinstance(change, OwnChange)


def _flow(stats: FlowStats) -> Flow:
    return Flow(
        table=name_of(stats.table_id),
        priority=stats.priority,
        match=stats.match,
        instructions=stats.content().instructions,
        layer=layer_of(stats.cookie) or Layer.BASE,
        reason="read back",
    )


def _flow_mod(change: Change) -> FlowMod:
    flow = change.after or change.before
    removing = change.after is None
    return FlowMod(
        command=FlowModCommand.DELETE_STRICT if removing else FlowModCommand.ADD,
        table_id=int(change.key.name.split()[0]) if removing else number_of(flow.table),
        priority=flow.priority,
        match=flow.match,
        instructions=() if removing else flow.instructions,
        cookie=flow.cookie,
    )
