"""The program that runs a command inside a host of the lab, with all of its namespaces.

    python -m privacy_router.lab.enter PID TICKS [--detach LOG] -- COMMAND…

It ends as the command does (128 + signal where a signal ended it), and after it: KILL_COMMAND
kills the command, and this program ends when that has. With --detach it prints the
command's process id as the machine sees it and ends; the command goes on without it and writes to
LOG, a path inside the host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
from typing import NoReturn

from privacy_router.host import libc
from privacy_router.host.libc import CloneFlag

NOT_FOUND = 127
NOT_EXECUTABLE = 126
GONE = 125
KILL_COMMAND = signal.SIGUSR1
_FORWARDED: dict[int, signal.Signals] = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGHUP,
    KILL_COMMAND: signal.SIGKILL,
}
_CREDENTIALS = struct.Struct("3i")
_KINDS = {
    "net": CloneFlag.NEWNET,
    "uts": CloneFlag.NEWUTS,
    "pid": CloneFlag.NEWPID,
    "mnt": CloneFlag.NEWNS,  # last: afterwards paths mean something else
}


def command(pid: int, ticks: int, argv: tuple[str, ...], log: str | None = None) -> list[str]:
    """The arguments that start this program."""
    detach = ["--detach", log] if log is not None else []
    module = "privacy_router.lab.enter"
    return [sys.executable, "-P", "-m", module, str(pid), str(ticks), *detach, "--", *argv]


def start_ticks(pid: int) -> int | None:
    """When a live process was started, in clock ticks since boot; with the pid it is unique.

    None for one that has ended, whether or not its parent has noticed; proc(5).
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def main(arguments: list[str]) -> int:
    """Enter, start, wait."""
    separator = arguments.index("--")
    options, argv = arguments[:separator], arguments[separator + 1 :]
    pid, ticks = int(options[0]), int(options[1])
    log = options[3] if len(options) > 2 else None
    if start_ticks(pid) != ticks or not _enter(pid):
        print("this host of the lab has ended: privacy-router lab up", file=sys.stderr)
        return GONE
    if log is not None:
        print(_leave_behind(argv, log))
        return 0
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # until `_wait` knows to whom
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        libc.die_with_parent(signal.SIGKILL)
        _become(argv)
    return _wait(child)


def _enter(pid: int) -> bool:
    directory = os.getcwd()  # noqa: PTH109
    try:
        handles = [
            (os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), kind) for name, kind in _KINDS.items()
        ]
    except FileNotFoundError:
        return False
    for handle, kind in handles:
        libc.setns(handle, kind)
        os.close(handle)
    os.chdir(directory if os.path.isdir(directory) else "/")  # noqa: PTH112
    return True


def _become(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except FileNotFoundError:
        print(f"{argv[0]}: command not found in this host", file=sys.stderr)
        os._exit(NOT_FOUND)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        os._exit(NOT_EXECUTABLE)


def _leave_behind(argv: list[str], log: str) -> int:
    """Start a command that is an orphan of the host, whose PID 1 will collect it.

    Returns its process id as seen from here: the kernel translates it in what a socket tells of
    its sender; unix(7).
    """
    here, there = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            there.send(b"+")
            _detach(log)
            _become(argv)
        os._exit(0)
    os.waitpid(middle, 0)
    _, extras, _, _ = here.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    pid, _, _ = _CREDENTIALS.unpack(extras[0][2][: _CREDENTIALS.size])
    return int(pid)


def _detach(log: str) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    os.closerange(3, max(output, nothing) + 1)


def _forward(child: int, received: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(child, _FORWARDED[received])


def _wait(child: int) -> int:
    # the terminal sends SIGINT to the command as well: it decides what that means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: _forward(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
