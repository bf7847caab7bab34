"""Hops are switched off and on while the node is up and a client sends; nothing leaks meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.lab import internet, traffic
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for
from privacy_router.lab.hosts import NODE_CONFIG
from privacy_router.pipeline.allocation import tracking_zone

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PATIENCE_S = 10.0
TRAFFIC_S = 90
SETTLED_S = 6.0  # longer than what is judged, so that a recovery that is late is seen as one
RECOVERY_LIMIT_S = 5.0
VPS, CLOUDFLARE = str(internet.VPS[0]), str(internet.WARP_EGRESS[0])


def apply(lab: Lab, document: dict[str, Any]) -> None:
    """Give the controller another configuration and wait until the node follows it."""
    node = lab["node"]
    node.write(NODE_CONFIG, json.dumps(document).encode())
    status = node.run(("privacy-router", "status", "--json", "--no-probe")).stdout
    pid = str(json.loads(status)["controller_pid"])
    assert node.run(("kill", f"-{int(signal.SIGHUP)}", pid)).returncode == 0
    deadline = time.monotonic() + PATIENCE_S
    while "nothing to change" not in node.run(("privacy-router", "plan")).stdout:
        assert time.monotonic() < deadline


def exit_address(lab: Lab) -> str:
    deadline = time.monotonic() + PATIENCE_S
    asking = ("curl", "-s4", "-m", "1", "http://web.example.net/ip")
    while not (address := lab["client"].run(asking).stdout.strip()):
        assert time.monotonic() < deadline
    return address


def variants(lab: Lab) -> dict[str, dict[str, Any]]:
    """The node's document with every hop, without one or the other, and on another segment."""
    text = lab["node"].file(NODE_CONFIG).read_text()
    found: dict[str, dict[str, Any]] = {}
    changes: dict[str, dict[str, Any]] = {
        "whole": {},
        "without xray": {"xray": {"enabled": False}},
        "without warp": {"warp": {"enabled": False}},
        "another segment": {"transit_subnet": "10.202.0.0/24"},
    }
    for name, sections in changes.items():
        found[name] = json.loads(text)
        own = found[name]["plugins"]["privacy_router"]
        for section, value in sections.items():
            own[section] = {**own[section], **value} if isinstance(value, dict) else value
    return found


EXITS = {"without xray": CLOUDFLARE}
ROUND = ("without xray", "whole", "without warp", "another segment", "without warp", "whole")


def test_changing_the_chain_leaks_nothing_and_interrupts_little(lab: Lab) -> None:
    """A client's DNS left in clear, and its UDP flows stayed dead for 25 to 100 s."""
    documents = variants(lab)
    token = new_token()
    sending = ("python", "-P", "-m", "privacy_router.lab.traffic", token, str(TRAFFIC_S), "20")
    # without WARP the node asks for its VPS' name, and for no other; see docs/security.md
    rules = replace(rules_for(lab.config, token), open_names=(internet.VPS_NAME,))
    with (
        lab["client"].popen(sending, stdout=subprocess.PIPE) as sender,
        Captures(lab.hosts, rules) as captures,
    ):
        for name in ROUND:
            apply(lab, documents[name])
            assert exit_address(lab) == EXITS.get(name, VPS)
        with pytest.raises(subprocess.TimeoutExpired):
            sender.wait(SETTLED_S)
        sender.kill()
        output, _ = sender.communicate()
    assert captures.cleartext_packets == 0, captures.examples
    assert captures.dropped == 0
    assert captures.evidence[internet.cable("vps", "web").name].payload_packets > 30
    fates = [json.loads(line) for line in output.decode().splitlines()]
    for kind in ("udp", "tcp"):
        assert traffic.longest_outage_s(fates, kind) < RECOVERY_LIMIT_S


def test_the_host_is_guarded_again_at_once_when_its_firewall_is_flushed(lab: Lab) -> None:
    node = lab["node"]
    before = node.run(("nft", "list", "ruleset")).stdout
    assert "table inet privacy_router_guard_" in before
    assert node.run(("nft", "flush", "ruleset")).returncode == 0
    deadline = time.monotonic() + PATIENCE_S
    while node.run(("nft", "list", "ruleset")).stdout != before:
        assert time.monotonic() < deadline


def meters(lab: Lab) -> set[str]:
    switch = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
    dump = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", "dump-meters", switch)).stdout
    return {word for word in dump.split() if word.startswith("meter=")}


def test_rates_change_and_go_and_anothers_meter_stays(lab: Lab) -> None:
    switch = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
    meter = "meter=900,pktps,band=type=drop,rate=7"
    assert (
        lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", "add-meter", switch, meter)).returncode
        == 0
    )
    whole = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    assert len(meters(lab)) == 3 * 3 + 1
    changed = json.loads(json.dumps(whole))
    section = changed["plugins"]["privacy_router"]
    section["openflow"] = {"rates": {"icmp": 33, "syn": None, "dns": None}}
    apply(lab, changed)
    assert len(meters(lab)) == 3 + 1
    dump = ("ovs-ofctl", "-O", "OpenFlow13", "dump-meters", switch)
    assert lab["node"].run(dump).stdout.count("rate=33") == 3
    section["openflow"]["rates"]["icmp"] = None
    apply(lab, changed)
    assert meters(lab) == {"meter=900"}
    apply(lab, whole)
    assert len(meters(lab)) == 3 * 3 + 1


def tracked(lab: Lab, *stretch: str) -> set[str]:
    """The source ports of XRay's own TCP connections that the switch remembers on that stretch."""
    zone = tracking_zone(*(CATALOGUE.hop(name).role for name in stretch))
    control = "/run/privacy-router/ovs/ovs-vswitchd.ctl"
    ask = ("ovs-appctl", "-t", control, "dpctl/dump-conntrack", "netdev@ovs-netdev", f"zone={zone}")
    lines = lab["node"].run(ask).stdout.splitlines()
    own = (line for line in lines if line.startswith("tcp,orig=(src=10.102.0.3,"))
    return {line.partition("sport=")[2].partition(",")[0] for line in own}


def xray_pid(lab: Lab) -> str:
    listeners = ("ip", "netns", "exec", "pr-xray", "ss", "-Hltnp")
    return lab["node"].run(listeners).stdout.partition("pid=")[2].partition(",")[0]


def test_the_switch_forgets_the_connections_of_an_xray_that_has_ended(lab: Lab) -> None:
    """It took a new connection with the source port of an old one for a forged one, and dropped it
    until it forgot the old one: up to 15 minutes."""
    exit_address(lab)
    old, pid = tracked(lab, "warp", "xray"), xray_pid(lab)
    assert old
    assert lab["node"].run(("kill", f"-{int(signal.SIGKILL)}", pid)).returncode == 0
    deadline = time.monotonic() + PATIENCE_S
    while xray_pid(lab) in ("", pid):
        assert time.monotonic() < deadline
    exit_address(lab)
    new = tracked(lab, "warp", "xray")
    assert new
    assert not new & old


def test_the_switch_forgets_what_a_chain_without_a_stretch_remembered(lab: Lab) -> None:
    documents = variants(lab)
    for name, stretch in {"without warp": ("xray", "exit"), "whole": ("warp", "xray")}.items():
        apply(lab, documents[name])
        assert exit_address(lab) == VPS
        assert tracked(lab, *stretch)
    assert not tracked(lab, "xray", "exit")
