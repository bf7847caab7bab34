"""The node on the kernel's Open vSwitch datapath and WireGuard; `tests/vm/run` runs this.

Open vSwitch is started inside the lab's node, as the system's would be there: a kernel datapath
belongs to a network namespace, and every host of the lab has its own.
"""

from __future__ import annotations

import json
import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard import KernelWireGuard
from privacy_router.lab import stage
from privacy_router.lab.check import run_check
from privacy_router.values.wireguard import (
    WireGuardConfig,
    WireGuardPeer,
    generate_private_key,
    public_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

_OVS = "/run/openvswitch"
_TURN_S = 0.5
# what systemd does for ovs-vswitchd.service: Restart=on-failure
_VSWITCHD = (
    f"while :; do ovs-vswitchd unix:{_OVS}/db.sock --pidfile={_OVS}/ovs-vswitchd.pid; sleep 1; done"
)


def say(lab: Lab, *argv: str) -> str:
    """What a command in the node prints; it must succeed."""
    result = lab["node"].run(argv, 120)
    assert result.returncode == 0, (argv, result.stdout, result.stderr)
    return result.stdout


def status(lab: Lab, *options: str) -> dict[str, Any]:
    """The node's own view of itself."""
    result = lab["node"].run(("privacy-router", "status", "--json", *options), 120)
    assert result.stdout, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def await_true(what: str, condition: Callable[[], bool], patience_s: float = 30.0) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + patience_s, f"never came true: {what}"
        time.sleep(_TURN_S)  # idle time costs an emulated machine nothing
    return time.monotonic() - started


def start_system_ovs(lab: Lab) -> None:
    """What `systemctl start openvswitch-switch` does."""
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    say(lab, "mkdir", "-p", _OVS)
    say(lab, "ovsdb-tool", "create", f"{_OVS}/conf.db", schema)
    remote = f"--remote=punix:{_OVS}/db.sock"
    lab["node"].spawn("system-ovsdb-server", ("ovsdb-server", f"{_OVS}/conf.db", remote))
    await_true("ovsdb-server runs", lab["node"].file(f"{_OVS}/db.sock").is_socket)
    say(lab, "ovs-vsctl", "--no-wait", "init")
    lab["node"].spawn("system-vswitchd", ("sh", "-c", _VSWITCHD))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        made = stage.up("kernel", with_node=False)
        start_system_ovs(made)
        stage.start_node(made)
        stage.connect_client(made)
        yield made
    finally:
        stage.down("kernel")


def assert_chain_works(lab: Lab) -> None:
    report = run_check(lab)
    assert report.tcp and report.udp and report.dns and report.ipv6, report
    assert report.exit_is_vps and report.vps_sees_warp, report
    assert report.cleartext_packets == 0 and report.foreign_packets == 0, report
    assert report.payload_seen_at_web, report


def test_the_kernel_does_both_halves(lab: Lab) -> None:
    """Nothing of the userspace path may run, or the other tests would prove nothing."""
    assert not set(status(lab)["processes"]) & {"ovs-vswitchd", "ovsdb-server", "wg100", "wgcf"}
    assert "datapath_type: system" in say(lab, "ovs-vsctl", "show")
    assert "system@ovs-system" in say(lab, "ovs-dpctl", "show")
    for host, device in (("client", "wg0"), ("cloudflare", "wg0")):
        with Netlink(lab[host].network) as netlink:
            kinds = {link.kind for link in netlink.links().values()}
        assert "wireguard" in kinds, (host, device)


def test_the_chain_works_and_nothing_is_left_to_repair(lab: Lab) -> None:
    assert_chain_works(lab)
    found = status(lab)
    assert found["ok"], found
    assert found["pending"] == []
    # a value that reads back otherwise than it was written would be repaired again and again
    say(lab, "privacy-router", "plan")
    assert repairs(lab) == []


def repairs(lab: Lab) -> list[str]:
    """What the controller says that it had to repair."""
    log = lab["node"].file("/run/privacy-router/log/controller.log").read_text()
    return [line for line in log.splitlines() if "repaired" in line or "error" in line]


def test_the_tunnels_keep_their_sockets_where_they_were_born(lab: Lab) -> None:
    in_host = {int(line.split()[3].rpartition(":")[2]) for line in udp_sockets(lab)}
    ports = set()
    for namespace, device in (("pr-gateway", "wg100"), ("pr-warp", "wgcf")):
        shown = say(lab, "ip", "netns", "exec", namespace, "wg", "show", device, "listen-port")
        ports.add(int(shown))
        assert udp_sockets(lab, "ip", "netns", "exec", namespace) == []
    assert ports <= in_host


def udp_sockets(lab: Lab, *prefix: str) -> list[str]:
    return say(lab, *prefix, "ss", "-H", "-lun").splitlines()


def test_a_client_comes_and_goes_while_the_node_runs(lab: Lab) -> None:
    def peers() -> set[str]:
        return set(say(lab, *in_gateway, "wg", "show", "wg100", "peers").split())

    in_gateway = ("ip", "netns", "exec", "pr-gateway")
    before = peers()
    say(lab, "privacy-router", "client", "add", "tablet", "--conf", "/run/lab/tablet.conf")
    await_true("the gateway knows the client", lambda: len(peers()) == len(before) + 1)
    assert status(lab, "--no-probe")["pending"] == []
    say(lab, "privacy-router", "client", "remove", "tablet")
    await_true("the gateway forgot the client", lambda: peers() == before)
    assert_chain_works(lab)


def add_container(lab: Lab, number: int, port: str) -> str:
    """A namespace behind an internal port, as a container runtime makes one; its name."""
    space = f"ct-{number}"
    say(lab, "ip", "netns", "add", space)
    say(
        lab,
        "ovs-vsctl",
        "add-port",
        "ovsbr0",
        port,
        "--",
        "set",
        "interface",
        port,
        "type=internal",
    )
    say(lab, "ip", "link", "set", port, "netns", space)
    say(lab, "ip", "-n", space, "address", "add", f"10.103.0.{number}/16", "dev", port)
    say(lab, "ip", "-n", space, "link", "set", port, "up")
    return space


def pings(lab: Lab, space: str, address: str) -> bool:
    argv = ("ip", "netns", "exec", space, "ping", "-c1", "-W1", address)
    return lab["node"].run(argv, 120).returncode == 0


def test_containers_are_served_and_stay_among_themselves(lab: Lab) -> None:
    one, other = (add_container(lab, number, f"internal_{number}") for number in (200, 201))
    await_true("the ports have flows", lambda: not status(lab, "--no-probe")["pending"])
    rows = json.loads(say(lab, "privacy-router", "flows", "dump", "--json"))
    await_true(
        "ARP is answered",
        lambda: "10.103.0.200" in say(lab, "ip", "netns", "exec", other, "sh", "-c",
            "ping -c1 -W1 10.103.0.200 >/dev/null; ip neighbour show 10.103.0.200 nud reachable"),
    )  # fmt: skip
    assert any("internal_200" in row["reason"] for row in rows)
    assert not pings(lab, other, "10.103.0.200"), "no function, no way"
    assert not pings(lab, one, "10.102.0.1"), "no container reaches a hop"
    assert_chain_works(lab)
    for number in (200, 201):
        say(lab, "ovs-vsctl", "del-port", "ovsbr0", f"internal_{number}")
        say(lab, "ip", "netns", "delete", f"ct-{number}")


def test_vswitchd_killed_and_started_again_as_systemd_does(lab: Lab) -> None:
    pid = say(lab, "cat", f"{_OVS}/ovs-vswitchd.pid").strip()
    say(lab, "kill", "-KILL", pid)
    await_true("it runs again", lambda: running_vswitchd(lab) not in ("", pid))
    took_s = await_true("the node has put its flows back", lambda: flow_count(lab) > 20)
    print(f"flows are back {took_s:.1f} s after vswitchd")
    await_true("the node is whole", lambda: status(lab)["ok"])
    assert_chain_works(lab)


def running_vswitchd(lab: Lab) -> str:
    return lab["node"].run(("pidof", "ovs-vswitchd")).stdout.strip()


def flow_count(lab: Lab) -> int:
    shown = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "ovsbr0"))
    return shown.stdout.count("cookie=0x5052")


