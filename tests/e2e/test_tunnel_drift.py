"""Promise 2 where no event of the kernel tells: keys and peers of the tunnels, kernel settings,
what others put into a hop, and processes that live and do not serve.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

HEALED_WITHIN_S = 10.0  # far below the controller's full pass every 30 s; make storm measures it
TRAFFIC_WITHIN_S = 12.0  # a session that must begin anew does so after five (WireGuard, REKEY)
# once its beginning is over: two answers are waited for, and the new one has to start
HANGING_WITHIN_S = 5.0 + HEALED_WITHIN_S + TRAFFIC_WITHIN_S
PAGE = "web.example.net/ip"
STRANGER = "198.18.99.9:2408"


@dataclass(frozen=True)
class Drift:
    """What to do in the node, and what to look at: healed when that is as it was."""

    damage: str
    look: str


def warp(setting: str, look: str) -> Drift:
    return Drift(f"wg set wgcf peer $(wg show wgcf peers) {setting}", f"wg show wgcf {look}")


def client(setting: str, look: str) -> Drift:
    return Drift(f"wg set wg100 peer $(wg show wg100 peers) {setting}", f"wg show wg100 {look}")


def device(name: str, setting: str, look: str) -> Drift:
    return Drift(f"wg set {name} {setting}", f"wg show {name} {look}")


ANOTHER_KEY = "$(wg genkey | wg pubkey)"
NEW_SECRET = "umask 077; wg genpsk > /tmp/drift;"

TUNNELS = {
    "WARP's endpoint": warp(f"endpoint {STRANGER}", "endpoints"),
    "WARP's pre-shared key": Drift(
        f"{NEW_SECRET} wg set wgcf peer $(wg show wgcf peers) preshared-key /tmp/drift",
        "wg show wgcf preshared-keys",
    ),
    "WARP's networks": warp("allowed-ips 192.0.2.0/24", "allowed-ips"),
    "WARP's keepalive": warp("persistent-keepalive off", "persistent-keepalive"),
    "WARP's peer removed": warp("remove", "peers"),
    "WARP's peer swapped": Drift(
        f"wg set wgcf peer $(wg show wgcf peers) remove peer {ANOTHER_KEY}"
        f" allowed-ips 0.0.0.0/0,::/0 endpoint {STRANGER}",
        "wg show wgcf endpoints",
    ),
    "WARP's key": Drift(
        "umask 077; wg genkey > /tmp/drift; wg set wgcf private-key /tmp/drift",
        "wg show wgcf public-key",
    ),
    "WARP's mark": device("wgcf", "fwmark 0", "fwmark"),
    "a client's pre-shared key": Drift(
        f"{NEW_SECRET} wg set wg100 peer $(wg show wg100 peers) preshared-key /tmp/drift",
        "wg show wg100 preshared-keys",
    ),
    "a client's networks": client("allowed-ips 192.0.2.0/24", "allowed-ips"),
    "a client's keepalive": client("persistent-keepalive 7", "persistent-keepalive"),
    "a client removed": client("remove", "peers"),
    "a stranger let in": device("wg100", f"peer {ANOTHER_KEY} allowed-ips 10.101.0.77/32", "peers"),
    "a client's address taken": device(
        "wg100",
        f"peer {ANOTHER_KEY} allowed-ips 10.101.0.2/32",
        "allowed-ips",
    ),
    "the gateway's key": Drift(
        "umask 077; wg genkey > /tmp/drift; wg set wg100 private-key /tmp/drift",
        "wg show wg100 public-key",
    ),
    "the gateway's port": device("wg100", "listen-port 4711", "listen-port"),
    "the gateway's mark": device("wg100", "fwmark 7", "fwmark"),
}


def setting(hop: str, name: str, value: str) -> Drift:
    within = f"ip netns exec pr-{hop}"
    return Drift(f"{within} sysctl -qw {name}='{value}'", f"{within} sysctl {name}")


SETTINGS = {
    f"{hop}: {name}": setting(hop, name, value)
    for hop, name, value in (
        ("warp", "net.ipv4.conf.warp0.forwarding", "0"),
        ("warp", "net.ipv4.conf.wgcf.forwarding", "0"),
        ("gateway", "net.ipv4.ip_forward", "0"),
        ("gateway", "net.ipv6.conf.all.forwarding", "0"),
        ("xray", "net.ipv4.conf.internal_101.forwarding", "1"),
        ("xray", "net.ipv6.conf.internal_101.forwarding", "1"),
        ("warp", "net.ipv4.conf.all.rp_filter", "1"),
        ("warp", "net.ipv4.conf.warp0.rp_filter", "1"),
        ("gateway", "net.ipv6.conf.all.disable_ipv6", "1"),
        ("xray", "net.ipv6.conf.internal_101.disable_ipv6", "1"),
        ("xray", "net.ipv6.conf.lo.disable_ipv6", "1"),
        ("xray", "net.ipv4.conf.internal_101.arp_ignore", "8"),
        ("warp", "net.ipv4.conf.warp0.proxy_arp", "1"),
        ("warp", "net.ipv4.conf.warp0.accept_local", "1"),
        ("warp", "net.ipv4.conf.all.route_localnet", "1"),
        ("warp", "net.ipv4.conf.warp0.src_valid_mark", "1"),
        ("warp", "net.ipv4.conf.warp0.disable_policy", "1"),
        ("warp", "net.ipv4.conf.warp0.log_martians", "1"),
        ("warp", "net.ipv6.conf.warp0.accept_ra", "2"),
        ("gateway", "net.ipv6.conf.wg100.mtu", "1300"),
        ("xray", "net.ipv4.ip_nonlocal_bind", "0"),
        ("xray", "net.ipv4.ip_local_port_range", "40000 40001"),
        ("xray", "net.ipv4.ip_local_reserved_ports", "32768-60999"),
        ("xray", "net.ipv4.ip_default_ttl", "2"),
        ("warp", "net.netfilter.nf_conntrack_udp_timeout", "1"),
    )
}


def within(hop: str, damage: str, look: str) -> Drift:
    inside = f"ip netns exec pr-{hop}"
    return Drift(f"{inside} {damage}", f"{inside} {look}")


EVERYTHING = "src 0.0.0.0/0 dst 0.0.0.0/0"
TABLES = "sh -c 'nft list ruleset | grep -e ^table -e hook -e flags'"

LEGACY_RULES = "sh -c 'iptables-legacy -S; ip6tables-legacy -t mangle -S'"
# attaches a BPF program to the tcx hook of wgcf, or says which are there
DROPPING = f"ip netns exec pr-warp python -P {Path(__file__).parent / 'bpf_program.py'} wgcf"

STRANGERS_TABLE = (
    "'table ip stranger { chain c { type filter hook prerouting priority -400; policy drop; }; }'"
)

FOREIGN = {
    f"{hop}: {what}": within(hop, *drift)
    for hop in ("gateway", "warp", "xray")
    for what, drift in {
        "an IPsec policy that blocks": (
            f"ip xfrm policy add {EVERYTHING} dir out action block",
            "ip xfrm policy",
        ),
        "a table that drops": (f"nft {STRANGERS_TABLE}", TABLES),
        "the firewall asleep": (
            "nft add table inet privacy_router '{ flags dormant; }'",
            TABLES,
        ),
    }.items()
} | {
    "IPsec blocks by default": within(
        "warp", "ip xfrm policy setdefault fwd block", "ip xfrm policy getdefault"
    ),
    "legacy iptables forbid": within("xray", "iptables-legacy -P INPUT DROP", LEGACY_RULES),
    "legacy iptables drop": within(
        "gateway", "ip6tables-legacy -t mangle -A PREROUTING -j DROP", LEGACY_RULES
    ),
    "a program that drops what comes in": Drift(f"{DROPPING} program", f"{DROPPING} look"),
    "a link that drops what comes in": Drift(f"{DROPPING} link", f"{DROPPING} look"),
    "a hook for filters": within("warp", "tc qdisc add dev wgcf clsact", "tc qdisc show"),
    "a next hop": within("gateway", "ip nexthop add id 5 blackhole", "ip nexthop"),
    "another device": within(
        "gateway",
        "sh -c 'ip link add odd type veth peer name odder && ip link set odd up'",
        "ip -br link show up",
    ),
}

DEVICES = {
    f"{name} {what}": Drift(
        f"ip -n pr-{hop} {damage.format(name)}", f"ip -br -n pr-{hop} link | sort"
    )
    for name, hop in (("wg100", "gateway"), ("wgcf", "warp"))
    for what, damage in {
        "renamed": "link set {0} down name odd",
        "taken to another hop": "link set {0} netns pr-xray",
        "taken to the host": "link set {0} netns 1",
        "deleted": "link delete {0}",
    }.items()
}

RULES, ROUTES = "sh -c 'ip rule; ip -6 rule'", "ip route show table all"
DEFAULT = "default via 10.102.0.1 dev internal_100 proto static"

ROUTING = {
    "a rule that forbids": within("warp", "ip rule add pref 90 prohibit", RULES),
    "a rule of one protocol": within("warp", "ip rule add pref 90 lookup 103 ipproto udp", RULES),
    "a rule that is turned round": within(
        "warp", "ip rule add not pref 91 from 10.1.1.1 lookup 103", RULES
    ),
    "a rule that skips others": within("warp", "ip -6 rule add pref 95 goto 120", RULES),
    "a route by type of service": within(
        "gateway", "ip route add default via 10.102.0.3 dev internal_100 tos 0x10", ROUTES
    ),
    "a route with a source": within(
        "gateway", f"ip route replace {DEFAULT} src 10.101.0.1", ROUTES
    ),
    "a route that says the kernel made it": within(
        "gateway",
        "ip route add 192.0.2.0/24 via 10.102.0.3 dev internal_100 proto kernel",
        ROUTES,
    ),
}

STOPPED = ["wg100", "wgcf", "xray", "ovs-vswitchd", "ovsdb-server"]


def run(lab: Lab, script: str) -> str:
    found = lab["node"].run(("sh", "-c", script))
    assert found.returncode == 0, (script, found.stderr)
    return found.stdout


def heals(lab: Lab, drift: Drift) -> None:
    """Do the damage, and require that it is put right in time and that the traffic comes back."""
    before, told = run(lab, drift.look), warnings(lab)
    begun = time.monotonic()
    run(lab, drift.damage)
    # it may be put right before it is looked at, but not before the log tells of it
    while (now := run(lab, drift.look)) != before or warnings(lab) == told:
        assert time.monotonic() < begun + HEALED_WITHIN_S, (before, now)
    healed_s = time.monotonic() - begun
    await_traffic(lab, begun)
    print(f"healed in {healed_s:.2f} s, traffic after {time.monotonic() - begun:.2f} s")


def warnings(lab: Lab) -> int:
    return run(lab, "cat /run/privacy-router/log/controller.log").count("[warning")


def await_traffic(lab: Lab, begun: float) -> None:
    """The client's requests are answered."""
    while lab["client"].run(("curl", "-sf", "--max-time", "1", PAGE)).returncode != 0:
        assert time.monotonic() < begun + TRAFFIC_WITHIN_S


