"""Containers on the node's bridge: network namespaces, joined as a runtime would do it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from privacy_router.lab.stage import Lab

DATABASE = "--db=unix:/run/privacy-router/ovs/db.sock"
BIRTHPLACE = ("ip", "-n", "pr-switch")  # the node's own Open vSwitch makes its ports there
MESH4, MESH6 = IPv4Address("10.103.0.0"), IPv6Address("fd70:7276:6174:3::")
PEER = "10.44.0.7"  # somebody far away in the mesh
NOTICED_WITHIN_S = 5.0

MESH_CONFIG: dict[str, Any] = {
    "netmaker": {"enabled": True},
    "containers": [
        {"id": 200, "name": "vector-db", "container_type": "vector_db"},
        {"id": 201, "name": "bucket-storage", "container_type": "bucket_storage"},
    ],
    "openflow": {
        "function_routing": [
            {
                "function": "vector_db",
                "target_socket": "internal_200",
                "match_fields": {"tcp_dst": "8080"},
            },
            {
                "function": "bucket_storage",
                "target_socket": "internal_201",
                "match_fields": {"tcp_dst": "9000"},
            },
        ]
    },
}


def overrides(**openflow: Any) -> dict[str, Any]:
    """A document for `stage.up`: the mesh, and other keys of `openflow`."""
    section = {**MESH_CONFIG, "openflow": {**MESH_CONFIG["openflow"], **openflow}}
    return {"plugins": {"privacy_router": section}}


@dataclass(frozen=True)
class Container:
    """A namespace of its own inside the lab's node."""

    lab: Lab
    port: str
    number: int

    @property
    def space(self) -> str:
        return f"ct-{self.number}"

    @property
    def v4(self) -> str:
        return str(MESH4 + self.number)

    @property
    def v6(self) -> str:
        return str(MESH6 + self.number)

    def run(self, *argv: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its result, whatever it is."""
        return self.lab["node"].run(("ip", "netns", "exec", self.space, *argv), timeout_s)

    def popen(self, *argv: str, **pipes: Any) -> subprocess.Popen[bytes]:
        """Start a command inside."""
        return self.lab["node"].popen(("ip", "netns", "exec", self.space, *argv), **pipes)

    def mac(self) -> str:
        """The MAC of its device."""
        (link,) = json.loads(self.run("ip", "-j", "link", "show", self.port).stdout)
        return str(link["address"])

    def get(self, url: str, *options: str) -> str:
        """The status that curl gets, or "" for none."""
        done = self.run("curl", "-sgo", "/dev/null", "-m2", "-w%{http_code}", *options, url)
        return done.stdout if done.returncode == 0 else ""


def must(lab: Lab, *argv: str) -> str:
    """Run a command in the node that may not fail."""
    done = lab["node"].run(argv)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def add(lab: Lab, number: int, port: str | None = None) -> Container:
    """Put a container on the bridge and wait until its flows are there; nobody is told."""
    container = Container(lab, port or f"internal_{number}", number)
    must(lab, "ip", "netns", "add", container.space)
    since = len(events(lab))
    names = ("add-port", "ovsbr0", container.port, "--", "set", "interface", container.port)
    must(lab, "ovs-vsctl", DATABASE, *names, "type=internal")
    await_event(lab, "port has its flows", container.port, since)
    inside = ("ip", "-n", container.space)
    must(lab, *BIRTHPLACE, "link", "set", container.port, "netns", container.space)
    must(lab, *inside, "link", "set", "lo", "up")
    must(lab, *inside, "address", "add", f"{container.v4}/16", "dev", container.port)
    must(lab, *inside, "address", "add", f"{container.v6}/64", "dev", container.port, "nodad")
    must(lab, *inside, "link", "set", container.port, "up")
    if number != 1:
        must(lab, *inside, "route", "add", "default", "via", str(MESH4 + 1))
        must(lab, *inside, "route", "add", "default", "via", str(MESH6 + 1))
    return container


def add_gateway(lab: Lab) -> Container:
    """The way into the mesh, with somebody far away behind it."""
    gateway = add(lab, 1, "nm-privacy")
    must(lab, "ip", "-n", gateway.space, "address", "add", f"{PEER}/32", "dev", "lo")
    return gateway


def events(lab: Lab) -> str:
    """What the controller has said so far."""
    return lab["node"].file("/run/privacy-router/log/controller.log").read_text()


def await_event(lab: Lab, event: str, port: str, since: int) -> None:
    """Return once the controller says that of a port, after the first `since` characters."""
    await_said(lab, rf"{event}.*port={port}\b", since)


def await_said(lab: Lab, pattern: str, since: int) -> None:
    """Return once the controller says that, after the first `since` characters."""
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while re.search(pattern, events(lab)[since:]) is None:
        assert time.monotonic() < deadline, f"nothing was said of {pattern}"


def flows(lab: Lab) -> list[dict[str, Any]]:
    """All flows of the node, with their counters."""
    found: list[dict[str, Any]] = json.loads(must(lab, "privacy-router", "flows", "dump", "--json"))
    return found


def counts(rows: Sequence[dict[str, Any]], key: str = "packets") -> dict[tuple[str, str], int]:
    """(table, reason) → how many."""
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        name = (row["table"], row["reason"])
        found[name] = found.get(name, 0) + (row[key] or 0)
    return found
