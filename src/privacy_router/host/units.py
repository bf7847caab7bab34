"""Long-lived processes as transient units of systemd, each confined to what it needs.

A unit is only a shell around its process: the controller finds, watches, ends and replaces the
process itself, as it does without systemd, and a unit goes as soon as its process has ended,
however that was. systemd.exec(5) and org.freedesktop.systemd1(5) describe the properties.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from privacy_router.errors import MachineError
from privacy_router.host.dbus import Bus, BusGoneError, DBusCallError
from privacy_router.host.systemd1 import (
    DONE,
    MANAGER,
    NO_SUCH_UNIT,
    SERVICE,
    UNIT_EXISTS,
    jobs,
    manager_signal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.host.systemd1 import Jobs
    from privacy_router.values.confinement import Confinement
    from privacy_router.values.processes import ProcessSpec

SLICE: Final = "privacy-router.slice"
_SOCKET: Final = Path("/run/dbus/system_bus_socket")
_USUAL_OWNER: Final = "/run/privacy-router"
_START_S: Final = 20.0
_STOP_S: Final = 5.0
# Trees that a unit has its own, empty version of: what it needs of them is brought in.
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run", "/tmp", "/var/tmp")))  # noqa: S108

Properties: TypeAlias = list[tuple[str, str, Any]]
"""Name, D-Bus type, value; a later one of the same name adds to the earlier."""


class UnitError(MachineError):
    """systemd did not start a unit, or its process ended at once."""


def are_used() -> bool:
    """Whether the first process is systemd, can be asked, and sees the network and the files that
    this process sees; a lab's host, say, has others."""
    return (
        Path("/run/systemd/system").is_dir()
        and _SOCKET.is_socket()
        and all(_is_shared_with_first(kind) for kind in ("net", "mnt", "pid"))
    )


def _is_shared_with_first(kind: str) -> bool:
    own, first = (Path(f"/proc/{process}/ns/{kind}") for process in ("self", "1"))
    try:
        return own.readlink() == first.readlink()
    except PermissionError:
        return False


def name_of(process: str, owner: str) -> str:
    """The unit's name: another one for each node that runs on this machine."""
    node = "privacy-router"
    if owner != _USUAL_OWNER:
        node += f"-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"
    return f"{node}-{process}.service"


def start(spec: ProcessSpec, owner: str, environment: Mapping[str, str], log_file: Path) -> int:
    """Start `spec` as a unit; the number of its process.

    From a thread without an event loop. Raises FileNotFoundError when the program is not
    installed, BusGoneError, UnitError.
    """
    program = _find(spec.argv[0], environment)
    for directory in spec.confinement.writable:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    name = name_of(spec.name, owner)
    return asyncio.run(_start(name, properties(spec, program, environment, log_file)))


def _find(program: str, environment: Mapping[str, str]) -> str:
    found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    return found


# --- What a unit is told --------------------------------------------------------------------------


def properties(
    spec: ProcessSpec, program: str, environment: Mapping[str, str], log_file: Path
) -> Properties:
    """The unit for `spec`, whose program is at the path `program`. Every user may read it."""
    made: Properties = [
        ("Description", "s", f"Privacy Router: {spec.name}"),
        ("Slice", "s", SLICE),
        ("Type", "s", "exec"),
        ("ExecStart", "a(sasb)", [[program, list(spec.argv), False]]),
        ("Environment", "as", [f"{name}={value}" for name, value in environment.items()]),
        ("WorkingDirectory", "s", "/"),
        ("StandardOutputFileToAppend", "s", str(log_file)),
        ("StandardErrorFileToAppend", "s", str(log_file)),
        *_ALWAYS,
        *_confined(spec.confinement),
        ("BindReadOnlyPaths", "a(ssbt)", _bound([program, *spec.confinement.readable])),
    ]
    if spec.namespace is not None:
        made.append(("NetworkNamespacePath", "s", str(spec.namespace)))
    return [one for one in made if one[2] != []]  # an empty list takes back what came before


