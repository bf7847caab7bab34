"""What has to be so before a node comes up, and taking it down."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import ConflictError, MissingPrerequisiteError, StorageError
from privacy_router.node import machine as machines
from privacy_router.node import ownership
from privacy_router.node.lock import NodeLock, controller_pid
from privacy_router.node.room import require_room
from privacy_router.node.teardown import tear_down

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.machine import NodeHost
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02


def ready_machine(config: PrivacyRouterConfig, paths: NodePaths) -> NodeHost:
    """The machine, if a node like that can run on it; touches nothing.

    Raises what says why it cannot: PrivilegeError, MissingPrerequisiteError, ConflictError,
    ConfigError.
    """
    machine = machines.inspect(config, paths, to_run=True)
    require_room(config, machine)
    return machine


def down(config: PrivacyRouterConfig, paths: NodePaths) -> bool:
    """Stop the controller and take everything off the machine; False when there was nothing.

    What fails does not hold up the rest. Raises LeftoverError, which says what is left, and
    ConflictError when a controller does not end or another command takes the node down.
    """
    machines.require_root()
    machine = _inspect_to_end(config, paths)
    had_controller = _end_controller(paths)
    lock = NodeLock(paths)
    try:
        lock.take(as_controller=False)  # no other command brings it up while it is dismantled
    except StorageError as error:
        _log.warning("taken down without the lock file", reason=error.message)
    there = ownership.is_there(machine)
    tear_down(machine, config.bridge_name)
    return there or had_controller


def _inspect_to_end(config: PrivacyRouterConfig, paths: NodePaths) -> NodeHost:
    """The machine, also when it lacks what the configuration wants of it."""
    try:
        return machines.inspect(config, paths)
    except MissingPrerequisiteError as error:
        _log.warning("taken down without it", missing=error.message)
        return machines.inspect(config.model_copy(update={"datapath": "auto"}), paths)


def _end_controller(paths: NodePaths) -> bool:
    """End the process that keeps the node; False for none. Raises ConflictError if it stays."""
    found = False
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[int] = set()  # an `up --detach` hands over to a child while this goes on
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            pid = controller_pid(paths)
            if pid is None:
                return found
            found = True
            if pid not in told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(_POLL_S)
    raise ConflictError(
        f"the controller (process {controller_pid(paths)}) does not end",
        remedy="see what it waits for; if it hangs in the kernel, restart the machine",
    )
