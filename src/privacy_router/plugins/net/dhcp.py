"""Who configures a device by DHCP: processes, networkd, NetworkManager. Ending those that can be.

A client is ended by SIGKILL: it then gives no lease back and runs no script, so the addresses stay
as they are. With another signal some clients take the addresses away first.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import VerificationError
from privacy_router.host.dbus import BusGoneError, Remote
from privacy_router.host.namespaces import run_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from privacy_router.host.dbus import Bus
    from privacy_router.plugins.target import Machine

NETWORKD: Final = "systemd-networkd"
NETWORK_MANAGER: Final = "NetworkManager"
ENDED_HERE: Final = frozenset({"dhclient", "udhcpc"})
_PROGRAMS: Final = frozenset({*ENDED_HERE, "dhcpcd"})
_PROC: Final = Path("/proc")
_END_MS: Final = 5000
_START_S: Final = 20.0
_NM: Final = Remote(
    "org.freedesktop.NetworkManager",
    "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager",
)
_NM_UNMANAGED: Final = 10  # NM_DEVICE_STATE_UNMANAGED
_ON: Final = frozenset({"yes", "true", "on", "1", "ipv4", "ipv6", "both", "v4", "v6"})


@dataclass(frozen=True)
class Process:
    """A DHCP client that runs."""

    pid: int
    program: str
    command: tuple[str, ...]

    def devices(self, known: Collection[str]) -> set[str]:
        """The devices that it serves, of those that there are."""
        words = {word for text in self.command for word in text.split()}
        named = words & set(known)  # dhcpcd writes there whom it serves by itself
        if not named and self.program == "udhcpc":
            return {"eth0"}
        return named or set(known)

    @property
    def version(self) -> int:
        """The version of IP that it asks an address of."""
        return 6 if "-6" in self.command else 4


def processes(namespace: Path | None) -> list[Process]:
    """All DHCP clients in the network namespace (None: our own)."""
    # Our own view of the processes, in every place: their numbers are what is killed by.
    return sorted(_processes((namespace or _PROC / "self/ns/net").stat()), key=_by_command)


def _by_command(process: Process) -> tuple[tuple[str, ...], int]:
    return process.command, process.pid


def _processes(namespace: os.stat_result) -> Iterator[Process]:
    for folder in _PROC.iterdir():
        process = _process(int(folder.name)) if folder.name.isdecimal() else None
        if process is not None:
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if os.path.samestat((folder / "ns/net").stat(), namespace):
                    yield process


def _process(pid: int) -> Process | None:
    """The client of that number; None where it is something else, or nothing."""
    folder = _PROC / str(pid)
    try:
        program = (folder / "comm").read_text().strip()
        if program not in _PROGRAMS:
            return None
        command = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = tuple(os.fsdecode(word) for word in command)
    return Process(pid, program, words) if any(words) else None  # one that has ended has none


def value(found: Collection[Process], managers: Sequence[str]) -> Any:
    """What runs on a device: false, or who and with which commands."""
    if found:
        commands = [list(process.command) for process in found]
        return {"client": ", ".join(sorted({p.program for p in found})), "commands": commands}
    return {"client": managers[0], "commands": []} if managers else False


# --- the services ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Managed:
    """What a network service does with a device: which, and whether by DHCP and advertisements."""

    service: str
    dhcp: bool
    ipv6_ra: bool


async def networkd_runs(bus: Bus) -> bool:
    """Whether systemd-networkd runs; what it leaves in /run when it stops says nothing any more."""
    try:
        return await bus.owner("org.freedesktop.network1") is not None
    except BusGoneError:
        return True  # there is no service to ask: believe its files


def by_networkd(machine: Machine, index: int) -> Managed | None:
    """What systemd-networkd does with a device, by its files in /run; None when nothing."""
    link = _pairs(machine.path(f"/run/systemd/netif/links/{index}"))
    files = [link.get("NETWORK_FILE", ""), *link.get("NETWORK_FILE_DROPINS", "").split()]
    if link.get("ADMIN_STATE") in (None, "unmanaged") or not files[0]:
        return None
    settings: dict[str, str] = {}
    for name in files:
        settings |= _pairs(machine.path(name)) if name else {}
    dhcp = settings.get("DHCP", "no").lower() in _ON
    # Without a word on it, networkd listens to routers itself, and turns the kernel's own off.
    ra = settings.get("IPv6AcceptRA", "yes").lower() in _ON
    return Managed(NETWORKD, dhcp, ra)


def _pairs(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    pairs = (line.partition("=") for line in lines if not line.startswith(("#", ";")))
    return {name.strip(): text.strip().strip('"') for name, equals, text in pairs if equals}


async def by_network_manager(bus: Bus, device: str) -> Managed | None:
    """What NetworkManager does with a device; None when nothing, or when it does not run."""
    try:
        if await bus.owner(_NM.destination) is None:
            return None
    except BusGoneError:
        return None  # without a bus it does not run
    for path in (await bus.call(_NM, "GetAllDevices"))[0]:
        where = _NM.at(path, f"{_NM.interface}.Device")
        found = await bus.get_all(where)
        if found.get("Interface") == device and found.get("State", 0) > _NM_UNMANAGED:
            leases = [found.get(f"Dhcp{version}Config", "/") for version in (4, 6)]
            ipv6 = found.get("Ip6Config", "/") != "/"
            return Managed(NETWORK_MANAGER, any(lease != "/" for lease in leases), ipv6_ra=ipv6)
    return None


# --- ending and starting --------------------------------------------------------------------------


def end(found: Collection[Process]) -> None:
    """End clients and wait until they are gone. Raises VerificationError."""
    for process in found:
        with suppress(ProcessLookupError):
            _end(process)


def _end(process: Process) -> None:
    handle = os.pidfd_open(process.pid)
    try:
        if _process(process.pid) != process:
            return  # it has ended, and its number is another process'
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(_END_MS):
            raise VerificationError(f"{process.program} ({process.pid}) does not end")
    finally:
        os.close(handle)


def start(command: Sequence[str], machine: Machine, namespace: Path | None) -> None:
    """Start a client again, with systemd as a service of its own: it must not end with us."""
    argv = list(command)
    if namespace is None and machine.path("/run/systemd/system").is_dir():
        options = ["--quiet", "--property=Type=exec", "--property=RemainAfterExit=yes"]
        argv = ["systemd-run", *options, f"--description=DHCP client ({argv[-1]})", "--", *argv]
    program = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise VerificationError(
            f"{argv[0]} is not installed any more, and cannot be started again",
            remedy=f"install {argv[0]}",
        )
    run_in(namespace, lambda: _start([program, *argv[1:]], ends=argv[0] == "systemd-run"))


def _start(argv: list[str], *, ends: bool) -> None:
    null = subprocess.DEVNULL
    started = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    if not ends:
        threading.Thread(target=started.wait, name="dhcp-client", daemon=True).start()
    elif started.wait(_START_S) != 0:
        raise VerificationError(f"{' '.join(argv)} failed with exit code {started.returncode}")