_ALWAYS: Final[Properties] = [
    ("CollectMode", "s", "inactive-or-failed"),
    ("StartLimitIntervalUSec", "t", 0),  # the controller has a patience of its own
    ("TimeoutStopUSec", "t", int(_STOP_S * 1e6)),
    ("OOMScoreAdjust", "i", -500),
    ("UMask", "u", 0o077),
    ("NoNewPrivileges", "b", True),
    ("ProtectSystem", "s", "strict"),
    ("ProtectHome", "s", "tmpfs"),
    # The sockets of other services are there, and they obey root. (Besides, systemd 252 leaves /run
    # writable when there is also ProtectKernelTunables=.)
    ("TemporaryFileSystem", "a(ss)", [["/run", "ro"]]),
    ("PrivateTmp", "b", True),
    ("PrivateIPC", "b", True),
    ("ProtectHostname", "b", True),
    ("ProtectClock", "b", True),
    ("ProtectKernelTunables", "b", True),
    ("ProtectKernelModules", "b", True),
    ("ProtectKernelLogs", "b", True),
    ("ProtectControlGroups", "b", True),
    ("RestrictNamespaces", "t", 0),
    ("RestrictRealtime", "b", True),
    ("RestrictSUIDSGID", "b", True),
    ("LockPersonality", "b", True),
    ("MemoryDenyWriteExecute", "b", True),
    ("SystemCallArchitectures", "as", ["native"]),
    ("SystemCallFilter", "(bas)", [True, ["@system-service"]]),
    ("SystemCallFilter", "(bas)", [False, ["@privileged", "@keyring"]]),
    ("SystemCallErrorNumber", "i", errno.EPERM),
]


def _confined(what: Confinement) -> Properties:
    return [
        ("CapabilityBoundingSet", "t", sum(1 << number for number in what.capabilities)),
        ("RestrictAddressFamilies", "(bas)", [True, list(what.address_families)]),
        ("PrivateDevices", "b", not what.devices),
        ("DevicePolicy", "s", "closed"),
        ("DeviceAllow", "a(ss)", [[device, "rw"] for device in what.devices]),
        ("ReadWritePaths", "as", [path for path in what.writable if not _is_hidden(Path(path))]),
        ("BindPaths", "a(ssbt)", _bound(what.writable)),
    ]


def _bound(places: Iterable[str]) -> list[list[Any]]:
    """Those of the places that the unit would not see, to be seen where they are."""
    paths = {path for place in map(Path, places) for path in (place, place.resolve())}
    return [[str(path), str(path), False, 0] for path in sorted(paths) if _is_hidden(path)]


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(tree) for tree in _HIDDEN)


# --- Asking for it --------------------------------------------------------------------------------


async def _start(name: str, wanted: Properties) -> int:
    from dbus_fast import Variant

    pairs = [[key, Variant(kind, value)] for key, kind, value in wanted]
    bus = Bus(f"unix:path={_SOCKET}")
    try:
        async with asyncio.timeout(_START_S), jobs(bus, manager_signal("UnitRemoved")) as found:
            job = await _request(bus, found, name, pairs)
            return await _process_of(bus, name, await found.result(job))
    except TimeoutError:
        raise _failed(name, f"it was not started within {_START_S:g} s") from None
    except BusGoneError:
        raise
    except DBusCallError as error:
        raise _failed(name, error.message) from error
    finally:
        await bus.close()


async def _request(bus: Bus, found: Jobs, name: str, pairs: list[Any]) -> str:
    """The job that starts the unit, once an earlier unit of that name is gone."""
    call, signature = "StartTransientUnit", "ssa(sv)a(sa(sv))"
    while True:
        try:
            return str((await bus.call(MANAGER, call, signature, name, "fail", pairs, []))[0])
        except DBusCallError as error:
            if error.name != UNIT_EXISTS:
                raise
        await _clear(bus, found, name)


async def _clear(bus: Bus, found: Jobs, name: str) -> None:
    try:
        await bus.call(MANAGER, "StopUnit", "ss", name, "replace")
    except DBusCallError as error:
        if error.name == NO_SUCH_UNIT:
            return  # it went in this moment
        raise
    while (signal := await found.next()).member != "UnitRemoved" or signal.body[0] != name:
        continue


async def _process_of(bus: Bus, name: str, result: str) -> int:
    if result != DONE:
        raise _failed(name, f"its start {result}")
    path = (await bus.call(MANAGER, "GetUnit", "s", name))[0]
    process: int = await bus.get(MANAGER.at(path, f"{SERVICE}.Service"), "MainPID")
    if not process:
        raise _failed(name, "it ended at once")
    return process


def _failed(name: str, why: str) -> UnitError:
    return UnitError(
        f"systemd does not run {name}: {why}",
        remedy=f"journalctl -u {name}, and the log in the run directory, say more",
        retryable=True,
    )
