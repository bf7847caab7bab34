"""What the node has in places that others can clear: the sockets that its processes are reached by,
and files of its run directory.

A process whose socket file was removed lives on, but no program can reach it any more, and no
socket can be given back its name: the process is started anew. Files are written again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError
from privacy_router.host import processes
from privacy_router.host.files import PRIVATE_DIRECTORY_MODE, make_directory, write_private
from privacy_router.host.inotify import watching
from privacy_router.host.threads import in_thread
from privacy_router.values.wireguard import UAPI_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from privacy_router.host.processes import Process
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

_GRACE_S: Final = 2.0  # so long a process that was just started may take to open its sockets
_PUBLIC_MODE: Final = 0o755
_SWITCH: Final = "ovs-vswitchd"


def is_reachable(
    process: Process, machine: NodeHost, bridge_name: str, has_bridge: Callable[[], bool]
) -> bool:
    """Whether a process can still be asked. vswitchd opens a socket for its bridge once that is
    there."""
    own = _sockets_of(process.name, machine)
    there = all(path.is_socket() for path in own)
    if process.name == _SWITCH and there and not bridge_socket(machine, bridge_name).is_socket():
        there = not has_bridge()
    return there or processes.age_s(process) < _GRACE_S


def _sockets_of(name: str, machine: NodeHost) -> list[Path]:
    """Those that the process opens when it starts."""
    if name == "ovsdb-server":
        return [machine.ovs_socket]
    if name == _SWITCH:
        return [machine.ovs_socket.with_name(f"{_SWITCH}.ctl")]
    return [UAPI_DIR / f"{name}.sock"] if name in machine.hops.tunnels else []


def bridge_socket(machine: NodeHost, bridge_name: str) -> Path:
    """Where vswitchd takes OpenFlow for the bridge, once that is there."""
    return machine.management_socket_dir / f"{bridge_name}.mgmt"


def write_missing_files(desired: DesiredState) -> None:
    """Write again what a running process was started with. Raises StorageError."""
    for path, inputs in _input_files(desired).items():
        if not path.exists():
            write_private(path, inputs)


def _input_files(desired: DesiredState) -> dict[Path, bytes]:
    specs = desired.processes.values()
    return {spec.input_file: spec.inputs for spec in specs if spec.input_file is not None}


async def watch(
    machine: NodeHost, desired: Callable[[], DesiredState], tell: Callable[[], None]
) -> None:
    """Call `tell` when a socket of the node's goes, and write files again, until cancelled.

    Raises StorageError when a directory of the node's goes, or is another: what is in that is
    another watch's. One that is renamed is seen from the one above.
    """
    inodes = await in_thread(_directories, machine, desired())
    above = {directory.parent for directory in inodes}
    heard: asyncio.Queue[Path] = asyncio.Queue()
    with watching([*inodes, *(above - inodes.keys())], heard.put_nowait):
        _require_same(inodes)
        await in_thread(write_missing_files, desired())
        while True:
            path = await heard.get()
            if path in inodes:
                _require_same(inodes)
            if path in _input_files(desired()):
                await in_thread(write_missing_files, desired())
            elif path in _needed(desired(), machine) and not path.exists():
                tell()


def _directories(machine: NodeHost, desired: DesiredState) -> dict[Path, int]:
    """The places of what is needed, with their inodes; made where they are not there."""
    make_directory(machine.paths.run)
    places = {
        machine.paths.run,
        machine.paths.logs,
        *(path.parent for path in _needed(desired, machine)),
    }
    for place in places:
        make_directory(place, _PUBLIC_MODE if place == UAPI_DIR else PRIVATE_DIRECTORY_MODE)
    return {place: place.stat().st_ino for place in places}


def _needed(desired: DesiredState, machine: NodeHost) -> set[Path]:
    found = {path for name in desired.processes for path in _sockets_of(name, machine)}
    if _SWITCH in desired.processes:
        found.add(bridge_socket(machine, desired.bridge.name))
    return found


def _require_same(inodes: Mapping[Path, int]) -> None:
    for directory, inode in inodes.items():
        try:
            is_same = directory.stat().st_ino == inode
        except OSError:
            is_same = False
        if not is_same:
            raise StorageError(f"{directory} was removed", retryable=True)
