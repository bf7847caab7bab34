"""Hops can be disabled one by one; the promises hold for each chain that is left."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import internet, stage
from privacy_router.lab.check import run_check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.report import Report
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e


def overrides(**sections: Any) -> dict[str, Any]:
    return {"plugins": {"privacy_router": sections}}


def checked(name: str, wishes: dict[str, Any]) -> Iterator[tuple[Lab, Report]]:
    try:
        lab = stage.up(name, overrides=wishes)
        yield lab, run_check(lab)
    finally:
        stage.down(name)


@pytest.fixture(scope="module")
def without_xray(lab_prefix: str) -> Iterator[tuple[Lab, Report]]:
    # an MTU that is too large for WARP, so that path MTU discovery has to work
    no_xray = {"enabled": False, "vps_address": None}
    yield from checked(f"{lab_prefix}-nx", overrides(xray=no_xray, wireguard={"mtu": 1420}))


@pytest.fixture(scope="module")
def without_warp(lab_prefix: str) -> Iterator[tuple[Lab, Report]]:
    yield from checked(f"{lab_prefix}-nw", overrides(warp={"enabled": False}))


def test_without_xray_sites_see_cloudflare(without_xray: tuple[Lab, Report]) -> None:
    _, report = without_xray
    assert report.exit_ip == str(internet.WARP_EGRESS[0])
    assert report.tcp, report.problems
    assert report.udp, report.problems
    assert report.dns
    assert report.ipv6
    assert report.cleartext_packets == 0, report.problems
    assert report.foreign_packets == 0, report.problems


def _await_listening(server: subprocess.Popen[bytes]) -> None:
    assert server.stdout is not None
    while b"listening" not in server.stdout.readline():
        assert server.poll() is None


def test_without_xray_large_uploads_find_the_mtu_of_warp(
    without_xray: tuple[Lab, Report],
) -> None:
    lab, _ = without_xray
    serve = ("iperf3", "--server", "--one-off", "--forceflush")
    with lab["web"].popen(serve, stdout=subprocess.PIPE) as server:
        _await_listening(server)
        argv = ("iperf3", "--client", str(internet.WEB[0]), "--time", "2", "--json")
        result = lab["client"].run(argv, 20)
        server.kill()
    answer = json.loads(result.stdout)
    assert answer["end"]["sum_received"]["bytes"] > 500_000, answer.get("error")


# sends UDP that may not be cut until it is told that it is too large; prints the path MTU
TOO_LARGE = """
import socket, sys, time
version = 6 if ":" in sys.argv[1] else 4
family, level, option, mtu, headers = {
    4: (socket.AF_INET, socket.IPPROTO_IP, 10, 14, 28),
    6: (socket.AF_INET6, socket.IPPROTO_IPV6, 23, 24, 48),
}[version]
with socket.socket(family, socket.SOCK_DGRAM) as line:
    line.setsockopt(level, option, 2)
    line.connect((sys.argv[1], 7))
    line.settimeout(0.2)
    for _ in range(25):
        try:
            line.send(bytes(int(sys.argv[2]) - headers))
            line.recv(2000)
        except TimeoutError:
            continue
        except OSError:
            break
    print(line.getsockopt(level, mtu))
"""


@pytest.mark.parametrize("address", internet.WEB, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("size_bytes", [1281, 1420])
def test_without_xray_who_sends_too_large_is_told(
    without_xray: tuple[Lab, Report], address: object, size_bytes: int
) -> None:
    """The WARP hop says so, and its word finds its way to the client."""
    lab, _ = without_xray
    done = lab["client"].run(("python3", "-c", TOO_LARGE, str(address), str(size_bytes)), 20)
    assert done.stdout.strip() == "1280", done.stderr


def test_without_warp_the_isp_sees_the_vps_and_nothing_else(
    without_warp: tuple[Lab, Report],
) -> None:
    lab, report = without_warp
    assert report.exit_ip == str(internet.VPS[0])
    assert report.tcp, report.problems
    assert report.udp, report.problems
    assert report.dns
    assert report.ipv6
    assert report.cleartext_packets == 0, report.problems
    status = json.loads(lab["node"].run(("privacy-router", "status", "--json")).stdout)
    assert status["ok"], status


LAN = "pr-test-lan"
ANSWER = b"a packet of the isp"
LISTEN = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
    line.bind(("10.77.0.2", 7))
    line.settimeout(1)
    print("ready", flush=True)
    try:
        print(line.recv(64) == {ANSWER!r})
    except TimeoutError:
        print(False)
"""


@contextmanager
def another_network(lab: Lab) -> Iterator[None]:
    """A network behind the node that is none of its business, to which the ISP has a route."""
    node, isp = lab["node"], lab["isp"]
    address = internet.address_of("node", 4)
    commands = (
        f"ip netns add {LAN}",
        f"ip link add pr-test-a type veth peer name pr-test-b netns {LAN}",
        "ip address add 10.77.0.1/24 dev pr-test-a",
        "ip link set pr-test-a up",
        f"ip -n {LAN} address add 10.77.0.2/24 dev pr-test-b",
        f"ip -n {LAN} link set pr-test-b up",
    )
    try:
        for command in commands:
            assert node.run(tuple(command.split())).returncode == 0, command
        assert isp.run(("ip", "route", "add", "10.77.0.0/24", "via", str(address))).returncode == 0
        yield
    finally:
        isp.run(("ip", "route", "delete", "10.77.0.0/24"))
        node.run(("ip", "netns", "delete", LAN))


def reaches_the_other_network(lab: Lab) -> bool:
    listening = ("ip", "netns", "exec", LAN, "python", "-c", LISTEN)
    send = (
        "import socket; line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range(5): line.sendto({ANSWER!r}, ('10.77.0.2', 7))"
    )
    with lab["node"].popen(listening, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline().strip() == b"ready"
        assert lab["isp"].run(("python", "-c", send)).returncode == 0
        return listener.stdout.readline().strip() == b"True"


def test_without_warp_the_node_is_no_router_for_its_uplink(
    without_warp: tuple[Lab, Report],
) -> None:
    """Forwarding was on and nothing in the way: the ISP reached the networks behind the node."""
    lab, _ = without_warp
    node = lab["node"]
    with another_network(lab):
        assert not reaches_the_other_network(lab)
        # where the operator has the machine forward, that stays so
        assert node.run(("sysctl", "-w", "net.ipv4.ip_forward=1")).returncode == 0
        stage.node_command(lab, ("down",))
        stage.node_command(lab, ("up", "--detach"))
        assert reaches_the_other_network(lab)
        stage.node_command(lab, ("down",))
        assert node.run(("sysctl", "-w", "net.ipv4.ip_forward=0")).returncode == 0
        stage.node_command(lab, ("up", "--detach"))
        assert not reaches_the_other_network(lab)


def test_without_warp_down_gives_the_hosts_settings_back(
    without_warp: tuple[Lab, Report],
) -> None:
    lab, _ = without_warp
    device = internet.cable("isp", "node").device("node")
    setting = ("cat", f"/proc/sys/net/ipv4/conf/{device}/forwarding")
    assert lab["node"].run(setting).stdout.strip() == "1"
    stage.node_command(lab, ("down",))
    assert lab["node"].run(setting).stdout.strip() == "0"
    assert lab["node"].run(("nft", "list", "tables")).stdout.strip() == ""
