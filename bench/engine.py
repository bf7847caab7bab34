"""`make bench-engine`: op-dbus with a whole node and a few hundred resources, over a private bus.

There is no peer: nothing else keeps these things as one transaction. The switch, the tunnel, the
bus and the journal are real; the journal's disk is the lab's, which is memory.

* apply_nochange: the same document again, from the call to the answer. It must write nothing.
* apply_one_change: one address more; it must change nothing else.
* property_read_p50, hundred_clients: reading over the bus.
* op_dbus_resident, op_dbus_idle: the daemon's memory and idle CPU time.
* cli_help_cpu, cli_client_list_cpu, cli_status_cpu: processor time of `--help`, `client list` and
  `status --no-probe`, user and system, from exec to exit.
* crash_points: kills at random lines of a run that left the machine between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from extent import extent
from results import Row, publish

from privacy_router.lab import stage
from privacy_router.lab.hosts import NODE_CONFIG
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths

ROUNDS = extent(20, short=1, variable="BENCH_ROUNDS")
TRIALS = extent(1000, short=3, variable="BENCH_CRASHES")
ADDRESSES = 180  # with the 122 items of the node: 302 resources
READS = extent(2000, short=20)
CLIENTS = extent(100, short=2)
IDLE_S = extent(20, short=1)
BUS = "unix:path=/run/bench-bus"
LAB = f"bench-engine{os.getpid()}"
PATIENCE_S = 30.0
ROOT = Path(__file__).parent.parent
CONFIG = """<busconfig>
  <listen>unix:path=/run/bench-bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
</busconfig>
"""


def start(lab: stage.Lab) -> None:
    """A bus, and op-dbus on it as a service manager would run it."""
    node = lab["node"]
    node.write(Path("/run/bench-bus.conf"), CONFIG.encode())
    node.spawn(
        "bus", ("dbus-daemon", "--nofork", "--nopidfile", "--config-file=/run/bench-bus.conf")
    )
    wait(node.file("/run/bench-bus").is_socket)
    # the account and the keys are made by a daemon that then ends, as on a node after its first day
    paths = NodePaths(node.file("/var/lib/privacy-router"), node.file("/run/privacy-router"))
    if node.run(("privacy-router", "up", "--detach"), 60.0).returncode:
        raise SystemExit("the node does not come up")
    node.run(("kill", str(controller_pid(paths))))
    wait(lambda: controller_pid(paths) is None)
    service = ("op-dbus", "run", "--apply", "--config", str(NODE_CONFIG))
    node.spawn("op-dbus", ("env", f"PRIVACY_ROUTER_BUS={BUS}", *service))
    names = ("busctl", f"--address={BUS}", "list", "--acquired")
    wait(lambda: "org.opdbus" in node.run(names).stdout)


def wait(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("op-dbus did not come up")
        time.sleep(0.05)


def documents(lab: stage.Lab) -> tuple[str, str]:
    """The node with many addresses, and with one more."""
    whole = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    paths = []
    for count in (ADDRESSES, ADDRESSES + 1):
        addresses = [f"198.18.7.{number}/32" for number in range(count)]
        whole["plugins"]["net"] = {"interfaces": {"lo": {"addresses": addresses}}}
        path = f"/run/lab/bench-{count}.json"
        lab["node"].write(Path(path), json.dumps(whole).encode())
        paths.append(path)
    return paths[0], paths[1]


def measure() -> dict[str, Any]:
    """What the client in the node has found."""
    try:
        lab = stage.up(LAB, with_node=False)
        start(lab)
        client = Path("/run/lab/engine_client.py")
        lab["node"].write(client, (ROOT / "bench" / "engine_client.py").read_bytes())
        counts = map(str, (ROUNDS, READS, CLIENTS, IDLE_S))
        command = ("python", str(client), *documents(lab), *counts)
        result = lab["node"].run(command, 300.0, env={"PRIVACY_ROUTER_BUS": BUS})
        if result.returncode != 0:
            raise SystemExit(result.stderr)
        found: dict[str, Any] = json.loads(result.stdout)
        return found
    finally:
        stage.down(LAB)


def crashes() -> int:
    """How many of the trials left the machine between: the program stops at the first."""
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, "-m", "tests.engine.crash", folder, str(TRIALS), str(time.time_ns())],
            check=False,
            cwd=ROOT,
        )
    return int(result.returncode != 0)


def row(name: str, ours: float, unit: str, limit: float, n: int = 1) -> Row:
    """A figure without a peer, to be at most `limit`."""
    return Row(name, ours, None, "", unit, None, f"≤ {limit:g} {unit}", n, ours <= limit)


def main() -> None:
    """Measure, print, store."""
    found = measure()
    print(f"{found['resources']} resources are seen by all plugins together")
    publish(
        [
            row("apply_nochange", found["no_change_s"] * 1000, "ms", 200, ROUNDS),
            row("apply_nochange_writes", found["no_change_writes"], "bytes", 0, ROUNDS),
            row("apply_one_change_rows", found["one_change_rows"], "changes", 1),
            row("apply_one_change", found["one_change_s"] * 1000, "ms", 1000),
            row("property_read_p50", found["read_s"] * 1000, "ms", 1, READS),
            row("hundred_clients", found["clients_s"], "s", 2, READS),
            row("op_dbus_resident", found["resident_mb"], "MiB", 80),
            row("cli_help_cpu", found["help_cpu_s"], "s", 0.15, ROUNDS),
            row("cli_client_list_cpu", found["client_list_cpu_s"], "s", 0.25, ROUNDS),
            row("cli_status_cpu", found["status_cpu_s"], "s", 0.25, ROUNDS),
            row("op_dbus_idle", found["idle_percent"], "%", 1),
            row("crash_points", crashes(), "left between", 0, TRIALS),
        ]
    )


if __name__ == "__main__":
    main()
