"""Frames that are not plain IPv4, IPv6 or ARP, and frames from thousands of senders."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from privacy_router.hops.gateway.firewall import CONNECTIONS_OF_A_CLIENT
from privacy_router.lab import internet, stage
from privacy_router.values.bridges import DATAPATH_FLOWS_MOST, mac_of
from tests.e2e import containers
from tests.e2e.containers import Container, flows, must
from tests.e2e.hostile import SEND_FRAMES, dropped_by, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

SENT = 3
CONNECTION_COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
VLAN, SERVICE_VLAN, IPV4 = 0x8100, 0x88A8, 0x0800
TAGGED = ("classify", "carries a VLAN tag")
ELSE = ("classify", "internal_201 uses another's MAC, or speaks something else")


def words(*numbers: int) -> bytes:
    return struct.pack(f"!{len(numbers)}H", *numbers)


# what stands between the MACs and the IPv4 packet, and the flow that drops it
FRAMES = {
    "802.1Q": (words(VLAN, 5, IPV4), TAGGED),
    "priority tag": (words(VLAN, 0xE000, IPV4), TAGGED),
    "802.1ad": (words(SERVICE_VLAN, 5, IPV4), TAGGED),
    "QinQ": (words(SERVICE_VLAN, 5, VLAN, 6, IPV4), TAGGED),
    "two 802.1Q tags": (words(VLAN, 5, VLAN, 6, IPV4), TAGGED),
    "older QinQ": (words(0x9100, 5, IPV4), ELSE),
    "MPLS": (words(0x8847, 0x0001, 0x0140), ELSE),
    "PBB": (words(0x88E7) + bytes(16) + words(IPV4), ELSE),
    "LLDP": (words(0x88CC), ELSE),
    "PPPoE": (words(0x8864, 0x1100, 1, 64, 0x0021), ELSE),
    "EAPOL": (words(0x888E), ELSE),
    "802.3 with LLC": (words(64, 0x4242, 0x0300), ELSE),
    "made up": (words(0xABCD), ELSE),
}


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    try:
        yield stage.up(lab_prefix, overrides=containers.overrides())
    finally:
        stage.down(lab_prefix)


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Container:
    return containers.add_gateway(lab)


@pytest.fixture(scope="module")
def attacker(lab: Lab, gateway: Container) -> Container:
    assert gateway.number == 1
    return containers.add(lab, 201)


def macs(receiver: str, sender: str) -> bytes:
    return bytes.fromhex((receiver + sender).replace(":", ""))


def packet(source: str, target: str) -> bytes:
    """UDP over IPv4 with its checksum, which connection tracking looks at."""
    addresses = b"".join(bytes(map(int, one.split("."))) for one in (source, target))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 33, 1, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return (
        head[:10]
        + struct.pack("!H", ~total & 0xFFFF)
        + head[12:]
        + struct.pack("!HHHH", 5000, 4000, 13, 0)
        + b"hello"
    )


@pytest.mark.parametrize("name", FRAMES)
def test_a_container_is_heard_in_plain_ip_alone(
    lab: Lab, gateway: Container, attacker: Container, name: str
) -> None:
    between, flow = FRAMES[name]
    frame = macs(gateway.mac(), attacker.mac()) + between + packet(attacker.v4, containers.PEER)
    before = flows(lab)
    # what the container's own kernel says unasked does not count
    what = f"ether src {attacker.mac()} and not (ip6 or arp)"
    with listening(gateway, what) as arrived:
        send(attacker, frame, SENT)
        dropped_by(lab, before, flow, SENT)
    assert arrived == []


def test_the_same_packet_without_anything_between_arrives(
    gateway: Container, attacker: Container
) -> None:
    frame = macs(gateway.mac(), attacker.mac()) + words(IPV4) + packet(attacker.v4, containers.PEER)
    with listening(gateway, "udp and dst port 4000") as arrived:
        send(attacker, frame, SENT)
        must(gateway.lab, "privacy-router", "flows", "dump", "--json")
    assert len(arrived) == SENT


FLOOD = """
import os, socket, sys, time
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind((sys.argv[1], 0))
receiver, rest = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
for number in range(20_000):
    line.send(receiver + b"\\x02" + os.urandom(5) + rest)
    if number % 20 == 0:
        time.sleep(0.002)
"""
SWITCH_CONTROL = "/run/privacy-router/ovs/ovs-vswitchd.ctl"


def test_a_flood_of_senders_does_not_fill_the_datapath(
    lab: Lab, gateway: Container, attacker: Container
) -> None:
    """20,000 made-up senders left as many datapath flows."""
    rest = words(IPV4) + packet(attacker.v4, containers.PEER)
    receiver = gateway.mac().replace(":", "")
    most = 0
    flood = attacker.popen("python3", "-c", FLOOD, attacker.port, receiver, rest.hex())
    with flood:
        while flood.poll() is None:
            listed = must(lab, "ovs-appctl", "-t", SWITCH_CONTROL, "dpctl/dump-flows")
            most = max(most, listed.count("\n"))
    assert flood.returncode == 0
    assert 1_000 < most <= 2 * DATAPATH_FLOWS_MOST


def send(sender: Container, frame: bytes, times: int) -> None:
    done = sender.run("python3", "-c", SEND_FRAMES, sender.port, str(times), frame.hex())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [n for n, (_, flow) in FRAMES.items() if flow == TAGGED])
def test_a_hop_hands_on_no_tagged_frame(lab: Lab, name: str) -> None:
    gateway = mac_of("ovsbr0", "internal_100")
    frame = macs(mac_of("ovsbr0", "warp0"), gateway) + FRAMES[name][0]
    frame += packet("10.101.0.2", "198.18.100.80")
    hop = Container(lab, "internal_100", 0)
    before = flows(lab)
    argv = ("ip", "netns", "exec", "pr-gateway", "python3", "-c", SEND_FRAMES)
    must(lab, *argv, hop.port, str(SENT), frame.hex())
    dropped_by(lab, before, TAGGED, SENT)


# asks by one socket, then by as many others as it is told, then by the first again
ASK_BY_MANY_SOCKETS = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
def line():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((sys.argv[1], 7))
    return made
def is_answered(line):
    line.settimeout(1)
    for _ in range(10):
        line.send(b"x")
        try:
            return bool(line.recv(100))
        except OSError:
            pass
    return False
first = line()
print(int(is_answered(first)))
others = [line() for _ in range(int(sys.argv[2]))]
for other in others:
    other.send(b"x")
    time.sleep(0.001)
print(int(is_answered(first)))
"""


def test_a_client_has_a_thousand_connections_at_a_time_and_keeps_those(lab: Lab) -> None:
    """XRay's memory for them is bounded by it."""
    argv = ("python3", "-c", ASK_BY_MANY_SOCKETS, str(internet.WEB[0]))
    done = lab["client"].run((*argv, str(CONNECTIONS_OF_A_CLIENT + 500)), 60.0)
    count = ("ip", "netns", "exec", "pr-gateway", "cat", CONNECTION_COUNT)
    assert CONNECTIONS_OF_A_CLIENT - 50 < int(must(lab, *count)) <= CONNECTIONS_OF_A_CLIENT + 5
    assert done.stdout.split() == ["1", "1"], done.stderr
