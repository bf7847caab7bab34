"""WARP's endpoint moves, dies or cannot be reached: the tunnel finds another one by itself."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.lab import internet, stage
from privacy_router.lab.hosts import NODE_CONFIG
from privacy_router.lab.spawn_hosts import SCRATCH
from privacy_router.plan.guard import socket_guard

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

FOUND_WITHIN_S = 60.0
"""WireGuard's own patience with a session (25 s), a handshake, and a machine that is busy."""
CHOSEN_WITHIN_S = 20.0
"""An address without a route is left after 4 s."""

NAME = "warp.ddns.example.org"
HERE, NOWHERE, MOVED = "198.18.50.2", "198.18.50.9", "198.18.50.3"
HERE6 = "2001:db8:50::2"
PROFILE = SCRATCH / "named.conf"
STATE = "/var/lib/privacy-router"
PAGE = f"http://{internet.WEB_NAME}/ip"


def run(lab: Lab, script: str, host: str = "node", timeout_s: float = 60.0) -> str:
    found = lab[host].run(("sh", "-c", script), timeout_s)
    assert found.returncode == 0, (script, found.stdout, found.stderr)
    return found.stdout


def leads_to(lab: Lab) -> str:
    """The address that the tunnel leads to."""
    return run(lab, "wg show wgcf endpoints").split()[1].rpartition(":")[0].strip("[]")


def hops(lab: Lab) -> dict[str, dict[str, Any]]:
    found = lab["node"].run(("privacy-router", "status", "--json"))
    return {hop["name"]: hop for hop in json.loads(found.stdout)["hops"]}


def await_true(holds: Callable[[], bool], within_s: float) -> float:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() < begun + within_s
    return time.monotonic() - begun


def answers(lab: Lab) -> bool:
    """Whether a client's request is answered."""
    return lab["client"].run(("curl", "-sf", "--max-time", "1", PAGE)).returncode == 0


def chain_is_proven(lab: Lab) -> bool:
    """Where the client has no way to the node: what the node's own question finds."""
    return bool(hops(lab)["xray"]["state"] == "up")


def name_is_at(lab: Lab, *addresses: str) -> None:
    """The node's resolver has these addresses for the endpoint's name; none: it knows no such
    name."""
    lines = [line for line in internet.hosts_file("node").splitlines() if line]
    lines += [f"{address} {NAME}" for address in addresses]
    run(lab, "cat > /etc/hosts <<'END'\n" + "\n".join(lines) + "\nEND")


@contextmanager
def dead(lab: Lab, *addresses: str) -> Iterator[None]:
    """Nothing passes to or from WARP's endpoint at these addresses."""
    # the stand-in also calls by itself, from another of its addresses, which Cloudflare does not
    own = [str(one.ip) for one in internet.cable("isp", "cloudflare").interfaces("cloudflare")]
    port = internet.WARP_PORT
    rules = [f"{_family(one)} daddr {one} udp dport {port} drop" for one in addresses]
    rules += [f"{_family(one)} saddr {one} udp sport {port} drop" for one in (*addresses, *own)]
    chain = "; ".join(("type filter hook forward priority 0", *rules))
    run(lab, f"nft 'table inet dead {{ chain c {{ {chain}; }}; }}'", "isp")
    try:
        yield
    finally:
        run(lab, "nft delete table inet dead", "isp")


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def names_warp(lab: Lab) -> bool:
    """Whether `status` says that WARP fails, and blames nothing else."""
    found = hops(lab)
    assert found["xray"]["state"] != "down", found["xray"]
    return bool(found["warp"]["state"] == "down")


UP = ("privacy-router", "up", "--detach")


