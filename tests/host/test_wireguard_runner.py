"""What wireguard-go is denied when it has to answer from the address that a peer called."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from privacy_router.values.wireguard import wireguard_go

if TYPE_CHECKING:
    from pathlib import Path

# prints its arguments, and which settings of a UDP socket (udp(7), linux/udp.h) it is denied
PROGRAM = """#!/usr/bin/python3
import json, socket, sys
UDP, GRO, SEGMENT = 17, 104, 103
def denied(level, setting, value):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as line:
        try:
            line.setsockopt(level, setting, value)
        except OSError as error:
            return error.strerror
        return ""
print(json.dumps([
    sys.argv[1:],
    denied(UDP, GRO, 1),
    denied(UDP, SEGMENT, 1200),
    denied(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1),
]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory with a program that stands in for wireguard-go."""
    program = tmp_path / "wireguard-go"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return tmp_path


def run(*, is_called: bool, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        wireguard_go("wg7", is_called=is_called),
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_one_that_is_called_is_not_given_datagrams_as_one(path: Path) -> None:
    done = run(is_called=True, path=path)
    assert json.loads(done.stdout) == [["--foreground", "wg7"], "Protocol not available", "", ""]


def test_one_that_calls_is_denied_nothing(path: Path) -> None:
    done = run(is_called=False, path=path)
    assert json.loads(done.stdout) == [["--foreground", "wg7"], "", "", ""]


def test_it_says_that_there_is_no_program(tmp_path: Path) -> None:
    done = run(is_called=True, path=tmp_path)
    assert (done.returncode, done.stderr) == (
        127,
        "wireguard-go cannot be run: No such file or directory\n",
    )
