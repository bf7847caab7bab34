"""Promise 2: what is changed by hand is noticed and put right, without waiting for a timer."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.pipeline.allocation import Rate, meter_id
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PINGS = meter_id(Rate.ICMP, WARP_ROLE.ofport)
PRIVACY = number_of("privacy")
SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
CONTROLLER_LOG = "/run/privacy-router/log/controller.log"
FORWARD = "net.ipv4.ip_forward"
NOTICED_WITHIN_S = 5.0  # far below the controller's full pass every 30 s


def flow_count(lab: Lab) -> int:
    result = lab["node"].run(("privacy-router", "flows", "dump", "--json"))
    return len(json.loads(result.stdout))


def ofctl(lab: Lab, *arguments: str) -> None:
    result = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", *arguments))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "damage",
    [
        ("del-flows", SWITCH),
        ("del-flows", SWITCH, f"table={PRIVACY}"),
        ("mod-flows", SWITCH, f"table={PRIVACY},in_port={WARP_ROLE.ofport},actions=drop"),
        ("-O", "OpenFlow13", "del-meters", SWITCH),
        ("mod-meter", SWITCH, f"meter={PINGS},pktps,band=type=drop,rate=1"),
    ],
    ids=["all deleted", "one table deleted", "redirected", "meters deleted", "a rate changed"],
)
def test_flows_changed_by_hand_come_back(lab: Lab, damage: tuple[str, ...]) -> None:
    before = flow_count(lab)
    assert before > 20
    ofctl(lab, *damage)
    assert_nothing_to_change(lab)
    assert flow_count(lab) == before


NETWORK = {
    "a hop's firewall": ("pr-warp", "nft flush ruleset", "nft list ruleset"),
    "a route": ("pr-gateway", "ip route flush table main", "ip route show table all | sort"),
    "a rule": ("pr-warp", "ip rule flush", "ip rule"),
    "an address": ("pr-xray", "ip addr flush dev internal_101", "ip -o addr show internal_101"),
    "a neighbour": (
        "pr-warp",
        "ip neigh flush nud permanent",
        "ip neigh show nud permanent | sort",
    ),
    "a setting": ("pr-gateway", f"sysctl -qw {FORWARD}=0", f"sysctl {FORWARD}"),
    "a device's state": ("pr-warp", "ip link set wgcf down", "ip -br link show up wgcf"),
    "a device's MTU": ("pr-gateway", "ip link set wg100 mtu 1300", "ip -o link show wg100"),
    "a namespace": ("", "ip netns delete pr-xray", "ls -1 /run/netns"),
    "a route of somebody": (
        "pr-warp",
        "ip route add 203.0.113.0/24 dev wgcf",
        "ip route show table all | sort",
    ),
}


@pytest.mark.parametrize("what", NETWORK)
def test_what_is_changed_in_the_network_comes_back(lab: Lab, what: str) -> None:
    namespace, damage, look = NETWORK[what]
    within = f"ip netns exec {namespace} " if namespace else ""

    def looks() -> str:
        return run_shell(lab, f"{within}{look}")

    before, repairs = looks(), repairs_told(lab)
    run_shell(lab, f"{within}{damage}")
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while repairs_told(lab) == repairs or looks() != before:
        assert time.monotonic() < deadline, (before, looks())
    assert_nothing_to_change(lab)


# prints whether a device's driver is left the checksums of what is sent, after a change or without
CHECKSUMS = """
import sys
from privacy_router.host.offloads import offloads_checksums, set_offloading
if sys.argv[2:]:
    set_offloading(sys.argv[1], wanted=True)
print(offloads_checksums(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("namespace", "port"),
    [("pr-gateway", "internal_100"), ("pr-warp", "warp0"), ("pr-xray", "internal_101")],
)
def test_checksums_are_computed_before_open_vswitch(lab: Lab, namespace: str, port: str) -> None:
    """Some versions compute those of UDP over IPv6 wrongly; others have no such offload at all."""

    def offloads(*change: str) -> str:
        look = (sys.executable, "-c", CHECKSUMS, port, *change)
        found = lab["node"].run(("ip", "netns", "exec", namespace, *look))
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    assert offloads() == "False"
    offloads("on")
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while offloads() == "True":
        assert time.monotonic() < deadline
    assert_nothing_to_change(lab)


def repairs_told(lab: Lab) -> int:
    """How many repairs the log tells of; what is damaged may be whole again before it is looked
    at."""
    return run_shell(lab, f"cat {CONTROLLER_LOG}").count(" repaired ")


def assert_nothing_to_change(lab: Lab) -> None:
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while lab["node"].run(("privacy-router", "plan")).stdout.count("nothing to change") == 0:
        assert time.monotonic() < deadline


def test_other_owners_flows_are_left_alone(lab: Lab) -> None:
    flow = "cookie=0x1234,table=0,priority=7,in_port=77,actions=drop"
    ofctl(lab, "add-flow", SWITCH, flow)
    ofctl(lab, "del-flows", SWITCH, f"table={PRIVACY}")
    assert_nothing_to_change(lab)
    dump = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", SWITCH)).stdout
    assert "cookie=0x1234" in dump


def test_no_connection_takes_another_devices_address(lab: Lab) -> None:
    """While WARP's device has no address, the kernel would translate to warp0's, and keep that for
    as long as the connection goes on: XRay's own stays silent when the address is back."""
    calls, leaves = connections(lab, "pr-xray"), connections(lab, "pr-warp")
    controller = lab["node"].file("/run/privacy-router/controller.lock").read_text().strip()
    run_shell(lab, f"kill -STOP {controller}; ip -n pr-warp addr flush dev wgcf")
    try:
        begun = time.monotonic()
        while not to_the_vps(connections(lab, "pr-xray") - calls):
            lab["client"].run(("curl", "--silent", "--max-time", "0.5", "web.example.net/ip"))
            assert time.monotonic() < begun + NOTICED_WITHIN_S
        assert to_the_vps(connections(lab, "pr-warp") - leaves) == set()
    finally:
        run_shell(lab, f"kill -CONT {controller}")
    assert_nothing_to_change(lab)


def run_shell(lab: Lab, script: str) -> str:
    result = lab["node"].run(("sh", "-c", script))
    assert result.returncode == 0, result.stderr
    return result.stdout


def connections(lab: Lab, namespace: str) -> set[str]:
    """The TCP connections that the kernel remembers there, without their states and times."""
    lines = run_shell(lab, f"ip netns exec {namespace} cat /proc/net/nf_conntrack").splitlines()
    return {f"{line.split()[0]} {line[line.index(' src=') :]}" for line in lines if " tcp " in line}


def to_the_vps(lines: set[str]) -> set[str]:
    """XRay's own connections, by IPv6; a client's, which begins on its way to XRay, is none."""
    return {line for line in lines if " dst=2001:0db8:0200:" in line}
