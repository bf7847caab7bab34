"""Long-lived processes that outlive the controller and are found again by what they carry.

Every process is started in a session of its own with three variables in its environment: which
node it belongs to, its name there, and a fingerprint of what it was started with. /proc therefore
is the only register: nothing can be stale, and a controller that was killed between starting a
process and noting it down finds it all the same. Where systemd runs the machine, it starts them, as
units confined to what they need; all the rest is the same.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import MissingPrerequisiteError
from privacy_router.host import units
from privacy_router.host.dbus import BusGoneError
from privacy_router.host.files import make_directory
from privacy_router.host.namespaces import inode_of, run_in

if TYPE_CHECKING:
    from privacy_router.values.processes import ProcessSpec


_log = structlog.get_logger()

_OWNER = "PRIVACY_ROUTER_OWNER"
_NAME = "PRIVACY_ROUTER_PROCESS"
_FINGERPRINT = "PRIVACY_ROUTER_FINGERPRINT"
# In /proc/PID/stat, counted from the state on; proc_pid_stat(5).
_FLAGS, _USER_TICKS, _STARTED = 6, 11, 19  # flags, utime with stime behind it, starttime
_PF_KTHREAD = 0x00200000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_YOUNG_S = 2.0
_EXECVE_S = 0.1
_EXECVE_LOOK_S = 0.001


@dataclass(frozen=True)
class Process:
    """A running process."""

    name: str
    pid: int
    fingerprint: str


def start(spec: ProcessSpec, owner: str, log_file: Path) -> Process:
    """Start `spec` for `owner`; its output goes to `log_file` (mode 0600).

    From a thread without an event loop. Raises MissingPrerequisiteError when the program is not
    installed, UnitError when systemd does not start it.
    """
    marks = {_OWNER: owner, _NAME: spec.name, _FINGERPRINT: spec.fingerprint}
    environment = {**_base_environment(), **spec.env, **marks}
    make_directory(log_file.parent)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = _start_unit(spec, owner, environment, log_file) or run_in(
            spec.namespace, lambda: _spawn(spec, environment, log)
        )
    except FileNotFoundError as error:
        if error.filename != spec.argv[0]:
            raise  # it is the namespace that is not there
        raise MissingPrerequisiteError(
            f"the program {spec.argv[0]} is not installed",
            remedy=f"install it (Debian: apt-get install {_package_of(spec.argv[0])})",
        ) from error
    finally:
        os.close(log)
    return Process(spec.name, child, spec.fingerprint)


def _start_unit(
    spec: ProcessSpec, owner: str, environment: dict[str, str], log_file: Path
) -> int | None:
    """None where there is no systemd to do it."""
    if not units.are_used():
        return None
    try:
        return units.start(spec, owner, environment, log_file)
    except BusGoneError as error:
        _log.warning("started without systemd, so unconfined", process=spec.name, reason=str(error))
        return None


def _spawn(spec: ProcessSpec, environment: dict[str, str], log: int) -> int:
    child = subprocess.Popen(
        spec.argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )
    child.returncode = 0  # the caller watches it by pidfd; Popen must not warn that it still runs
    return child.pid


def _base_environment() -> dict[str, str]:
    kept = ("PATH", "SSL_CERT_FILE", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _package_of(program: str) -> str:
    packages = {"ovs-vswitchd": "openvswitch-switch", "ovsdb-server": "openvswitch-switch"}
    return packages.get(program, program)


def running(owner: str) -> list[Process]:
    """Every live process of `owner`, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            process = _identify(entry, owner)
            if process is not None:
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def _identify(entry: Path, owner: str) -> Process | None:
    try:
        raw = _environment(entry)
        if f"{_OWNER}={owner}\0".encode() not in raw or _state(entry) == "Z":
            return None
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    marks = dict(
        item.split("=", 1) for item in raw.decode(errors="replace").split("\0") if "=" in item
    )
    if marks.get(_OWNER) != owner or _NAME not in marks:
        return None
    return Process(marks[_NAME], int(entry.name), marks.get(_FINGERPRINT, ""))


