"""What attacks by packets are made of: frames, what arrives, and what dropped the rest."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.e2e.containers import Container, counts, flows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

COUNTED_WITHIN_S = 10.0
SEND_FRAMES = """
import socket, sys
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind((sys.argv[1], 0))
for _ in range(int(sys.argv[2])):
    line.send(bytes.fromhex(sys.argv[3]))
"""


def dropped(lab: Lab, before: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """What the dropping flows have counted since then, by table and reason."""
    after = [row for row in flows(lab) if row["actions"] == "drop"]
    earlier = counts([row for row in before if row["actions"] == "drop"])
    return {
        name: packets - earlier.get(name, 0)
        for name, packets in counts(after).items()
        if packets > earlier.get(name, 0)
    }


def dropped_by(
    lab: Lab, before: list[dict[str, Any]], flow: tuple[str, str], least: int
) -> dict[tuple[str, str], int]:
    """What the dropping flows have counted since then, once this one has counted enough: the switch
    adds to a flow's counters what its datapath has counted, and that a few times a second."""
    deadline = time.monotonic() + COUNTED_WITHIN_S
    found = dropped(lab, before)
    while found.get(flow, 0) < least:
        assert time.monotonic() < deadline, found
        found = dropped(lab, before)
    return found


@contextmanager
def listening(container: Container, what: str) -> Iterator[list[str]]:
    """The packets that come in at a container; filled in when the context ends."""
    argv = ("tcpdump", "-lnn", "--immediate-mode", "-Q", "in", "-i", container.port, what)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    tcpdump = container.popen(*argv, **pipes)
    seen: list[str] = []
    try:
        assert tcpdump.stderr is not None
        while b"listening on" not in tcpdump.stderr.readline():
            assert tcpdump.poll() is None
        yield seen
    finally:
        tcpdump.terminate()
        output, _ = tcpdump.communicate(timeout=10)
        seen += [line for line in output.decode().splitlines() if line]
