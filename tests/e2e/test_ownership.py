"""What is not the node's is not touched, also under a name of the node's: before a first `up`,
after a refused one, while the node is up, after a good one, and after a crash in the middle."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.host.namespaces import run_in
from privacy_router.host.netlink import Netlink
from privacy_router.lab import stage
from privacy_router.lab.hosts import NODE_CONFIG
from privacy_router.node.lock import read_controller_pid
from tests.e2e.bus import ENV, await_true, on_the_bus, start_bus
from tests.e2e.net_machine import NetMachine

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from privacy_router.lab.hosts import LabHost
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

UP = ("privacy-router", "up", "--detach", "--wait", "0")
DOWN = ("privacy-router", "down")
OTHER_CONFIG = "/run/lab/other.json"
LOCK = "/run/privacy-router/controller.lock"
OURS = ("pr-switch", "pr-gateway", "pr-warp", "pr-xray")


@pytest.fixture
def node(lab_prefix: str) -> Iterator[LabHost]:
    """The host of a node that was never up, with things of other programs' on it."""
    try:
        host = stage.up(lab_prefix, with_node=False)["node"]
        say(host, "ip", "link", "add", "vmbr0", "type", "bridge")
        say(host, "ip", "address", "add", "192.0.2.77/24", "dev", "vmbr0")
        say(host, "ip", "link", "set", "vmbr0", "up")
        say(host, "ip", "netns", "add", "pr-guests")
        say(host, "ip", "-n", "pr-guests", "address", "add", "198.51.100.77/32", "dev", "lo")
        yield host
    finally:
        stage.down(lab_prefix)


@dataclass(frozen=True)
class Others:
    """What the host has, each device and namespace by what makes it that one."""

    devices: frozenset[Any]
    addresses: frozenset[Any]
    namespaces: frozenset[Any]
    sockets: frozenset[str]
    tables: str

    @classmethod
    def of(cls, host: LabHost) -> Others:
        with Netlink(host.network) as netlink:
            devices = {(one.name, one.index, one.mac, one.kind) for one in netlink.links().values()}
            addresses = netlink.all_addresses()
        names = host.file("/run/netns")
        return cls(
            frozenset(devices),
            frozenset(addresses),
            frozenset((one.name, one.stat().st_ino) for one in names.iterdir()),
            frozenset(one.name for one in host.file("/run/wireguard").glob("*")),
            host.run(("nft", "list", "ruleset")).stdout,
        )


def say(host: LabHost, *argv: str, timeout_s: float = 60.0) -> str:
    result = host.run(argv, timeout_s)
    assert result.returncode == 0, (argv, result.stdout, result.stderr)
    return result.stdout


def refused(host: LabHost, name: str, **wishes: Any) -> subprocess.CompletedProcess[str]:
    """`up` is refused for a thing of that name, and touches nothing; neither does `down`."""
    before = Others.of(host)
    result = host.run(UP, env={"PRIVACY_ROUTER_CONFIG": configure(host, **wishes)})
    assert result.returncode == ExitCode.CONFLICT, result.stderr
    assert name in result.stderr
    assert "remedy:" in result.stderr
    assert Others.of(host) == before
    goes_down(host, "was not up", before)
    return result


def goes_down(host: LabHost, words: str, before: Others) -> None:
    result = host.run(DOWN, 60.0)
    assert result.returncode == 0, result.stderr
    assert words in result.stderr
    assert Others.of(host) == before


def configure(host: LabHost, **wishes: Any) -> str:
    document = json.loads(host.file(NODE_CONFIG).read_text())
    document["plugins"]["privacy_router"].update(wishes)
    host.write(Path(OTHER_CONFIG), json.dumps(document).encode())
    return OTHER_CONFIG


def own_warp(host: LabHost, name: str = "wgcf") -> None:
    """A WireGuard device of another program's, by a name of the node's."""
    say(host, "wireguard-go", name)
    await_true(host.file(f"/run/wireguard/{name}.sock").is_socket)


def start_own_switch(host: LabHost, bridge: str) -> NetMachine:
    """The machine's own Open vSwitch, without the kernel's module, and a bridge of it."""
    machine = NetMachine(host, host)
    machine.start_ovs()
    machine.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
    return machine


