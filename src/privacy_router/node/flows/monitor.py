"""Changes of the bridge's flows as they happen, by any controller, in names."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError, VerificationError
from privacy_router.host.threads import in_thread
from privacy_router.node.inspection import program
from privacy_router.openflow import (
    FlowEvent,
    FlowEventKind,
    MonitorFlag,
    MonitorPaused,
    OpenFlowError,
    RequestTimeoutError,
)
from privacy_router.openflow.channel import connect_unix
from privacy_router.openflow.subscription import Lost
from privacy_router.pipeline.allocation import Layer, layer_of, port_of
from privacy_router.pipeline.flow import Flow, flow_key
from privacy_router.pipeline.tables import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.openflow.exchange import MonitorWord
    from privacy_router.openflow.subscription import Subscription

_TIMEOUT_S = 5.0
_TOGETHER_S = 0.05  # what comes within this time of each other is told as one,
_LONGEST_S = 0.5  # unless it does not end
_RETRY_S = 0.2
_FLAGS = MonitorFlag.ADD | MonitorFlag.DELETE | MonitorFlag.MODIFY | MonitorFlag.ACTIONS
_VERBS = {
    FlowEventKind.ADDED: "added",
    FlowEventKind.DELETED: "removed",
    FlowEventKind.MODIFIED: "changed",
}


class NotUpError(VerificationError):
    """There is no bridge to watch."""


@dataclass(frozen=True)
class FlowChange:
    """A flow that was added, removed or changed. `whose` says who it belongs to."""

    verb: str
    flow: Flow
    cookie: int
    whose: str

    @property
    def ours(self) -> bool:
        """Whether it has the mark of this program's flows."""
        return layer_of(self.cookie) is not None


@dataclass(frozen=True)
class PortChange:
    """How many flows a port got and lost in one go."""

    port: str
    added: int
    removed: int


@dataclass(frozen=True)
class Moment:
    """What happened together. `notes` are words about the watching itself."""

    at: datetime
    flows: tuple[FlowChange, ...] = ()
    ports: tuple[PortChange, ...] = ()
    notes: tuple[str, ...] = ()
    port_names: dict[int, str] = field(default_factory=dict)


async def watch(load: Callable[[], PrivacyRouterConfig]) -> AsyncGenerator[Moment, None]:
    """Every change from now on, without end. `load` reads the configuration.

    When Open vSwitch goes away it is waited for. Raises NotUpError when it is not there at first.
    """
    known = _Known(load)
    await known.refresh()
    if known.socket is None or not known.socket.is_socket():
        raise NotUpError(
            "the node is down: there are no flows to watch", remedy="privacy-router up"
        )
    gone = False
    while True:
        try:
            async with await connect_unix(known.socket, _TIMEOUT_S) as channel:
                with await channel.monitor_flows(flags=_FLAGS) as words:
                    yield _note(known, "Open vSwitch is back" if gone else "watching")
                    gone = False
                    while True:
                        yield await known.moment(await _together(words))
        except OpenFlowError as error:
            if not gone:
                yield _note(known, f"{error}; waiting for Open vSwitch")
            gone = True
            await asyncio.sleep(_RETRY_S)


async def _together(words: Subscription[MonitorWord]) -> list[MonitorWord | Lost]:
    """The next thing that is told, and what follows it closely."""
    found = [await words.get()]
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _LONGEST_S
    with contextlib.suppress(RequestTimeoutError):
        while clock.time() < deadline:
            found.append(await words.get(_TOGETHER_S))
    return found


def _note(known: _Known, text: str) -> Moment:
    return Moment(datetime.now(UTC), notes=(text,), port_names=known.port_names)


class _Known:
    """What the bridge should have, to call things by their names; read anew for what is new."""

    def __init__(self, load: Callable[[], PrivacyRouterConfig]) -> None:
        self._load = load
        self._flows: dict[str, Flow] = {}
        self.port_names: dict[int, str] = {}
        self.socket: Path | None = None

    async def refresh(self) -> None:
        """Read configuration and ports."""
        config = self._load()
        compiled, names, machine = await in_thread(program, config)
        self._flows = {flow.key: flow for flow in compiled.flows}
        self.port_names = {**self.port_names, **names}  # of ports that have just gone, too
        if machine is not None:
            self.socket = machine.management_socket_dir / f"{config.bridge_name}.mgmt"

    async def moment(self, words: Sequence[MonitorWord | Lost]) -> Moment:
        """These changes, with what they concern."""
        at = datetime.now(UTC)
        events = [word for word in words if isinstance(word, FlowEvent)]
        notes = tuple(_missed(words))
        if any(self._is_news(event) for event in events):
            try:
                await self.refresh()
            except PrivacyRouterError as error:
                notes += (f"not all names are known: {error}",)
        changes = tuple(self._change(event) for event in events)
        ports = tuple(_port_changes(changes, self.port_names))
        return Moment(at, changes, ports, notes, self.port_names)

    def _is_news(self, event: FlowEvent) -> bool:
        ours = layer_of(event.cookie) is not None
        return ours and event.kind != FlowEventKind.DELETED and _key(event) not in self._flows

    def _change(self, event: FlowEvent) -> FlowChange:
        layer = layer_of(event.cookie)
        known = self._flows.get(_key(event)) if layer is not None else None
        flow = Flow(
            table=name_of(event.table_id),
            priority=event.priority,
            match=event.match,
            instructions=event.instructions,
            layer=layer or Layer.BASE,
            origin=known.origin if known else "",
            reason=known.reason if known else "not of this configuration",
            port=port_of(event.cookie) if layer is not None else 0,
        )
        verb = _VERBS.get(FlowEventKind(event.kind), "changed")
        whose = "another program" if layer is None else f"privacy-router, {layer.name.lower()}"
        return FlowChange(verb, flow, event.cookie, whose)


def _key(event: FlowEvent) -> str:
    return flow_key(event.table_id, event.priority, event.match)


def _missed(words: Iterable[MonitorWord | Lost]) -> Iterable[str]:
    for word in words:
        if isinstance(word, Lost):
            yield f"{word.count} changes came too fast and are not shown"
        elif isinstance(word, MonitorPaused):
            yield "Open vSwitch has more to tell than can be taken; some changes are not shown"


def _port_changes(
    changes: Sequence[FlowChange], port_names: dict[int, str]
) -> Iterable[PortChange]:
    counts = Counter((change.flow.port, change.verb) for change in changes)
    for port in sorted({change.flow.port for change in changes} - {0}):
        added, removed = counts[port, "added"], counts[port, "removed"]
        if added or removed:
            yield PortChange(port_names.get(port, f"port {port}"), added, removed)
