"""The node's places removed, spoilt or hung: it mends itself, no second daemon starts beside the
first, and `status` and `down` answer in words and in time."""

from __future__ import annotations

import json
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

RUN = Path("/run/privacy-router")
STATE = Path("/var/lib/privacy-router")
JOURNAL = STATE / "journal.db"
UP = ("privacy-router", "up", "--detach", "--wait", "0")
DOWN = ("privacy-router", "down")
SOCKETS = (
    RUN / "ovs" / "db.sock",
    RUN / "ovs" / "ovsbr0.mgmt",
    RUN / "ovs" / "ovs-vswitchd.ctl",
)
MENDED_WITHIN_S = 10.0  # far below the controller's full pass every 30 s; make storm measures it
ANSWERS_WITHIN_S = 45.0
PATIENCE_S = 30.0


@pytest.fixture
def node(lab: Lab) -> Iterator[Lab]:
    """The lab with its node up, whatever the test before has done to it."""
    if not status(lab)["controller_pid"]:
        lab["node"].run(("rm", "-rf", str(JOURNAL), f"{JOURNAL}-wal", f"{JOURNAL}-shm"))
        lab["node"].run(DOWN)
        result = lab["node"].run(UP)
        assert result.returncode == 0, result.stderr
    await_(lambda: not status(lab)["pending"], "a whole node")
    yield lab


def say(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the node. It ends in time, and in no traceback."""
    began_s = time.monotonic()
    result = lab["node"].run(command)
    assert time.monotonic() - began_s < ANSWERS_WITHIN_S, command
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    return result


def status(lab: Lab) -> dict[str, Any]:
    result = say(lab, "privacy-router", "status", "--json", "--no-probe")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def await_(condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> float:
    """How long it took, in seconds."""
    began_s, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - began_s < within_s, f"no {what} within {within_s:g} s"
        pause.wait(0.02)
    return time.monotonic() - began_s


def there(lab: Lab, path: Path) -> bool:
    return lab["node"].file(path).exists()


def remaining(lab: Lab) -> str:
    """The node's processes and namespaces that are still there."""
    look = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep ^PRIVACY_ROUTER_PROCESS; "
    return lab["node"].run(("sh", "-c", f"{look} ls /run/netns 2>/dev/null; true")).stdout


def spoil(lab: Lab, script: str) -> None:
    result = lab["node"].run(("sh", "-ec", script))
    assert result.returncode == 0, result.stderr


# --- removed while the daemon runs ---------------------------------------------------------------


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.name)
def test_a_socket_that_is_removed_comes_back(node: Lab, path: Path) -> None:
    spoil(node, f"rm {path}")
    await_(lambda: there(node, path), f"new {path.name}", MENDED_WITHIN_S)
    await_(lambda: not status(node)["pending"], "whole node")


def test_the_socket_of_a_tunnel_comes_back(node: Lab) -> None:
    path = Path("/run/wireguard/wgcf.sock")
    if not there(node, path):
        return  # the kernel has WireGuard here: there is no process to be reached
    spoil(node, f"rm {path}")
    await_(lambda: there(node, path), "new socket", MENDED_WITHIN_S)
    await_(lambda: not status(node)["pending"], "whole node")


# renamed first: what is made anew meanwhile would be in the way of a plain `rm -r`
REMOVE_RUN = f"mv {RUN} /run/gone && rm -rf /run/gone"


def test_the_run_directory_is_removed(node: Lab) -> None:
    before = status(node)
    spoil(node, REMOVE_RUN)
    refused = say(node, *UP)
    assert refused.returncode == ExitCode.CONFLICT, refused.stderr
    assert str(before["controller_pid"]) in refused.stderr
    for path in (*SOCKETS, RUN / "xray.json"):
        await_(partial(there, node, path), f"new {path.name}", 2 * MENDED_WITHIN_S)
    await_(lambda: not status(node)["pending"], "whole node")
    after = status(node)
    assert after["controller_pid"] == before["controller_pid"]
    assert {hop["name"]: hop["state"] for hop in after["hops"]} == {
        hop["name"]: hop["state"] for hop in before["hops"]
    }
    assert node["node"].file(RUN).stat().st_mode & 0o777 == 0o700


