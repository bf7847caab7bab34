"""A whole node in the machine: its configuration, and how it is looked at."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
ROUTER = ROOT / ".venv/bin/privacy-router"
RUN = Path("/run/privacy-router")
STATE = Path("/var/lib/privacy-router")
CONFIG = Path("/etc/privacy-router/config.json")
PROFILE = Path("/etc/privacy-router/wgcf-profile.conf")


def run(*command: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """What came of a command; `text` is its input."""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def must(*command: str | Path, text: str | None = None) -> str:
    """The output of a command that has to succeed."""
    result = run(*command, text=text)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for what has to come about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def write_configuration() -> None:
    """All three hops. What is at the far ends of their tunnels does not answer."""
    CONFIG.parent.mkdir(exist_ok=True)
    peer = must("wg", "pubkey", text=must("wg", "genkey"))
    PROFILE.write_text(
        f"[Interface]\nPrivateKey = {must('wg', 'genkey')}"
        "Address = 172.16.0.2/32, 2606:4700:110::2/128\n"
        f"[Peer]\nPublicKey = {peer}AllowedIPs = 0.0.0.0/0, ::/0\n"
        "Endpoint = 192.0.2.1:2408\n"
    )
    section = {
        "wireguard": {"endpoint": "192.0.2.10"},
        "warp": {"wgcf_config": str(PROFILE)},
        "xray": {"vps_address": "192.0.2.77"},
    }
    CONFIG.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": section}}))


def pids() -> dict[str, int]:
    """The node's processes."""
    return {process.name: process.pid for process in processes.running(str(RUN))}


def unit_of(process: str) -> str:
    """The unit that a process of the node is in."""
    return f"privacy-router-{process}.service"


def show(unit: str) -> dict[str, str]:
    """The properties of a unit; each has one line."""
    lines = must("systemctl", "show", unit).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
