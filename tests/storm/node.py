"""What the harness does to the lab's node: hand it a document, start its controller, ask it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.lab.hosts import NODE_CONFIG

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

LOCK = Path("/run/privacy-router/controller.lock")
LOG = Path("/run/privacy-router/log/controller.log")
_NOTHING = "nothing to change"
_COMMAND_S = 20.0


def document_of(lab: Lab) -> dict[str, Any]:
    """The document that the node has."""
    document: dict[str, Any] = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    return document


def controller_pid(lab: Lab) -> int | None:
    """The controller's process id inside the node, None where none runs."""
    try:
        pid = int(lab["node"].file(LOCK).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if lab["node"].file(f"/proc/{pid}").exists() else None


def hand_over(lab: Lab, document: dict[str, Any]) -> bool:
    """Give the node another document and have it read; False where no controller is there."""
    lab["node"].write(NODE_CONFIG, json.dumps(document, indent=2).encode())
    return hang_up(lab)


def hang_up(lab: Lab) -> bool:
    """SIGHUP to the controller; False where none is there."""
    pid = controller_pid(lab)
    if pid is None:
        return False
    return lab["node"].run(("kill", f"-{int(signal.SIGHUP)}", str(pid))).returncode == 0


def plan(lab: Lab) -> str:
    """What the node's own plan says; empty where there is nothing to change."""
    found = lab["node"].run(("privacy-router", "plan"), _COMMAND_S)
    text = f"{found.stdout}{found.stderr}".strip()
    return "" if _NOTHING in found.stdout and found.returncode == 0 else text or "no answer"


def wait_until_applied(lab: Lab, within_s: float) -> tuple[float | None, str]:
    """Ask for the plan until it is empty: when it was so (CLOCK_MONOTONIC), or None and what it
    says still."""
    deadline = time.monotonic() + within_s
    while True:
        rest, now = plan(lab), time.monotonic()
        if not rest:
            return now, ""
        if now > deadline:
            return None, rest


def log_tail(lab: Lab, lines: int = 12) -> list[str]:
    """The last lines of the controller's log."""
    path = lab["node"].file(LOG)
    return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []


def log_lines(lab: Lab) -> int:
    """How many lines the controller has logged; none where its log is gone."""
    path = lab["node"].file(LOG)
    return path.read_bytes().count(b"\n") if path.exists() else 0
