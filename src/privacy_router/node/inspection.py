"""Questions about a node that change nothing: what `up` would do, which flows there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy_router.node import machine as machines
from privacy_router.node.controller import observe_all
from privacy_router.node.flows import FlowTable
from privacy_router.node.paths import NodePaths
from privacy_router.node.secrets import load_keys
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.plan.compile import compile_node
from privacy_router.plan.state import Kind

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.plan.state import Change


@dataclass(frozen=True)
class Pending:
    """What `up` would change, and the names of the port numbers in it."""

    changes: list[Change]
    port_names: dict[int, str]


async def pending_changes(config: PrivacyRouterConfig) -> Pending:
    """What `up` would change now. Makes no keys and touches nothing."""
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    desired = compile_node(config, load_keys(config, paths, make=False), machine.facts)
    flows = FlowTable(desired.bridge, machine)
    try:
        changes = await observe_all(desired, machine, flows)
        return Pending(changes, {port.ofport: port.name for port in desired.bridge.ports})
    finally:
        await flows.close()


async def read_flows(config: PrivacyRouterConfig) -> list[dict[str, Any]]:
    """The bridge's flows with names, counters and reasons, in the order of the pipeline."""
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    desired = compile_node(config, load_keys(config, paths, make=False), machine.facts)
    reasons = {
        key.name: flow.reason for key, flow in desired.items.items() if key.kind is Kind.FLOW
    }
    port_names = {port.ofport: port.name for port in desired.bridge.ports}
    flows = FlowTable(desired.bridge, machine)
    try:
        rows = [
            {
                "table": flow.table,
                "priority": flow.priority,
                "packets": packets,
                "bytes": size,
                "match": format_match(flow.match, port_name=port_names.get),
                "actions": format_instructions(
                    flow.instructions, port_name=port_names.get, table_name=name_of
                ),
                "reason": reasons.get(flow.key, "not of this configuration"),
            }
            for flow, packets, size in await flows.counted()
        ]
    finally:
        await flows.close()
    return sorted(rows, key=lambda row: (number_of(row["table"]), -row["priority"], row["match"]))
