"""A bridge with three ports on a machine of its own, for the plugin openflow.

The machine has 10.9.0.1 on the bridge itself, and its neighbour 10.9.0.2 behind the port eth1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.config.models import Plugins
from privacy_router.host.dbus import Bus
from privacy_router.plugins.openflow import OpenflowPlugin
from privacy_router.plugins.target import Machine
from tests.e2e.net_machine import said, succeed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.engine.model import Change, Desired, Value
    from tests.e2e.net_machine import NetMachine

BRIDGE = "vmbr0"
HERE, THERE = "10.9.0.1", "10.9.0.2"
FORWARD: list[dict[str, Any]] = [
    {"match_fields": {"in_port": BRIDGE}, "actions": ["output:eth1"]},
    {"match_fields": {"in_port": "eth1"}, "actions": ["local"]},
]


def make_bridge(machine: NetMachine, name: str = BRIDGE) -> None:
    machine.vsctl(
        *("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"),
        *("fail_mode=secure", "--", "add-port", name, "eth1"),
    )
    for port in ("p1", "p2"):
        add_port(machine, port, name)
    machine.ip("address", "add", f"{HERE}/24", "dev", name)
    machine.ip("link", "set", name, "up")


def connect_neighbour(machine: NetMachine) -> None:
    for words in (("address", "replace", f"{THERE}/24"), ("link", "set")):
        up = ("up",) if words[0] == "link" else ()
        succeed(machine.outside, "ip", *words, "dev", "far1", *up)


def remove_bridge(machine: NetMachine, name: str = BRIDGE) -> None:
    machine.vsctl("--if-exists", "del-br", name)


def add_port(machine: NetMachine, port: str, bridge: str = BRIDGE) -> None:
    machine.vsctl("add-port", bridge, port, "--", "set", "interface", port, "type=internal")


def ofctl(machine: NetMachine, command: str, *arguments: str, bridge: str = BRIDGE) -> str:
    place = f"unix:/run/openvswitch/{bridge}.mgmt"
    return machine.run("ovs-ofctl", "-O", "OpenFlow13", command, place, *arguments)


def flows(machine: NetMachine, match: str = "") -> list[str]:
    asked = ["--no-stats", *([match] if match else [])]
    lines = ofctl(machine, "dump-flows", *asked[::-1] if match else asked).splitlines()
    return sorted(line.strip() for line in lines if "actions=" in line)


def everything(machine: NetMachine) -> list[list[str]]:
    """What the switch has, as another program reads it."""
    groups = ofctl(machine, "dump-groups").splitlines()[1:]
    meters = ofctl(machine, "dump-meters").splitlines()[1:]
    return [flows(machine), sorted(groups), sorted(meters)]


def pings(machine: NetMachine) -> bool:
    """Whether the neighbour answers; one packet, so that no resending hides a drop."""
    return machine.host.run(("ping", "-c1", "-W1", THERE)).returncode == 0


def plugin(machine: NetMachine) -> OpenflowPlugin:
    return OpenflowPlugin(Machine(Bus(None), machine.host.file("/")))


def section(bridge: str = BRIDGE, **parts: Any) -> Any:
    return Plugins.model_validate({"openflow": {"bridges": {bridge: parts}}}).openflow


async def plan(made: OpenflowPlugin, declared: Any) -> tuple[Desired, Sequence[Change]]:
    desired = made.declare(declared)
    return desired, made.diff(desired, await made.observe(desired))


async def put(made: OpenflowPlugin, declared: Any) -> Value:
    """Apply a section as the engine does; the checkpoint of before."""
    desired, changes = await plan(made, declared)
    await made.check(desired, changes)
    checkpoint = await made.checkpoint(changes)
    await made.apply(desired, changes, said)
    assert await made.verify(desired) == []
    return checkpoint