def test_a_killed_xray_comes_back(lab: Lab) -> None:
    before = status(lab)["processes"]["xray"]
    say(lab, "kill", "-KILL", str(before))
    await_true("the node is whole", lambda: status(lab)["ok"])
    assert status(lab)["processes"]["xray"] != before
    assert_chain_works(lab)


@pytest.mark.parametrize(("namespace", "device"), [("pr-gateway", "wg100"), ("pr-warp", "wgcf")])
def test_a_deleted_tunnel_comes_back(lab: Lab, namespace: str, device: str) -> None:
    say(lab, "ip", "-n", namespace, "link", "delete", device)
    took_s = await_true("the node is whole", lambda: status(lab, "--no-probe")["pending"] == [], 60)
    print(f"{device} is back after {took_s:.1f} s")
    await_true("Cloudflare answers", lambda: status(lab)["ok"])
    assert_chain_works(lab)


def test_the_chain_works_on_without_a_controller_and_another_takes_over(lab: Lab) -> None:
    before = status(lab)
    say(lab, "kill", "-KILL", str(before["controller_pid"]))
    report = run_check(lab)
    assert report.tcp and report.udp and report.exit_is_vps, report
    say(lab, "privacy-router", "up", "--detach")
    after = status(lab)
    assert after["ok"] and after["processes"] == before["processes"], after
    assert_chain_works(lab)