def _environment(entry: Path) -> bytes:
    """What a process has in its environment.

    While it becomes another program (execve(2)) it shows none for a moment, so that of a young one
    an empty environment is read again: otherwise it would seem not to run, and be started anew.
    """
    deadline = time.monotonic() + _EXECVE_S
    while not (raw := (entry / "environ").read_bytes()):
        if time.monotonic() > deadline or not _may_become_another(entry):
            break
        time.sleep(_EXECVE_LOOK_S)
    return raw


def _may_become_another(entry: Path) -> bool:
    """Whether it has begun just now, and is no thread of the kernel's and no zombie."""
    fields = _fields(entry)
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_STARTED]) / _TICKS_PER_S
    of_kernel = int(fields[_FLAGS]) & _PF_KTHREAD
    return age_s < _YOUNG_S and not of_kernel and fields[0] not in "ZX"


def _state(entry: Path) -> str:
    return _fields(entry)[0]


def _fields(entry: Path) -> list[str]:
    """What stands in `stat` behind the name, which may hold anything; proc_pid_stat(5)."""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def is_inside(process: Process, namespace: Path | None) -> bool:
    """Whether it lives in the network namespace that is bound there now (None: the caller's own),
    and not in one whose name is gone or another's by now."""
    return inode_of(Path(f"/proc/{process.pid}/ns/net")) == inode_of(namespace)


def tun_devices(process: Process) -> set[str]:
    """The names of the TUN devices that the process holds, in any namespace
    (proc_pid_fdinfo(5); drivers/net/tun.c, tun_chr_show_fdinfo)."""
    found = set()
    try:
        for entry in Path(f"/proc/{process.pid}/fdinfo").iterdir():
            found.add(_tun_device(entry))
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return found - {""}


def _tun_device(entry: Path) -> str:
    """Empty where that is no TUN device's descriptor, or is closed by now."""
    try:
        lines = entry.read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("iff:"))
    return next(names, "")


def open_pidfd(process: Process) -> int | None:
    """A file descriptor that becomes readable when the process ends; None if it is gone."""
    try:
        return os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None


def is_ended(process: Process) -> bool:
    """Whether it does nothing any more; that comes before its pidfd tells, as long as a debugger
    holds one of its threads."""
    try:
        return _state(Path("/proc") / str(process.pid)) in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_stopped(process: Process) -> bool:
    """Whether a signal has stopped it: it lives, and does nothing (SIGSTOP; not: being traced)."""
    try:
        return _state(Path("/proc") / str(process.pid)) == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def age_s(process: Process) -> float:
    """How long it has run; 0 when it has ended. proc_pid_stat(5), starttime."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s


def work_done(process: Process) -> int:
    """Ticks of a processor that it has used so far; what waits uses none. 0 when it is gone."""
    try:
        stat = (Path("/proc") / str(process.pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, stat.rpartition(")")[2].split()[_USER_TICKS : _USER_TICKS + 2]))


def tell(process: Process, owner: str, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone, even if another one has its number by now."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return False
    try:
        if _identify(Path("/proc") / str(process.pid), owner) != process:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def reap(process: Process) -> None:
    """Collect an ended process, if it was this process' own child."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return  # adopted from an earlier controller: its parent is init


def stop(process: Process, timeout_s: float = 2.0) -> None:
    """End a process: politely, and after `timeout_s` not so. Returns when it is gone."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return
    try:
        for number, patience_ms in ((signal.SIGTERM, timeout_s * 1000), (signal.SIGKILL, 5000)):
            signal.pidfd_send_signal(descriptor, number)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if poller.poll(patience_ms):
                reap(process)
                return
    except ProcessLookupError:
        reap(process)
    finally:
        os.close(descriptor)