@pytest.fixture(scope="module")
def named_lab(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node imports the profile that it got, with a name for its endpoint."""
    try:
        lab = stage.up(f"{lab_prefix}-n")
        run(lab, "privacy-router down")
        profile = lab["node"].file(f"{STATE}/wgcf-profile.conf").read_text()
        lab["node"].write(PROFILE, profile.replace(f"{HERE}:", f"{NAME}:").encode())
        document = json.loads(lab["node"].file(NODE_CONFIG).read_text())
        document["plugins"]["privacy_router"]["warp"]["wgcf_config"] = str(PROFILE)
        lab["node"].write(NODE_CONFIG, json.dumps(document).encode())
        yield lab
    finally:
        stage.down(f"{lab_prefix}-n")


def restart(lab: Lab, *addresses: str, wait_s: int = 10) -> subprocess.CompletedProcess[str]:
    """Take the node down, give its endpoint's name these addresses, and bring it up."""
    run(lab, "privacy-router down")
    name_is_at(lab, *addresses)
    return lab["node"].run((*UP, "--wait", str(wait_s)), 60.0)


def guard(lab: Lab) -> str:
    """The rules that say where WARP's sockets may send."""
    return run(lab, f"nft list table inet {socket_guard('warp')}")


def test_a_name_that_moves_is_looked_up_again_while_the_node_runs(named_lab: Lab) -> None:
    assert restart(named_lab, HERE).returncode == 0
    await_true(lambda: answers(named_lab), FOUND_WITHIN_S)
    name_is_at(named_lab, MOVED)
    with dead(named_lab, HERE):
        answers(named_lab)
        await_true(lambda: names_warp(named_lab), FOUND_WITHIN_S)
        took_s = await_true(lambda: answers(named_lab), FOUND_WITHIN_S)
        assert leads_to(named_lab) == MOVED
    assert f"ip daddr {MOVED} udp dport 2408 accept" in guard(named_lab)
    assert HERE + " " not in guard(named_lab)
    print(f"found after {took_s:.1f} s")


def test_each_up_looks_the_name_up_and_a_dead_one_is_named(named_lab: Lab) -> None:
    failed = restart(named_lab, NOWHERE, wait_s=2)
    assert failed.returncode == ExitCode.REMOTE
    assert "warp: no handshake with Cloudflare" in failed.stderr
    assert "vps export" not in failed.stderr
    assert leads_to(named_lab) == NOWHERE
    assert restart(named_lab, HERE).returncode == 0
    assert leads_to(named_lab) == HERE


def test_the_old_address_stays_while_the_look_up_fails(named_lab: Lab) -> None:
    assert restart(named_lab, HERE).returncode == 0
    assert restart(named_lab).returncode == 0
    assert leads_to(named_lab) == HERE


def test_the_other_family_is_tried(named_lab: Lab) -> None:
    assert restart(named_lab, HERE, HERE6).returncode == 0
    first = leads_to(named_lab)
    await_true(lambda: answers(named_lab), FOUND_WITHIN_S)
    with dead(named_lab, first):
        answers(named_lab)
        await_true(lambda: leads_to(named_lab) != first, FOUND_WITHIN_S)
        await_true(lambda: answers(named_lab), FOUND_WITHIN_S)
    assert {first, leads_to(named_lab)} == {HERE, HERE6}


def test_what_the_profile_says_of_the_tunnel_is_in_force(named_lab: Lab) -> None:
    """Its pre-shared key is the peer's too: without it there would be no handshake."""
    own = run(named_lab, "wg show wgcf public-key").strip()
    shared = run(named_lab, "wg genpsk").strip()
    profile = named_lab["node"].file(PROFILE).read_text()
    more = f"PresharedKey = {shared}\nPersistentKeepalive = 7\n"
    run(named_lab, "privacy-router down")
    named_lab["node"].write(PROFILE, (profile.replace("MTU = 1280", "MTU = 1330") + more).encode())
    named_lab["cloudflare"].write(SCRATCH / "shared", shared.encode())
    try:
        run(named_lab, f"wg set warp peer {own} preshared-key {SCRATCH / 'shared'}", "cloudflare")
        assert restart(named_lab, HERE).returncode == 0
        await_true(lambda: answers(named_lab), FOUND_WITHIN_S)
        assert run(named_lab, "wg show wgcf persistent-keepalive").split()[1] == "7"
        assert "mtu 1330" in run(named_lab, "ip -n pr-warp link show wgcf")
        assert "mtu 1330" in run(named_lab, "ip -n pr-xray route show default")
    finally:
        run(named_lab, f"wg set warp peer {own} preshared-key /dev/null", "cloudflare")
        named_lab["node"].write(PROFILE, profile.encode())


def test_a_node_with_ipv6_only_comes_up_by_ipv6(bare_lab: Lab) -> None:
    run(bare_lab, "ip -4 address flush dev to-isp")
    begun = time.monotonic()
    up = bare_lab["node"].run(UP, 60.0)
    assert up.returncode == 0, up.stderr
    assert leads_to(bare_lab) == HERE6
    print(f"up by IPv6 in {time.monotonic() - begun:.1f} s")


def test_the_family_that_goes_is_left_for_the_other(lab: Lab) -> None:
    """First IPv4 goes, then it comes back and IPv6 goes."""
    assert leads_to(lab) == HERE
    run(lab, "ip -4 address flush dev to-isp")
    await_true(lambda: leads_to(lab) == HERE6, CHOSEN_WITHIN_S)
    await_true(lambda: chain_is_proven(lab), CHOSEN_WITHIN_S)
    v4, _ = internet.cable("isp", "node").interfaces("node")
    router = internet.cable("isp", "node").address("isp", 4)
    run(lab, f"ip address add {v4} dev to-isp; ip route add default via {router}")
    run(lab, "ip -6 address flush dev to-isp scope global")
    await_true(lambda: leads_to(lab) == HERE, CHOSEN_WITHIN_S)
    await_true(lambda: answers(lab), CHOSEN_WITHIN_S)
