"""Level 1 with real packets: what a container sends that it should not is dropped, and counted by
the flow that is there for it; and the tunnel does not notice.

Every attack aims at a port of a function that is open to its sender, so that nothing but the flow
under test keeps it away.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import internet, stage, traffic
from privacy_router.lab.check import new_token
from tests.e2e import containers
from tests.e2e.containers import Container, counts, flows
from tests.e2e.hostile import SEND_FRAMES, dropped_by, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

SENT = 3
SERVICE = "8080"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES = "33:33:00:00:00:01"
RATES = {"arp": 20, "icmp": 20, "syn": 50, "dns": 20}
FLOOD = 600
# what the containers' own kernels say unasked, on every new device
CHATTER = ("::/128", "fe80::/10", "ff00::/8", "neighbour discovery in another's name")
# Each of the two asks three times for the link-local address of the other, once it has heard of it
# (RFC 4861, 7.3.3, MAX_UNICAST_SOLICIT); the mesh has no link-local addresses.
ASKED_IN_VAIN = ("neighbours", "drop on a miss")
ASKED_MOST = 2 * 3


@dataclass(frozen=True)
class Mesh:
    """The containers of the lab's node; `attacker` asks, `target` serves."""

    gateway: Container
    target: Container
    attacker: Container


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    try:
        yield stage.up(lab_prefix, overrides=containers.overrides(rates=RATES))
    finally:
        stage.down(lab_prefix)


@pytest.fixture(scope="module")
def mesh(lab: Lab) -> Mesh:
    gateway = containers.add_gateway(lab)
    return Mesh(gateway, containers.add(lab, 200), containers.add(lab, 201))


# --- attacks ------------------------------------------------------------------------------------


def nmap(mesh: Mesh, *how: str) -> None:
    argv = ("nmap", "-n", "-Pn", "--max-retries", "2", "--host-timeout", "8s", "-p", SERVICE)
    done = mesh.attacker.run(*argv, *how)
    assert done.returncode == 0, done.stderr


def hping(mesh: Mesh, *how: str) -> None:
    # it ends with 1 when nobody answers, which is what is wanted
    mesh.attacker.run("hping3", "-q", "-c", str(SENT), "-i", "u2000", "-p", SERVICE, *how)


def frame(mesh: Mesh, kind: int, payload: bytes, *, to: str, sender: str | None = None) -> None:
    """An Ethernet frame, three times."""
    source = sender or mesh.attacker.mac()
    head = bytes.fromhex((to + source).replace(":", "")) + struct.pack("!H", kind)
    argv = ("python3", "-c", SEND_FRAMES, mesh.attacker.port, str(SENT), (head + payload).hex())
    done = mesh.attacker.run(*argv)
    assert done.returncode == 0, done.stderr


