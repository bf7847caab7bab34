"""Bring a node up and take it down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from privacy_router.config import ConfigError, check_host
from privacy_router.host import namespaces, processes
from privacy_router.node import machine as machines
from privacy_router.node.controller import Controller
from privacy_router.node.lock import controller_pid
from privacy_router.node.observe import read_bridge
from privacy_router.node.secrets import load_keys
from privacy_router.node.teardown import tear_down
from privacy_router.plan.chain import GATEWAY_TUNNEL, NAMESPACE_PREFIX, WARP_TUNNEL
from privacy_router.plan.compile import compile_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.machine import Machine
    from privacy_router.node.paths import NodePaths
    from privacy_router.plan.state import DesiredState

_STOP_TIMEOUT_S = 10.0


def prepare(load_config: Callable[[], PrivacyRouterConfig], paths: NodePaths) -> Controller:
    """Check the machine, have the keys ready, work out the desired state; touch no network.

    Raises what says why it cannot be: PrivilegeError, MissingPrerequisiteError, ConflictError,
    ConfigError, StorageError, RemoteServiceError.
    """
    config = load_config()
    machine = machines.inspect(config, paths)
    _require_room(config, machine)

    def desired() -> DesiredState:
        current = load_config()
        return compile_node(current, load_keys(current, paths), machine.facts)

    return Controller(desired(), machine, desired)


def _require_room(config: PrivacyRouterConfig, machine: Machine) -> None:
    """What the node takes must be free, unless it is the node's own from an earlier run."""
    problems = check_host(config, machines.host_networks())
    if problems:
        raise ConfigError("the configuration", problems)
    running = {process.name for process in processes.running(machine.owner)}
    if running:
        return
    if "gateway" in config.chain_hops:
        machines.require_free_port(config.wireguard.listen_port)
    machines.require_free_names(
        [config.bridge_name, GATEWAY_TUNNEL, WARP_TUNNEL]
        if read_bridge(config.bridge_name, machine) is None
        else [GATEWAY_TUNNEL, WARP_TUNNEL]
    )


async def run(controller: Controller, on_ready: Callable[[], None]) -> None:
    """Run the controller; a first start that fails leaves nothing behind."""
    fresh = not processes.running(controller.machine.owner)
    ready = False

    def report() -> None:
        nonlocal ready
        ready = True
        on_ready()

    try:
        await controller.run(report)
    except BaseException:
        if fresh and not ready:
            await asyncio.to_thread(tear_down, controller.machine, controller.desired.bridge.name)
        raise
    if controller.tear_down_asked:
        await asyncio.to_thread(tear_down, controller.machine, controller.desired.bridge.name)


def down(config: PrivacyRouterConfig, paths: NodePaths) -> bool:
    """Stop the controller and take everything off the machine; False when there was nothing."""
    machines.require_root()
    machine = machines.inspect(config, paths)
    pid = controller_pid(paths)
    if pid is not None:
        _end_controller(pid, paths)
    there = bool(processes.running(machine.owner) or namespaces.names(NAMESPACE_PREFIX))
    tear_down(machine, config.bridge_name)
    return there or pid is not None


def _end_controller(pid: int, paths: NodePaths) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while controller_pid(paths) is not None:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
        time.sleep(0.02)
