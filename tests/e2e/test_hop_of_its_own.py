"""The relay of tests/plan, a hop in tests alone, in a node that runs: packets pass it, and nothing
leaves when it goes. The node's own commands run with a catalogue that has it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import internet, stage
from privacy_router.lab.check import run_check

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PATIENCE_S = 30.0
COMMAND_S = 60.0
ROOT = Path(__file__).parents[2]
PROGRAM = f"""
import sys
sys.path.append({str(ROOT)!r})
from privacy_router.hops import catalogue
from tests.plan.relay_hop import Relay
gateway, *others = catalogue.CATALOGUE.hops
catalogue.CATALOGUE = catalogue.Catalogue((gateway, Relay(), *others))
from privacy_router.cli.main import main
main()
"""


def run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the node, with the relay among its hops."""
    return lab["node"].run((sys.executable, "-P", "-c", PROGRAM, *arguments), COMMAND_S)


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    try:
        made = stage.up(lab_prefix, with_node=False)
        done = run(made, "up", "--detach")
        assert done.returncode == 0, done.stderr
        stage.connect_client(made)
        yield made
    finally:
        stage.down(lab_prefix)


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(lab, "status", "--json").stdout)
    return found


def relay_packets(lab: Lab) -> int:
    argv = ("ip", "-n", "pr-relay", "-j", "-s", "link", "show", "relay0")
    (link,) = json.loads(lab["node"].run(argv).stdout)
    packets: int = link["stats64"]["rx"]["packets"]
    return packets


def test_clients_packets_pass_it_and_nothing_leaks(lab: Lab) -> None:
    before = relay_packets(lab)
    report = run_check(lab)
    assert report.tcp, report.problems
    assert report.udp, report.problems
    assert report.ipv6, report.problems
    assert report.exit_ip == str(internet.VPS[0])
    assert (report.cleartext_packets, report.foreign_packets) == (0, 0), report.problems
    assert relay_packets(lab) > before + 10


def test_status_names_it_in_its_place(lab: Lab) -> None:
    found = status(lab)
    assert [hop["name"] for hop in found["hops"]] == ["gateway", "relay", "warp", "xray"]
    assert found["pending"] == []
    assert "relayd" in found["processes"]


def test_it_comes_back_after_its_namespace_was_deleted_and_nothing_leaks(lab: Lab) -> None:
    assert lab["node"].run(("ip", "netns", "delete", "pr-relay")).returncode == 0
    deadline = time.monotonic() + PATIENCE_S
    while status(lab)["pending"]:
        assert time.monotonic() < deadline, status(lab)
    report = run_check(lab)
    assert report.tcp, report.problems
    assert (report.cleartext_packets, report.foreign_packets) == (0, 0), report.problems


def test_it_is_taken_down_with_the_node(lab: Lab) -> None:
    assert run(lab, "down").returncode == 0
    assert "pr-" not in lab["node"].run(("ip", "netns", "list")).stdout
    assert lab["node"].run(("pgrep", "-f", "sleep infinity")).stdout == ""
    assert not lab["node"].file(Path("/run/privacy-router/relay.json")).exists()