def ipv4(mesh: Mesh, protocol: int, payload: bytes, to: str, source: str | None = None) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    addresses = ip_address(source or mesh.attacker.v4).packed + ip_address(to).packed
    whole = head + addresses
    total = sum(struct.unpack("!10H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return whole[:10] + struct.pack("!H", ~total & 0xFFFF) + whole[12:] + payload


def ipv6(source: str, to: str, following: int, payload: bytes, hops: int = 255) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    return head + ip_address(source).packed + ip_address(to).packed + payload


def udp(source: int, to: int, payload: bytes = b"hello") -> bytes:
    return struct.pack("!HHHH", source, to, 8 + len(payload), 0) + payload


def arp(mesh: Mesh, speaks_for: str) -> bytes:
    mac = bytes.fromhex(mesh.attacker.mac().replace(":", ""))
    asked = bytes(6) + ip_address(mesh.gateway.v4).packed
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return fixed + mac + ip_address(speaks_for).packed + asked


def advertisement(mesh: Mesh) -> None:
    # the checksum is wrong, which the flow does not look at
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    frame(mesh, 0x86DD, ipv6("fe80::1", "ff02::1", 58, body), to=ALL_NODES)


def rogue_dhcp(mesh: Mesh) -> None:
    packet = ipv4(mesh, 17, udp(67, 68), "255.255.255.255")
    frame(mesh, 0x0800, packet, to=BROADCAST)


def rogue_dhcp6(mesh: Mesh) -> None:
    packet = ipv6(mesh.attacker.v6, mesh.target.v6, 17, udp(547, 546), hops=64)
    frame(mesh, 0x86DD, packet, to=mesh.target.mac())


def from_broadcast(mesh: Mesh) -> None:
    packet = ipv4(mesh, 17, udp(5, int(SERVICE)), mesh.target.v4)
    frame(mesh, 0x0800, packet, to=mesh.target.mac(), sender=BROADCAST)


def from_nobody(mesh: Mesh) -> None:
    packet = ipv4(mesh, 17, udp(5, int(SERVICE)), mesh.target.v4, source="0.0.0.0")
    frame(mesh, 0x0800, packet, to=mesh.target.mac())


def from_another_mac(mesh: Mesh) -> None:
    packet = ipv4(mesh, 17, udp(5, int(SERVICE)), mesh.target.v4)
    frame(mesh, 0x0800, packet, to=mesh.target.mac(), sender=mesh.gateway.mac())


def from_address6(mesh: Mesh) -> None:
    packet = ipv6(mesh.gateway.v6, mesh.target.v6, 17, udp(5, int(SERVICE)), hops=64)
    frame(mesh, 0x86DD, packet, to=mesh.target.mac())


def arp_for_another(mesh: Mesh) -> None:
    frame(mesh, 0x0806, arp(mesh, mesh.target.v4), to=BROADCAST)


def fragments(mesh: Mesh) -> None:
    hping(mesh, "--syn", "--data", "200", "--mtu", "64", "--frag", mesh.target.v4)


ATTACKS: dict[str, tuple[Callable[[Mesh], None], str, str, int]] = {
    "null-scan": (lambda m: nmap(m, "-sN", m.target.v4), "security", "NULL scan", 1),
    "xmas-scan": (lambda m: nmap(m, "-sX", m.target.v4), "security", "Xmas scan", 1),
    "fin-scan": (lambda m: nmap(m, "-sF", m.target.v4), "security", "FIN without ACK", 1),
    "syn-fin": (lambda m: hping(m, "-S", "-F", m.target.v4), "security", "SYN and FIN", SENT),
    "syn-rst": (lambda m: hping(m, "-S", "-R", m.target.v4), "security", "SYN and RST", SENT),
    "null-scan-6": (lambda m: nmap(m, "-6", "-sN", m.target.v6), "security", "NULL scan", 1),
    "xmas-scan-6": (lambda m: nmap(m, "-6", "-sX", m.target.v6), "security", "Xmas scan", 1),
    "fragments": (fragments, "security", "a fragment", SENT),
    "from-0.0.0.0": (from_nobody, "security", "bad source 0.0.0.0/8", SENT),
    "from-loopback": (
        lambda m: hping(m, "-S", "-a", "127.0.0.1", m.target.v4),
        "security",
        "bad source 127.0.0.0/8",
        SENT,
    ),
    "from-multicast": (
        lambda m: hping(m, "-S", "-a", "224.0.0.1", m.target.v4),
        "security",
        "bad source 224.0.0.0/4",
        SENT,
    ),
    "from-broadcast": (
        lambda m: hping(m, "-S", "-a", "255.255.255.255", m.target.v4),
        "security",
        "bad source 240.0.0.0/4",
        SENT,
    ),
    "from-broadcast-mac": (
        from_broadcast,
        "classify",
        "the sender's MAC is broadcast or multicast",
        SENT,
    ),
    "from-another-mac": (
        from_another_mac,
        "classify",
        "internal_201 uses another's MAC, or speaks something else",
        SENT,
    ),
    "from-the-gateways-address": (
        lambda m: hping(m, "-S", "-a", m.gateway.v4, m.target.v4),
        "sources",
        "internal_201: not its own address: spoofed",
        SENT,
    ),
    "from-the-gateways-address-6": (
        from_address6,
        "sources",
        "internal_201: not its own address: spoofed",
        SENT,
    ),
    "from-a-client": (
        lambda m: hping(m, "-S", "-a", "10.101.0.2", m.target.v4),
        "sources",
        "internal_201: not its own address: spoofed",
        SENT,
    ),
    "to-reserved": (
        lambda m: hping(m, "-S", "250.1.2.3"),
        "security",
        "reserved destination 240.0.0.0/4",
        SENT,
    ),
    "rogue-dhcp": (rogue_dhcp, "security", "rogue DHCP: no port here gives out addresses", SENT),
    "rogue-dhcp-6": (
        rogue_dhcp6,
        "security",
        "rogue DHCP: no port here gives out addresses",
        SENT,
    ),
    "router-advertisement": (advertisement, "security", "rogue router advertisement", SENT),
    "arp-for-another": (
        arp_for_another,
        "classify",
        "internal_201 ARP or neighbour discovery in another's name",
        SENT,
    ),
    "ttl-1": (
        lambda m: hping(m, "-S", "-t", "1", m.target.v4),
        "ttl",
        "egress filter: TTL 1",
        SENT,
    ),
    "bad-checksum": (
        lambda m: hping(m, "-S", "-b", m.target.v4),
        "state",
        "invalid for its connection",
        SENT,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_dropped_and_counted_by_its_flow(lab: Lab, mesh: Mesh, name: str) -> None:
    attack, table, reason, least = ATTACKS[name]
    before = flows(lab)
    with listening(mesh.target, f"port {SERVICE} or port 546 or port 68") as arrived:
        attack(mesh)
        found = dropped_by(lab, before, (table, reason), least)
    assert arrived == []
    others = {key: n for key, n in found.items() if key != (table, reason)}
    assert others.pop(ASKED_IN_VAIN, 0) <= ASKED_MOST
    assert all(
        packets < least or any(noise in key[1] for noise in CHATTER)
        for key, packets in others.items()
    ), others


def test_the_same_packets_without_the_trick_arrive(lab: Lab, mesh: Mesh) -> None:
    with listening(mesh.target, f"tcp dst port {SERVICE}") as arrived:
        hping(mesh, "-S", mesh.target.v4)
    assert len(arrived) >= SENT


def test_a_syn_scan_sees_functions_and_nothing_else(lab: Lab, mesh: Mesh) -> None:
    server = mesh.target.popen("python3", "-m", "http.server", SERVICE, "--bind", "::")
    other = mesh.target.popen("python3", "-m", "http.server", "8081", "--bind", "::")
    try:
        for _ in range(50):
            if mesh.attacker.get(f"http://{mesh.target.v4}:{SERVICE}/") == "200":
                break
        argv = ("nmap", "-n", "-Pn", "-sS", "-oG", "-", "-p", f"{SERVICE},8081,22")
        found = mesh.attacker.run(*argv, "--max-retries", "1", mesh.target.v4).stdout
        assert f"{SERVICE}/open" in found
        assert "8081/filtered" in found
        assert "22/filtered" in found
    finally:
        for process in (server, other):
            process.kill()
            process.wait(10)


FLOODS = {
    "syn": (("-S", "-p", SERVICE), "tcp", "internal_201: SYN limited"),
    "icmp": (("-1",), "icmp", "internal_201: ICMP limited"),
    "dns": (("-2", "-p", "53"), "udp", "internal_201: DNS limited"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_limited_and_the_tunnel_does_not_notice(lab: Lab, mesh: Mesh, kind: str) -> None:
    options, protocol, reason = FLOODS[kind]
    # a function takes SYNs to its container; the rest goes where containers may ask
    receiver = mesh.target if kind == "syn" else mesh.gateway
    before = counts(flows(lab), "over_limit")
    token = new_token()
    argv = ("python", "-P", "-m", "privacy_router.lab.traffic", token, "3", "50")
    client = lab["client"].popen(argv, stdout=subprocess.PIPE)
    with listening(receiver, f"{protocol} and src {mesh.attacker.v4}") as arrived:
        flood = ("hping3", "-q", "-c", str(FLOOD), "-i", "u1500", *options, receiver.v4)
        mesh.attacker.run(*flood)
    output, _ = client.communicate(timeout=20)
    after = counts(flows(lab), "over_limit")
    # two flows, one for each version of IP, share a meter and show the same number
    over = (after["rates", reason] - before["rates", reason]) // 2
    assert over >= FLOOD // 2
    assert SENT < len(arrived) <= FLOOD - over
    results = [json.loads(line) for line in output.decode().splitlines()]
    for sort in ("udp", "tcp"):
        assert sum(line["ok"] for line in results if line["kind"] == sort) > 30
        assert traffic.longest_outage_s(results, sort) < 1.0


def test_an_arp_flood_is_limited(lab: Lab, mesh: Mesh) -> None:
    reason = "internal_201 asks and answers for its own addresses"
    before = counts(flows(lab), "over_limit")
    packet = bytes.fromhex((BROADCAST + mesh.attacker.mac()).replace(":", "")) + b"\x08\x06"
    argv = ("python3", "-c", SEND_FRAMES, mesh.attacker.port, str(FLOOD))
    with listening(mesh.attacker, f"arp and src host {mesh.gateway.v4}") as answers:
        mesh.attacker.run(*argv, (packet + arp(mesh, mesh.attacker.v4)).hex())
    after = counts(flows(lab), "over_limit")
    assert (after["classify", reason] - before["classify", reason]) // 4 >= FLOOD // 2
    assert 0 < len(answers) < FLOOD // 2


def test_the_node_is_as_it_should_be_afterwards(lab: Lab, mesh: Mesh) -> None:
    assert "nothing to change" in lab["node"].run(("privacy-router", "plan")).stdout
    page = f"http://{internet.WEB[0]}/echo?x=1"
    assert lab["client"].run(("curl", "-sfo", "/dev/null", page)).returncode == 0