# --- before a first `up`, and after one that was refused -----------------------------------------


@pytest.mark.parametrize("name", ["wgcf", "wg100"])
def test_another_programs_wireguard(node: LabHost, name: str) -> None:
    own_warp(node, name)
    goes_down(node, "was not up", Others.of(node))
    refused(node, name)
    refused(node, "vmbr0", bridge_name="vmbr0")


def test_a_bridge_of_the_machine_by_the_name_of_the_nodes(node: LabHost) -> None:
    """The guard would cut it off, even where the node's own bridge is elsewhere."""
    refused(node, "vmbr0", bridge_name="vmbr0")
    say(node, "ip", "link", "property", "add", "dev", "vmbr0", "altname", "internal_100")
    refused(node, "internal_100")


@pytest.mark.parametrize("name", ["pr-xray", "pr-switch"])
def test_a_network_namespace_of_another_program(node: LabHost, name: str) -> None:
    say(node, "ip", "netns", "add", name)
    say(node, "ip", "-n", name, "address", "add", "198.51.100.78/32", "dev", "lo")
    refused(node, name)
    assert "198.51.100.78" in say(node, "ip", "-n", name, "address", "show", "dev", "lo")


def test_a_wireguard_device_in_another_namespace_has_the_socket(node: LabHost) -> None:
    say(node, "ip", "netns", "exec", "pr-guests", "wireguard-go", "wgcf")
    await_true(node.file("/run/wireguard/wgcf.sock").is_socket)
    refused(node, "/wireguard/wgcf.sock")


def test_the_exit_port_of_a_chain_without_warp(node: LabHost) -> None:
    say(node, "ip", "link", "add", "pr-exit", "type", "bridge")
    refused(node, "pr-exit", warp={"enabled": False})


def test_the_machines_own_switch_has_the_bridge(node: LabHost) -> None:
    machine = start_own_switch(node, "ovsbr0")
    shown = machine.vsctl("show")
    refused(node, "ovsbr0")
    assert machine.vsctl("show") == shown
    assert {"ovsbr0", "ovs-netdev"} <= set(devices_of(node))


def devices_of(host: LabHost) -> list[str]:
    with Netlink(host.network) as netlink:
        return list(netlink.links())


# --- beside a node that is up, and after it ------------------------------------------------------


def test_the_machines_own_switch_goes_on_beside_the_nodes(node: LabHost) -> None:
    machine = start_own_switch(node, "vmbr5")
    before, shown = Others.of(node), machine.vsctl("show")
    say(node, *UP)
    assert machine.vsctl("show") == shown
    goes_down(node, "the node is down", before)
    assert machine.vsctl("show") == shown


def test_one_document_has_bridges_of_the_machines_switch_and_a_node(node: LabHost) -> None:
    """As examples/machine.json: neither switch needs the kernel's module."""
    machine = NetMachine(node, node)
    machine.start_ovs()
    before = Others.of(node)
    document = json.loads(node.file(NODE_CONFIG).read_text())
    document["plugins"]["net"] = {
        "bridges": {"vmbr5": {"ports": {"mgmt0": {"type": "internal"}}}},
        "interfaces": {"mgmt0": {"up": True, "addresses": ["203.0.113.5/24"]}},
    }
    node.write(Path(OTHER_CONFIG), json.dumps(document).encode())
    result = node.run(UP, 60.0, env={"PRIVACY_ROUTER_CONFIG": OTHER_CONFIG})
    assert result.returncode == 0, result.stderr
    assert "203.0.113.5" in say(node, "ip", "address", "show", "mgmt0")
    assert machine.vsctl("get", "bridge", "vmbr5", "datapath_type").strip() == "netdev"
    goes_down(node, "the node is down", before)


def test_what_takes_a_name_while_the_node_is_up(node: LabHost) -> None:
    """Our device in the hop is put right, and not replaced by the other one in the host."""
    say(node, *UP)
    with Netlink(node.network) as netlink:
        netlink.add_veth("wgcf", "wg100")
    before = set(devices_of(node))
    say(node, "ip", "-n", "pr-warp", "link", "set", "wgcf", "mtu", "1300")
    await_true(lambda: "mtu 1300" not in say(node, "ip", "-n", "pr-warp", "link", "show", "wgcf"))
    assert set(devices_of(node)) == before
    say(node, *DOWN)
    assert {"wgcf", "wg100", "vmbr0"} <= set(devices_of(node))