@pytest.mark.parametrize("what", TUNNELS)
def test_a_tunnel_is_what_it_was(lab: Lab, what: str) -> None:
    heals(lab, TUNNELS[what])


@pytest.mark.parametrize("what", SETTINGS)
def test_a_setting_is_what_it_was(lab: Lab, what: str) -> None:
    heals(lab, SETTINGS[what])


@pytest.mark.parametrize("what", FOREIGN)
def test_what_others_put_into_a_hop_goes(lab: Lab, what: str) -> None:
    heals(lab, FOREIGN[what])


@pytest.mark.parametrize("what", DEVICES)
def test_a_device_is_back_in_its_hop_by_its_name(lab: Lab, what: str) -> None:
    heals(lab, DEVICES[what])


@pytest.mark.parametrize("what", ROUTING)
def test_a_route_or_rule_with_more_than_ours_goes(lab: Lab, what: str) -> None:
    heals(lab, ROUTING[what])


@pytest.mark.parametrize("process", STOPPED)
def test_a_stopped_process_serves_again(lab: Lab, process: str) -> None:
    find = f"grep -lz '^PRIVACY_ROUTER_PROCESS={process}$' /proc/[0-9]*/environ | cut -d/ -f3"
    state = f"for p in $({find}); do cut -d' ' -f3 /proc/$p/stat | grep -c T; done; true"
    heals(lab, Drift(f"kill -STOP $({find})", state))


