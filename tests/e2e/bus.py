"""A private bus in the lab's node with the policy that is shipped, and busctl to ask on it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from privacy_router.lab.hosts import LabHost, Service
    from privacy_router.lab.stage import Lab

BUS = "unix:path=/run/test-bus"
ENV = {"PRIVACY_ROUTER_BUS": BUS}
POLICY = Path(__file__).parents[2] / "packaging" / "dbus" / "org.opdbus.conf"
MANAGER = ("/org/opdbus", "org.opdbus.Manager")
OPENFLOW = ("/org/opdbus/openflow", "org.opdbus.OpenFlow")
WITHIN_S = 20.0

# What Debian's own system bus says, as far as it matters here, and then our policy. Files in the
# lab only root can read, so the group that may look is that of nobody.
BUS_CONFIG = """<busconfig>
  <listen>unix:path=/run/test-bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>/run/org.opdbus.conf</include>
</busconfig>
"""


def start_bus(node: LabHost) -> Service:
    node.write(Path("/run/bus.conf"), BUS_CONFIG.encode())
    policy = POLICY.read_text().replace("privacy-router", "nogroup")
    node.write(Path("/run/org.opdbus.conf"), policy.encode())
    node.file("/run/test-bus").unlink(missing_ok=True)
    command = ("dbus-daemon", "--nofork", "--nopidfile", "--config-file=/run/bus.conf")
    bus = node.spawn("bus", command)
    await_true(node.file("/run/test-bus").is_socket)
    return bus


def await_true(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline


def busctl(lab: Lab, *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    as_user = ("setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups") if user else ()
    return lab["node"].run((*as_user, "busctl", f"--address={BUS}", "--json=short", *arguments))


def on_the_bus(lab: Lab) -> bool:
    listed = busctl(lab, "list", "--acquired")
    return listed.returncode == 0 and "org.opdbus" in listed.stdout


def call(lab: Lab, where: tuple[str, str], method: str, *arguments: str) -> list[Any]:
    answer = busctl(lab, "call", "org.opdbus", *where, method, *arguments)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["data"] if answer.stdout.strip() else []


def read(lab: Lab, path: str, interface: str, name: str) -> Any:
    answer = busctl(lab, "get-property", "org.opdbus", path, interface, name)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["data"]
