"""Hops are switched off and on while the node is up and a client sends; nothing leaks meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import internet
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for
from privacy_router.lab.hosts import NODE_CONFIG

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PATIENCE_S = 10.0
TRAFFIC_S = 20
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


def test_hops_are_switched_off_and_on(lab: Lab) -> None:
    whole = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    without_xray, without_warp = (json.loads(json.dumps(whole)) for _ in range(2))
    without_xray["plugins"]["privacy_router"]["xray"]["enabled"] = False
    without_warp["plugins"]["privacy_router"]["warp"]["enabled"] = False
    token = new_token()
    traffic = ("python", "-P", "-m", "privacy_router.lab.traffic", token, str(TRAFFIC_S))
    # without WARP the node asks for its VPS' name, and for no other; see docs/security.md
    rules = replace(rules_for(lab.config, token), open_names=(internet.VPS_NAME,))
    with (
        lab["client"].popen(traffic, stdout=subprocess.DEVNULL) as sender,
        Captures(lab.hosts, rules) as captures,
    ):
        for document, address in (
            (without_xray, CLOUDFLARE),
            (whole, VPS),
            (without_warp, VPS),
            (whole, VPS),
        ):
            apply(lab, document)
            assert exit_address(lab) == address
        sender.kill()
    assert captures.cleartext_packets == 0, captures.examples
    assert captures.dropped == 0


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