def test_a_hop_that_the_chain_is_without_leaves_a_namespace_of_that_name(node: LabHost) -> None:
    say(node, "ip", "netns", "add", "pr-xray")
    before = Others.of(node)
    other = configure(node, xray={"enabled": False}, vps={})
    result = node.run(UP, 60.0, env={"PRIVACY_ROUTER_CONFIG": other})
    assert result.returncode == 0, result.stderr
    assert names_of(node) == {*OURS, "pr-guests"}
    goes_down(node, "the node is down", before)


def names_of(host: LabHost) -> set[str]:
    return {one.name for one in host.file("/run/netns").iterdir()}


# --- after a crash in the middle -----------------------------------------------------------------


@pytest.mark.parametrize("sign", ["pr-switch", "pr-xray", "wgcf in pr-warp"])
def test_a_crash_in_the_middle_leaves_nothing_behind(node: LabHost, sign: str) -> None:
    """What was made by then is known as the node's, and what others made meanwhile is not."""
    before = Others.of(node)
    crash(node, sign)
    with Netlink(node.network) as netlink:
        netlink.add_veth("pr-exit", "internal_100")
    say(node, *DOWN)
    after = Others.of(node)
    assert after.namespaces == before.namespaces
    assert after.tables == before.tables
    assert {one[0] for one in after.devices - before.devices} == {"pr-exit", "internal_100"}


def crash(host: LabHost, sign: str) -> None:
    """Kill a controller as soon as that is there of what it makes."""
    with host.popen(UP) as command:
        await_true(lambda: has_come(host, sign))
        controller = read_controller_pid(host.file(LOCK))
        say(host, "kill", f"-{signal.SIGKILL.name[3:]}", str(controller))
        command.wait()


def has_come(host: LabHost, sign: str) -> bool:
    if sign in OURS:
        return sign in names_of(host)
    name, _, space = sign.partition(" in ")
    return host.run(("ip", "-n", space, "link", "show", name)).returncode == 0


def test_a_file_that_a_crash_left_is_known_by_what_is_in_it(node: LabHost) -> None:
    """The file for a namespace is there a moment before the namespace is bound on it."""
    ours, theirs = node.file("/run/netns/pr-warp"), node.file("/run/netns/pr-gateway")
    say(node, *UP)
    say(node, "umount", "/run/netns/pr-warp")
    left = ours.read_bytes()
    await_true(lambda: ours.stat().st_dev != theirs.parent.stat().st_dev)  # it was made anew
    say(node, *DOWN)
    ours.write_bytes(left)
    theirs.write_bytes(b"")
    say(node, *DOWN)
    assert not ours.exists()
    assert theirs.exists()
    say(node, *UP)  # an empty one is no obstacle
    say(node, *DOWN)
    theirs.write_bytes(b"a note")
    refused(node, "pr-gateway")


# --- an op-dbus that keeps no node ---------------------------------------------------------------


def test_an_idle_op_dbus(lab_prefix: str) -> None:
    try:
        lab: Lab = stage.up(f"{lab_prefix}-i", with_node=False)
        node = lab["node"]
        node.write(NODE_CONFIG, b'{"version": 1, "plugins": {}}')
        start_bus(node)
        variables = (f"{name}={value}" for name, value in ENV.items())
        daemon = ("env", *variables, "op-dbus", "run", "--config", str(NODE_CONFIG))
        node.spawn("idle", daemon)
        await_true(lambda: on_the_bus(lab))
        own_warp(node)
        say(node, "ip", "netns", "add", "pr-gateway")
        before = Others.of(node)
        result = node.run(DOWN, env=ENV)
        assert result.returncode == 0, result.stderr
        assert Others.of(node) == before
        assert run_in(node.network, lambda: read_controller_pid(node.file(LOCK))) is None
    finally:
        stage.down(f"{lab_prefix}-i")