HOLDER = """
import ctypes, os, sys, time
attach, held = 16, set()  # PTRACE_ATTACH
for _ in range(3):  # threads come and go meanwhile
    for thread in set(os.listdir(f"/proc/{sys.argv[1]}/task")) - held:
        if ctypes.CDLL(None).ptrace(attach, int(thread), 0, 0) == 0:
            held.add(thread)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["wgcf", "xray", "ovs-vswitchd", "ovsdb-server"])
def test_a_process_that_hangs_is_replaced(lab: Lab, name: str) -> None:
    """A debugger holds it: it is not stopped by a signal, and answers nothing all the same."""
    find = f"grep -lz '^PRIVACY_ROUTER_PROCESS={name}$' /proc/[0-9]*/environ | cut -d/ -f3"
    (old,) = run(lab, find).split()
    holder = lab["node"].popen(("python3", "-c", HOLDER, old))
    begun = time.monotonic()
    try:
        while run(lab, find).split() in ([old], []):
            assert time.monotonic() < begun + HANGING_WITHIN_S
        await_traffic(lab, begun)
    finally:
        holder.kill()
        holder.wait()
    print(f"replaced, traffic after {time.monotonic() - begun:.2f} s")


OTHER_ADDRESS = "198.18.2.77"
"""Of the node's uplink, beside the one that its kernel prefers to send from."""


