"""Hear of what happens to declared bridges, from Open vSwitch's database and their switches."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.openflow import (
    FlowEvent,
    MonitorFlag,
    OpenFlowError,
    OwnChange,
    PortStatus,
    PortStatusReason,
    SetAsync,
    SetConfig,
    Told,
)
from privacy_router.openflow.channel import connect_unix
from privacy_router.ovsdb.changes import changes as database_changes
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.plugins.openflow.ownership import ANCHOR_TABLE, is_ours
from privacy_router.plugins.openflow.switch import TIMEOUT_S, management_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from privacy_router.config.plugins.openflow import FlowsOfBridge
    from privacy_router.openflow.channel import Channel

_log = structlog.get_logger()
_ASK_EVERY_S: Final = 1.0
_SHARE_OF_TIME: Final = 50  # the pause between two questions, in times of what an answer takes
_CHANGES: Final = MonitorFlag.ADD | MonitorFlag.DELETE | MonitorFlag.MODIFY
_PORTS: Final = 1 << PortStatusReason.ADD | 1 << PortStatusReason.DELETE

_Heard = asyncio.Queue[str]


async def watched(database: Path, sections: Mapping[str, FlowsOfBridge]) -> AsyncIterator[str]:
    """Yield a few words for each change. Database and switches may come and go: what does not
    answer is tried again every second."""
    heard: _Heard = asyncio.Queue()
    works = [_follow_database(database, heard)]
    works += [_follow_bridge(database, name, one, heard) for name, one in sections.items()]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        while True:
            getting = asyncio.create_task(heard.get())
            try:
                await asyncio.wait({getting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                getting.cancel()
            for task in tasks:
                if task.done():
                    task.result()  # raises the defect that ended it
            if getting.done() and not getting.cancelled():
                yield getting.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow_database(database: Path, heard: _Heard) -> None:
    """Bridges and ports that come and go."""
    answers = False
    while True:
        try:
            async for words in database_changes(database):
                answers = True
                heard.put_nowait(words)
        except OvsdbError as error:
            if answers:
                heard.put_nowait(error.message)
            answers = False
        await asyncio.sleep(_ASK_EVERY_S)


async def _follow_bridge(database: Path, name: str, section: FlowsOfBridge, heard: _Heard) -> None:
    """Flows, ports, groups and meters of one bridge, whenever it is there."""
    while True:
        try:
            async with await connect_unix(management_socket(database, name), TIMEOUT_S) as channel:
                await _follow_switch(channel, name, section, heard)
        except* (OpenFlowError, OSError) as errors:
            _log.debug("a switch is not heard", bridge=name, reason=str(errors.exceptions[0]))
        await asyncio.sleep(_ASK_EVERY_S)


async def _follow_switch(
    channel: Channel, name: str, section: FlowsOfBridge, heard: _Heard
) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_follow_flows(channel, name, section, heard))
            tasks.create_task(_follow_ports(channel, name, heard))
            if section.groups or section.meters:
                tasks.create_task(_follow_groups_and_meters(channel, name, heard))
            heard.put_nowait(f"the switch of {name} answers")
    finally:
        heard.put_nowait(f"the switch of {name} went")


async def _follow_flows(channel: Channel, name: str, section: FlowsOfBridge, heard: _Heard) -> None:
    """Flows that are ours, and others where one of ours is, may be or may come."""
    places = set(_places(section))
    with await channel.monitor_flows(flags=_CHANGES) as changes:
        async for change in changes:
            if isinstance(change, FlowEvent):
                machine = (change.table_id, change.priority)
                if not is_ours(change.cookie) and machine not in places:
                    continue
            if not isinstance(change, OwnChange):
                heard.put_nowait(f"flows of {name}")


def _places(section: FlowsOfBridge) -> Iterator[tuple[int, int]]:
    """Tables and priorities of what is declared."""
    for flow in section.flows:
        yield flow.table, flow.priority
    for policy in section.policies:
        yield policy.template.table, policy.template.priority
    yield ANCHOR_TABLE, 65535


async def _follow_ports(channel: Channel, name: str, heard: _Heard) -> None:
    """Ports that come and go, with the numbers that the database does not have at once."""
    config = await channel.config()
    with channel.subscribe() as messages:
        told = SetAsync(Told(port_status=_PORTS))
        await channel.apply([SetConfig(flags=config.flags), told])
        async for message in messages:
            if isinstance(message, PortStatus):
                heard.put_nowait(f"ports of {name}")


async def _follow_groups_and_meters(channel: Channel, name: str, heard: _Heard) -> None:
    """Asked for now and then: no message tells that another program has changed one."""
    known: object = None
    while True:
        began_s = time.monotonic()
        now = (await channel.dump_groups(), await channel.dump_meters())
        if known is not None and now != known:
            heard.put_nowait(f"groups or meters of {name}")
        known = now
        await asyncio.sleep(max(_ASK_EVERY_S, _SHARE_OF_TIME * (time.monotonic() - began_s)))
