"""A shell that stays open in a host of the lab: looking at the host costs no new program."""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.lab.hosts import LabHost

_CHUNK_BYTES = 65536

PRELUDE = r"""
export DB=unix:/run/privacy-router/ovs/db.sock MGMT=unix:/run/privacy-router/ovs/ovsbr0.mgmt
v() { timeout 5 ovs-vsctl --db=$DB --no-wait "$@"; }
f() { timeout 5 ovs-ofctl -O OpenFlow13 "$1" $MGMT "${@:2}"; }
n() { ip netns exec "$@"; }
pid() {
  case $1 in
    wg100|wgcf) pgrep -f "^wireguard-go --foreground $1\$" ;;
    xray) pgrep -f 'hops[.]xray[.]runner' ;;
    controller) cat /run/privacy-router/controller.lock ;;
    *) pgrep -x "$1" ;;
  esac
}
"""


class ShellError(Exception):
    """The shell did not answer in time, or has ended."""


class Shell:
    """A bash in a host. Not for use by two threads at once."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, script: str, timeout_s: float = 10.0) -> str:
        """Run a script and return what it prints, on either stream. Raises ShellError."""
        process = self._process or self._start()
        mark = secrets.token_hex(8)
        text = f"( {script}\n) </dev/null 2>&1; echo {mark}\n"
        if process.stdin is None:
            raise ShellError("the shell has no input")
        try:
            process.stdin.write(text.encode())
            process.stdin.flush()
            return self._read_until(process, mark.encode(), timeout_s)
        except (ShellError, BrokenPipeError) as error:
            self.close()
            raise ShellError(f"{script[:80]}: {error}") from error
        except KeyboardInterrupt:
            self.close()  # what is still to come would be taken for the next answer
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = self._host.popen(
            ("bash", "--norc", "--noprofile"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._process.stdin is None:
            raise ShellError("the shell has no input")
        self._process.stdin.write(PRELUDE.encode())
        return self._process

    def _read_until(self, process: subprocess.Popen[bytes], mark: bytes, timeout_s: float) -> str:
        if process.stdout is None:
            raise ShellError("the shell has no output")
        deadline, output = time.monotonic() + timeout_s, b""
        number = process.stdout.fileno()
        while not output.endswith(mark + b"\n"):
            ready, _, _ = select.select([number], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(number, _CHUNK_BYTES) if ready else b""
            if not data:
                raise ShellError("no answer in time" if not ready else "the shell has ended")
            output += data
        return output[: -len(mark) - 1].decode(errors="replace")

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
