"""The program that gives birth to the lab's hosts: one PID 1 each, then it ends.

It runs in a process of its own, with few imports and one thread, since unshare(2) and fork(2) do
not go with threads. The hosts live on without it. Conversation, a JSON document a line:

    stdin   [{"name", "hosts_file", "resolver_file", "state_size_bytes"}, …]
    stdout  {name: pid}         every host is born and waits
    stdin   "go"                the caller has noted the pids; if it dies before, so do the hosts
    stdout  {name: error}       "" for a host that is ready
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn, Self

from privacy_router.host import libc
from privacy_router.host.libc import CloneFlag, MountFlag

SCRATCH = Path("/run/lab")
_OWN_TREES = ("/run", "/var/lib")
_NO_FLAGS = MountFlag(0)


def main() -> int:
    """Talk as the module says."""
    waiting = [_Host(spec) for spec in json.loads(sys.stdin.readline())]
    _say({host.name: host.pid for host in waiting})
    if sys.stdin.readline() != "go\n":
        return 1
    for host in waiting:
        os.write(host.start, b"+")
    _say({host.name: host.result() for host in waiting})
    return 0


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


class _Host:
    """A host that is born and waits at its pipe."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name = str(spec["name"])
        start_reader, self.start = os.pipe()
        self._outcome, outcome_writer = os.pipe()
        pid_reader, pid_writer = os.pipe()
        midwife = os.fork()
        if midwife == 0:
            os.close(self.start)
            _deliver(spec, start_reader, outcome_writer, pid_writer)
        for descriptor in (start_reader, outcome_writer, pid_writer):
            os.close(descriptor)
        text = os.read(pid_reader, 64).decode()
        os.close(pid_reader)
        os.waitpid(midwife, 0)
        self.pid = int(text or 0)

    def result(self) -> str:
        """Empty, or what went wrong."""
        with os.fdopen(self._outcome, "rb") as pipe:
            text = pipe.read().decode()
        return "" if text == "ready" else text or "it died at once"


def _deliver(spec: dict[str, Any], start: int, outcome: int, pid_writer: int) -> NoReturn:
    """In the middle process: the next child is PID 1 of the new namespaces."""
    try:
        os.setsid()
        libc.unshare(CloneFlag.NEWNET | CloneFlag.NEWNS | CloneFlag.NEWPID | CloneFlag.NEWUTS)
        child = os.fork()
        if child == 0:
            _live(spec, start, outcome)
        os.write(pid_writer, str(child).encode())
    except OSError as error:
        os.write(outcome, f"cannot make namespaces: {error}".encode())
    finally:
        os._exit(0)


def _live(spec: dict[str, Any], start: int, outcome: int) -> NoReturn:
    """PID 1 of a host: furnish it, then do nothing but collect its orphans."""
    try:
        _let_go_of_everything_but(start, outcome)
        if os.read(start, 1) != b"+":
            os._exit(1)
        _furnish(spec)
        os.write(outcome, b"ready")
    except OSError as error:
        os.write(outcome, str(error).encode())
        os._exit(1)
    os.close(start)
    os.close(outcome)
    _collect_orphans()


def _let_go_of_everything_but(*kept: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _furnish(spec: dict[str, Any]) -> None:
    name = str(spec["name"])
    os.chdir("/")
    Path("/proc/self/comm").write_text(f"pr-lab-{name}"[:15])
    socket.sethostname(name)
    libc.mount("none", "/", None, MountFlag.RECURSIVE | MountFlag.PRIVATE)
    libc.mount("proc", "/proc", "proc", _NO_FLAGS)
    libc.mount("sysfs", "/sys", "sysfs", _NO_FLAGS)  # shows this host's devices, not the machine's
    with _Kept() as kept:
        for tree in _OWN_TREES:
            size_bytes = spec["state_size_bytes"] if tree == "/var/lib" else None
            _mount_empty(Path(tree), size_bytes)
        kept.bring_back()
    SCRATCH.mkdir(mode=0o700)
    _replace_file(Path("/etc/hosts"), spec["hosts_file"])
    _replace_file(Path("/etc/resolv.conf"), spec["resolver_file"])


class _Kept:
    """This program's own directories, in case they lie where an empty tree will cover them."""

    def __init__(self) -> None:
        needed = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])}
        covered = [p for p in needed if any(p.startswith(f"{tree}/") for tree in _OWN_TREES)]
        self._handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in covered}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles.values():
            os.close(handle)

    def bring_back(self) -> None:
        """Bind them where they were."""
        for path, handle in self._handles.items():
            Path(path).mkdir(parents=True, exist_ok=True)
            flags = MountFlag.BIND | MountFlag.RECURSIVE
            libc.mount(f"/proc/self/fd/{handle}", path, None, flags)


def _mount_empty(target: Path, size_bytes: int | None) -> None:
    options = "mode=755" if size_bytes is None else f"mode=755,size={size_bytes}"
    # libc.mount has no use for options elsewhere
    mount = ctypes.CDLL(None, use_errno=True).mount
    if mount(b"tmpfs", str(target).encode(), b"tmpfs", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _replace_file(path: Path, text: str) -> None:
    """Give the host its own `path`, without touching the machine's."""
    own = SCRATCH / path.name
    own.write_text(text)
    own.chmod(0o644)
    real = path.resolve()  # resolv.conf often is a link into /run, which is empty here
    if not real.exists():
        if not any(str(real).startswith(f"{tree}/") for tree in _OWN_TREES):
            raise OSError(errno.ENOENT, "the lab needs this file to exist (touch it)", str(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.touch()
    libc.mount(str(own), real, None, MountFlag.BIND)


def _collect_orphans() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    sys.exit(main())
