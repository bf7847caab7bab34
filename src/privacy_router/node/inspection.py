"""Questions about a node that change nothing: what `up` would do, which flows there are."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.node import machine as machines
from privacy_router.node.bridge_row import read_bridge
from privacy_router.node.controller import make_engine
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.proxmox import container_mac
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.mesh import Mesh, expected_ports
from privacy_router.plan.compile import plan_node
from privacy_router.report.flows import flow_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.pipeline.flow import Program
    from privacy_router.pipeline.mesh import MeshPort
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.items import Change


@dataclass(frozen=True)
class Pending:
    """What `up` would change, and the names of the port numbers in it."""

    changes: list[Change]
    port_names: dict[int, str]


@contextlib.asynccontextmanager
async def open_node(
    config: PrivacyRouterConfig,
) -> AsyncIterator[tuple[NodeState, NodeHost, FlowKeeper]]:
    """The node as it should be, the machine, and the engine of its flows. Makes no keys."""
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    desired = plan_node(config, plan_keys(config, paths), machine.facts, machine.hops)
    engine = await make_engine(desired, machine)
    try:
        yield desired, machine, engine
    finally:
        await engine.close()


def program(config: PrivacyRouterConfig) -> tuple[Program, dict[int, str], NodeHost | None]:
    """What the bridge should have, the names of its ports, and the machine.

    With root and a node that is up, for the ports that are on its bridge now; else, with None in
    the place of the machine, for those that the configuration names.
    """
    if os.geteuid() == 0:
        paths = NodePaths.from_environment()
        machine = machines.inspect(config, paths)
        row = read_bridge(config.bridge_name, machine)
        if row is not None:
            mesh = Mesh(config)
            for port in row.ports.values():
                mesh.put(port, container_mac(port.name))
            return _compiled(config, mesh.ports), _names(config, mesh.ports), machine
    expected = expected_ports(config)
    return _compiled(config, expected), _names(config, expected), None


def _compiled(config: PrivacyRouterConfig, ports: Mapping[str, MeshPort]) -> Program:
    return Pipeline(config, CATALOGUE.segment(config)).compile(ports)


def _names(config: PrivacyRouterConfig, ports: Mapping[str, MeshPort]) -> dict[int, str]:
    hops = {station.ofport: station.port for station in CATALOGUE.segment(config).stations}
    return {**{port.ofport: port.name for port in ports.values()}, **hops}


async def pending_flows(config: PrivacyRouterConfig) -> Pending:
    """Which flows and meters of the bridge are not as they should be."""
    async with open_node(config) as (desired, _, engine):
        return Pending(await engine.differences(), port_names(desired, engine))


def port_names(desired: NodeState, engine: FlowKeeper) -> dict[int, str]:
    """The names of the bridge's ports by their OpenFlow numbers."""
    hops = {port.ofport: port.name for port in desired.bridge.ports}
    return {**{port.ofport: port.name for port in engine.mesh.ports.values()}, **hops}


async def read_flows(config: PrivacyRouterConfig) -> list[dict[str, Any]]:
    """The bridge's flows with names, counters and reasons, in the order of the pipeline."""
    async with open_node(config) as (desired, _, engine):
        return flow_rows(await engine.counted(), port_names(desired, engine))