def test_the_gateway_answers_from_the_address_that_a_client_called(lab: Lab) -> None:
    """WireGuard sends to where it last heard from: a client that is answered from elsewhere calls
    there from then on, if no firewall on its way drops the answer."""

    def on_client(script: str) -> str:
        found = lab["client"].run(("sh", "-c", script))
        assert found.returncode == 0, found.stderr
        return found.stdout

    look = "wg show wg0 endpoints"
    before = on_client(look).split()[1]
    move = "wg set wg0 peer $(wg show wg0 peers) endpoint"
    run(lab, f"ip address add {OTHER_ADDRESS}/24 dev to-isp")
    on_client(f"ip route add {OTHER_ADDRESS} via 198.18.1.1; {move} {OTHER_ADDRESS}:51820")
    try:
        await_traffic(lab, time.monotonic())
        assert on_client(look).split()[1] == f"{OTHER_ADDRESS}:51820"
    finally:
        on_client(f"{move} {before}; ip route delete {OTHER_ADDRESS}")
        run(lab, f"ip address delete {OTHER_ADDRESS}/24 dev to-isp")
    await_traffic(lab, time.monotonic())


REWRITING = (
    "table ip rewriting { chain c { type filter hook postrouting priority 300;"
    " ip saddr 198.18.50.2 udp sport 2408 ip saddr set 198.18.99.9; }; }"
)


def test_warp_does_not_follow_the_sender_of_its_packets(lab: Lab) -> None:
    """WireGuard sends to where it last heard from, so who is on the path could have it all."""
    log = lab["node"].file("/run/privacy-router/log/controller.log")
    told = moves(log)
    before = run(lab, "wg show wgcf endpoints")
    assert lab["isp"].run(("nft", REWRITING)).returncode == 0
    try:
        begun = time.monotonic()
        while len(moves(log)) == len(told):  # each request is answered from the wrong address
            lab["client"].run(("curl", "-sf", "--max-time", "1", PAGE))
            assert time.monotonic() < begun + TRAFFIC_WITHIN_S
    finally:
        assert lab["isp"].run(("nft", "delete table ip rewriting")).returncode == 0
    begun = time.monotonic()
    while run(lab, "wg show wgcf endpoints") != before:
        assert time.monotonic() < begun + HEALED_WITHIN_S
    await_traffic(lab, begun)
    assert "led_to=" in moves(log)[-1]


def moves(log: Path) -> list[str]:
    """The lines of the log that tell of WARP's move to the stranger."""
    return [line for line in log.read_text().splitlines() if STRANGER in line]