@pytest.mark.parametrize("with_vswitchd", [False, True])
def test_a_node_that_lost_everything_but_the_database_comes_up_again(
    lab: Lab, with_vswitchd: bool
) -> None:
    """As after a reboot: the bridge with its ports is still in the database, all else is gone.

    Without vswitchd's restart, the ports are gone as well, and it has not noticed.
    """
    found = status(lab, "--no-probe")
    say(lab, "kill", "-KILL", str(found["controller_pid"]), str(found["processes"]["xray"]))
    for namespace in ("pr-gateway", "pr-warp", "pr-xray"):
        say(lab, "ip", "netns", "delete", namespace)
    if with_vswitchd:
        pid = running_vswitchd(lab)
        say(lab, "kill", "-KILL", pid)
        await_true("vswitchd runs again", lambda: running_vswitchd(lab) not in ("", pid))
    say(lab, "privacy-router", "up", "--detach")
    await_true("the node is whole", lambda: status(lab)["ok"])
    assert_chain_works(lab)


def test_down_leaves_nothing_and_the_next_up_works_at_once(lab: Lab) -> None:
    say(lab, "privacy-router", "down")
    assert udp_sockets(lab) == []
    say(lab, "privacy-router", "up", "--detach")
    say(lab, "privacy-router", "down")
    with Netlink(lab["node"].network) as netlink:
        assert set(netlink.links()) == {"lo", "to-isp"}
    assert say(lab, "ovs-vsctl", "list-br") == ""
    assert say(lab, "ip", "netns", "list") == ""
    assert say(lab, "nft", "list", "ruleset") == ""
    assert running_vswitchd(lab), "the system's Open vSwitch is not the node's to stop"
    say(lab, "privacy-router", "up", "--detach")
    assert_chain_works(lab)


def test_what_a_kernel_device_is_told_reads_back(lab: Lab) -> None:
    """IPv6 endpoint, preshared key, keepalive, and more peers than one netlink message holds."""
    many = [
        WireGuardPeer(
            public_key=public_key_of(generate_private_key()),
            allowed_ips=tuple(ip_network(f"10.{number}.{i}.0/24") for i in range(200)),
            endpoint=(ip_address("2001:db8::7"), 51820) if number else None,
            preshared_key=generate_private_key(),
            keepalive_s=number,
        )
        for number in range(20)
    ]
    backend, name, space = KernelWireGuard(), "wgtest", lab["web"].network
    with Netlink(space) as netlink:
        netlink.add_wireguard(name)
    backend.apply(name, space, WireGuardConfig(generate_private_key(), (many[0],), 4000))
    own = generate_private_key()
    backend.apply(name, space, WireGuardConfig(own, tuple(many[1:]), 4001))
    found = backend.read(name, space)
    assert found is not None
    assert (found.private_key, found.listen_port) == (own, 4001)
    wanted = {p.public_key: (frozenset(p.allowed_ips), p.endpoint, p.keepalive_s) for p in many[1:]}
    assert {p.public_key: (p.allowed_ips, p.endpoint, p.keepalive_s) for p in found.peers} == wanted
    backend.remove_peer(name, space, many[5].public_key)
    left = backend.read(name, space)
    assert left is not None and len(left.peers) == 18
    with Netlink(space) as netlink:
        netlink.delete_link(name)
    assert backend.read(name, space) is None
