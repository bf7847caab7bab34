"""Questions about a node that change nothing: what `up` would do, which flows there are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy_router.node import machine as machines
from privacy_router.node.controller import make_engine, observe_all
from privacy_router.node.paths import NodePaths
from privacy_router.node.secrets import load_keys
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.plan.compile import compile_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.engine import FlowEngine
    from privacy_router.node.machine import Machine
    from privacy_router.plan.state import Change, DesiredState


@dataclass(frozen=True)
class Pending:
    """What `up` would change, and the names of the port numbers in it."""

    changes: list[Change]
    port_names: dict[int, str]


@contextlib.asynccontextmanager
async def looking_at(
    config: PrivacyRouterConfig,
) -> AsyncIterator[tuple[DesiredState, Machine, FlowEngine]]:
    """The node as it should be, the machine, and the engine of its flows. Makes no keys."""
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    desired = compile_node(config, load_keys(config, paths, make=False), machine.facts)
    engine = make_engine(desired, machine)
    try:
        yield desired, machine, engine
    finally:
        await engine.close()


async def pending_changes(config: PrivacyRouterConfig) -> Pending:
    """What `up` would change now. Makes no keys and touches nothing."""
    async with looking_at(config) as (desired, machine, engine):
        changes = await observe_all(desired, machine, engine)
        return Pending(changes, port_names(desired, engine))


async def pending_flows(config: PrivacyRouterConfig) -> Pending:
    """Which flows and meters of the bridge are not as they should be."""
    async with looking_at(config) as (desired, _, engine):
        return Pending(await engine.differences(), port_names(desired, engine))


def port_names(desired: DesiredState, engine: FlowEngine) -> dict[int, str]:
    """The names of the bridge's ports by their OpenFlow numbers."""
    hops = {port.ofport: port.name for port in desired.bridge.ports}
    return {**{port.ofport: port.name for port in engine.mesh.ports.values()}, **hops}


async def read_flows(config: PrivacyRouterConfig) -> list[dict[str, Any]]:
    """The bridge's flows with names, counters and reasons, in the order of the pipeline."""
    async with looking_at(config) as (desired, _, engine):
        names = port_names(desired, engine)
        rows = [
            {
                "table": flow.table,
                "priority": flow.priority,
                "packets": packets,
                "bytes": size,
                "match": format_match(flow.match, port_name=names.get),
                "actions": format_instructions(
                    flow.instructions, port_name=names.get, table_name=name_of
                ),
                "origin": flow.origin,
                "reason": flow.reason,
            }
            for flow, packets, size in await engine.counted()
        ]
    return sorted(rows, key=lambda row: (number_of(row["table"]), -row["priority"], row["match"]))
