"""Bring a node up, take it down, and the questions in between."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from privacy_router.config import ConfigError, check_host
from privacy_router.errors import ConflictError, PrivacyRouterError, StorageError
from privacy_router.host import namespaces, processes
from privacy_router.node import machine as machines
from privacy_router.node.controller import Controller, observe_all
from privacy_router.node.flows import FlowTable
from privacy_router.node.observe import read_bridge
from privacy_router.node.paths import NodePaths
from privacy_router.node.secrets import load_keys
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.ovsdb.client import OvsDatabase, OvsdbError
from privacy_router.pipeline.tables import number_of
from privacy_router.plan.chain import GATEWAY_TUNNEL, NAMESPACE_PREFIX, WARP_TUNNEL
from privacy_router.plan.compile import compile_node
from privacy_router.plan.state import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.machine import Machine
    from privacy_router.plan.state import Change, DesiredState

_STOP_TIMEOUT_S = 10.0


class NodeLock:
    """One controller a node: the lock goes with its process, however that ends."""

    def __init__(self, paths: NodePaths) -> None:
        self._path = paths.lock
        self._handle: int | None = None

    def take(self) -> None:
        """Hold the lock. Raises ConflictError naming the process that has it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write to {self._path.parent}: {error.strerror}",
                remedy="make room there, or set PRIVACY_ROUTER_RUN to another directory",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise ConflictError(
                f"the node is up already (controller process {read_controller_pid(self._path)})",
                remedy="privacy-router status; to start anew: privacy-router down",
            ) from error
        self._handle = handle

    def note_pid(self) -> None:
        """Write the caller's process id into the lock file."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)


def read_controller_pid(lock: Any) -> int | None:
    """The process id in the lock file."""
    try:
        return int(lock.read_text())
    except (FileNotFoundError, ValueError):
        return None


def controller_pid(paths: NodePaths) -> int | None:
    """The running controller's process id, or None when nobody holds the lock."""
    try:
        handle = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return read_controller_pid(paths.lock)
    else:
        return None
    finally:
        os.close(handle)


def tell_controller(paths: NodePaths) -> bool:
    """Have the controller read configuration and clients again; False when there is none."""
    pid = controller_pid(paths)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    return True


# --- up ------------------------------------------------------------------------------------------


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


# --- down ----------------------------------------------------------------------------------------


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


def tear_down(machine: Machine, bridge_name: str) -> None:
    """Take processes, bridge, namespaces and run-time files away. Keys and clients stay.

    The encrypted tunnels go first, so that nothing can leave while the rest is dismantled.
    """
    found = processes.running(machine.owner)
    ovs = [p for p in found if p.name in ("ovsdb-server", "ovs-vswitchd")]
    for process in found:
        if process not in ovs:
            processes.stop(process)
    if read_bridge(bridge_name, machine) is not None:
        try:
            with OvsDatabase(machine.ovs_socket) as database:
                database.delete_bridge(bridge_name)
        except OvsdbError as error:
            if not machine.facts.private_ovs:
                raise PrivacyRouterError(
                    f"the bridge {bridge_name} could not be removed: {error.message}",
                    remedy=f"ovs-vsctl del-br {bridge_name}",
                ) from error
    for process in sorted(ovs, key=lambda p: p.name != "ovs-vswitchd"):
        processes.stop(process)
    for name in namespaces.names(NAMESPACE_PREFIX):
        namespaces.delete(name)
    machines.remove_leftover_devices(bridge_name, private_ovs=machine.facts.private_ovs)
    lock = machine.paths.lock
    for entry in machine.paths.run.iterdir() if machine.paths.run.is_dir() else ():
        if entry == lock:
            continue  # whoever holds it notices that it is held
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


# --- questions -----------------------------------------------------------------------------------


async def pending_changes(config: PrivacyRouterConfig) -> list[Change]:
    """What `up` would change now. Makes no keys and touches nothing."""
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    desired = compile_node(config, load_keys(config, paths, make=False), machine.facts)
    flows = FlowTable(desired.bridge, machine, lambda: None)
    try:
        return await observe_all(desired, machine, flows)
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
    flows = FlowTable(desired.bridge, machine, lambda: None)
    try:
        rows = [
            {
                "table": flow.table,
                "priority": flow.priority,
                "packets": packets,
                "bytes": size,
                "match": format_match(flow.match, port_name=port_names.get),
                "actions": format_instructions(flow.instructions, port_name=port_names.get),
                "reason": reasons.get(flow.key, "not of this configuration"),
            }
            for flow, packets, size in await flows.counted()
        ]
    finally:
        await flows.close()
    return sorted(rows, key=lambda row: (number_of(row["table"]), -row["priority"], row["match"]))