def test_down_finds_all_of_a_node_whose_run_directory_is_gone(node: Lab) -> None:
    spoil(node, REMOVE_RUN)
    result = say(node, *DOWN)
    assert result.returncode == 0, result.stderr
    assert remaining(node) == ""


# --- a journal that is not as it was written ------------------------------------------------------

FLIP = f"""python3 - <<'END'
import re, pathlib
path = pathlib.Path("{JOURNAL}")
data = bytearray(path.read_bytes())
for found in re.finditer(b"privacy_router", bytes(data)):
    data[found.start()] ^= 0x20
path.write_bytes(data)
END"""
BREAK = f"""python3 - <<'END'
import sqlite3
db = sqlite3.connect("{JOURNAL}")
db.execute("UPDATE run SET changes = '{{'")
db.commit()
END"""  # noqa: S608
AWAY = f"rm -f {JOURNAL} {JOURNAL}-wal {JOURNAL}-shm"
SPOILT = {
    "dangling": f"{AWAY}; ln -s /nowhere/at/all {JOURNAL}",
    "a directory": f"{AWAY}; mkdir {JOURNAL}",
    "a pipe": f"{AWAY}; mkfifo {JOURNAL}",
    "no database": f"{AWAY}; head -c 5000 /dev/urandom > {JOURNAL}",
    "flipped": FLIP,
    "broken JSON": BREAK,
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_journal_keeps_nothing_from_being_seen_or_taken_down(node: Lab, how: str) -> None:
    before = status(node)
    spoil(node, f"kill {before['controller_pid']}")
    await_(lambda: status(node)["controller_pid"] is None, "end of the controller")
    spoil(node, SPOILT[how])
    found = status(node)
    assert found["processes"] == before["processes"], "the tunnel does not need the journal"
    refused = say(node, *UP)
    assert refused.returncode == ExitCode.STORAGE, refused.stderr
    assert str(JOURNAL) in refused.stderr
    assert re.search(r"remedy:.*stays\s+as\s+it\s+is.*move", refused.stderr, re.DOTALL)
    assert status(node)["processes"] == before["processes"]
    down = say(node, *DOWN)
    assert down.returncode == ExitCode.STORAGE, down.stderr
    assert "not given back" in down.stderr.replace("\n", " ")
    assert remaining(node) == ""


# --- hung, and odd -------------------------------------------------------------------------------


def test_a_database_that_hangs_holds_up_neither_status_nor_down(node: Lab) -> None:
    before = status(node)
    spoil(node, f"kill -STOP {before['processes']['ovsdb-server']}")
    say(node, "privacy-router", "status", "--no-probe")
    result = say(node, *DOWN)
    assert result.returncode == 0, result.stderr
    assert remaining(node) == ""


DEEP = "python3 -c \"print('[' * 100000, end='')\""


@pytest.mark.parametrize(
    "script",
    [
        f"{DEEP} > {RUN}/endpoints.json",
        f"echo '{{\"a\": 7}}' > {RUN}/endpoints.json",
        f"{DEEP} > {STATE}/borrowed.json",
        f"{DEEP} > {RUN}/flows.json",
        f"cp {STATE}/clients.json /tmp/kept; {DEEP} > {STATE}/clients.json",
    ],
    ids=["deep endpoints", "odd endpoints", "deep note", "deep flows", "deep clients"],
)
def test_an_odd_file_is_a_message_and_the_node_goes_down(node: Lab, script: str) -> None:
    spoil(node, script)
    say(node, "privacy-router", "status", "--no-probe")
    say(node, *DOWN)
    try:
        assert remaining(node) == ""
    finally:
        spoil(
            node,
            f"rm -f {STATE}/borrowed.json {RUN}/flows.json;"
            f"if [ -e /tmp/kept ]; then mv /tmp/kept {STATE}/clients.json; fi",
        )
