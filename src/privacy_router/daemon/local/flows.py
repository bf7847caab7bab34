"""The flows of a node, looked at from the caller's own process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy_router.errors import PrivacyRouterError
from privacy_router.node import inspection
from privacy_router.node.flows.monitor import FlowChange, Moment, watch
from privacy_router.node.machine import require_root
from privacy_router.node.tracing import complete, differences
from privacy_router.pipeline.trace.walk import walk
from privacy_router.report.changes import FlowDifference, flow_differences
from privacy_router.report.flows import Explained, explained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.pipeline.trace.walk import Walk

__all__ = [
    "FlowChange",
    "Moment",
    "Traced",
    "dump",
    "explain",
    "pending",
    "require_root",
    "trace",
    "watch",
]


def dump(config: PrivacyRouterConfig) -> list[dict[str, Any]]:
    """The flows that are on the bridge now. Raises PrivilegeError, FlowError."""
    require_root()
    return asyncio.run(inspection.read_flows(config))


def pending(config: PrivacyRouterConfig) -> list[FlowDifference]:
    """Which flows and meters of the bridge are not as they should be. Raises PrivilegeError,
    FlowError."""
    require_root()
    read = asyncio.run(inspection.pending_flows(config))
    return flow_differences(read.changes, read.port_names)


def explain(config: PrivacyRouterConfig, wanted: str) -> tuple[list[Explained], bool]:
    """Flows in words, and whether they are those of the ports that are on the bridge now.

    Raises NoSuchFlowError.
    """
    program, names, machine = inspection.program(config)
    return explained(program.flows, names, wanted), machine is not None


@dataclass(frozen=True)
class Traced:
    """A packet's way, the names of the ports on it, and where the switch does otherwise; None where
    that was not asked."""

    walked: Walk
    port_names: dict[int, str]
    different: list[str] | None


def trace(config: PrivacyRouterConfig, packet: str, states: Sequence[str], *, live: bool) -> Traced:
    """Follow a packet through the compiled tables, and with `live` through the switch.

    Raises PacketError, PrivilegeError, LiveTraceError.
    """
    if live:
        require_root()
    program, names, machine = inspection.program(config)
    walked = walk(program.flows, complete(packet, program.flows, names, states), ct_states=states)
    if not live:
        return Traced(walked, names, None)
    if machine is None:
        raise PrivacyRouterError(
            "the node is down: there is no switch to ask", remedy="privacy-router up"
        )
    run_dir = machine.management_socket_dir
    return Traced(walked, names, differences(walked, run_dir, config.bridge_name, names, states))
