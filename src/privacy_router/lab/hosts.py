"""A host of the lab: namespaces of its own, held by a process that is PID 1 in them.

The programs of a host end with that process; so does its network.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from privacy_router.errors import MissingPrerequisiteError, PrivacyRouterError
from privacy_router.lab import enter, internet
from privacy_router.lab.spawn_hosts import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NODE_CONFIG = SCRATCH / "config.json"
AUTHORITY = SCRATCH / "ca.pem"
PYTHON_MODULE = (sys.executable, "-P", "-m")

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KILL_TIMEOUT_MS = 5000
_DEFAULT_TIMEOUT_S = 30.0


class HostCommand(subprocess.Popen[bytes]):
    """A command inside a host, held by a program outside that ends when it does."""

    def kill(self) -> None:
        """Kill the command itself: once this has been waited for, the command is gone too."""
        self.send_signal(enter.KILL_COMMAND)


class LabError(PrivacyRouterError):
    """The lab could not be built, or a host of it does not do what it is there for."""


@dataclass(frozen=True)
class LabHost:
    """A running host; `pid` is its PID 1 as the machine sees it, `ticks` when that was started."""

    name: str
    pid: int
    ticks: int

    @property
    def alive(self) -> bool:
        """Whether its PID 1 is there still."""
        return enter.start_ticks(self.pid) == self.ticks

    @property
    def network(self) -> Path:
        """Its network namespace, for Netlink, run_in and others."""
        return Path(f"/proc/{self.pid}/ns/net")

    def file(self, path: Path | str) -> Path:
        """Where the machine finds a file of the host; valid while the host lives.

        No part of `path` may be an absolute symbolic link (use /run, not /var/run).
        """
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the host that only root may read."""
        with os.fdopen(
            os.open(self.file(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as f:
            f.write(data)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of what runs in the host."""
        kept = {
            k: os.environ[k] for k in ("TERM", "LANG", "COLUMNS", "NO_COLOR") if k in os.environ
        }
        return {
            **kept,
            "HOME": "/root",
            "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "SSL_CERT_FILE": str(AUTHORITY),
            "PRIVACY_ROUTER_CONFIG": str(NODE_CONFIG),
        }

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside the host, to be started with `environment`."""
        return enter.command(self.pid, self.ticks, tuple(argv))

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> HostCommand:
        """Start a command inside the host; it is killed when the returned process is.

        The exit code is the command's own, 128 + n after signal n, 125 when the host has ended.
        """
        environment = {**self.environment, **(env or {})}
        return HostCommand(
            self.command(argv), env=environment, stdin=stdin, stdout=stdout, stderr=stderr
        )

    def run(
        self,
        argv: Sequence[str],
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        *,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the host to its end; its output is text.

        Raises subprocess.TimeoutExpired, after killing the command.
        """
        process = self.popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            try:
                output, errors = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(
            list(argv),
            process.returncode,
            output.decode(errors="replace"),
            errors.decode(errors="replace"),
        )

    def spawn(self, name: str, argv: Sequence[str]) -> Service:
        """Start a command inside the host that goes on until the host ends."""
        log = SCRATCH / f"{name}.log"
        started = subprocess.run(
            enter.command(self.pid, self.ticks, tuple(argv), str(log)),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if started.returncode != 0:
            raise LabError(f"{self.name}: cannot start {name}: {started.stderr.strip()}")
        pid = int(started.stdout)
        return Service(self, name, pid, enter.start_ticks(pid) or 0, log)


@dataclass(frozen=True)
class Service:
    """A program that was started in a host and goes on."""

    host: LabHost
    name: str
    pid: int
    ticks: int
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it runs still."""
        return enter.start_ticks(self.pid) == self.ticks

    def last_words(self) -> str:
        """The last lines of its log, in one."""
        try:
            lines = self.host.file(self.log).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "it said nothing"
        return "; ".join(lines[-3:]) or "it said nothing"


def create_hosts(
    names: Sequence[str],
    *,
    note: Callable[[list[LabHost]], None],
    state_size_bytes: int | None = None,
) -> dict[str, LabHost]:
    """Make hosts of those names. `note` is called with them before they do anything.

    If this process dies before `note` returns, so do the hosts. `state_size_bytes` limits what
    /var/lib holds in each. Raises MissingPrerequisiteError when the kernel refuses.
    """
    specs = [
        {
            "name": name,
            "hosts_file": internet.hosts_file(name),
            "resolver_file": internet.resolver_file(),
            "state_size_bytes": state_size_bytes,
        }
        for name in names
    ]
    argv = [*PYTHON_MODULE, "privacy_router.lab.spawn_hosts"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as midwife:
        pids = _converse(midwife, json.dumps(specs))
        hosts = [LabHost(name, pid, enter.start_ticks(pid) or 0) for name, pid in pids.items()]
        note([host for host in hosts if host.pid])
        outcome = _converse(midwife, "go")
    failures = [f"{name}: {error}" for name, error in outcome.items() if error]
    if failures:
        end(host for host in hosts if host.pid)
        raise MissingPrerequisiteError(
            f"this machine does not allow the lab's namespaces ({failures[0]})",
            remedy="run it as root, outside of an unprivileged container",
        )
    return {host.name: host for host in hosts}


def _converse(midwife: subprocess.Popen[str], line: str) -> dict[str, Any]:
    if midwife.stdin is None or midwife.stdout is None or midwife.stderr is None:
        raise LabError("the lab's hosts cannot be talked to")
    try:
        midwife.stdin.write(line + "\n")
        midwife.stdin.flush()
        answer: dict[str, Any] = json.loads(midwife.stdout.readline())
    except (BrokenPipeError, ValueError) as error:
        raise LabError(f"the lab's hosts were not born: {midwife.stderr.read().strip()}") from error
    return answer


def end(hosts: Iterable[LabHost]) -> None:
    """Kill each host's PID 1, and with it everything inside; returns when all are gone."""
    descriptors = []
    for host in hosts:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(host.pid)
            descriptors.append(descriptor)
            if host.alive:  # the descriptor holds on to the process, so this cannot change under us
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in descriptors:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(_KILL_TIMEOUT_MS)
        os.close(descriptor)
