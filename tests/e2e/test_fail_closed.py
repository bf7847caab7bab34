"""Promise 1: nothing leaks, whatever is killed; and the traffic comes back by itself.

The table of what may leave in which state is docs/security.md; this asserts it with captures on
every link while a client sends all the time.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest

from privacy_router.lab import internet, stage, traffic
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

RECOVERY_LIMIT_S = 5.0
TRAFFIC_S = 9
KILL_AFTER_S = 2.5

VICTIMS = ["wg100", "wgcf", "xray", "ovs-vswitchd", "ovsdb-server"]


def node_status(lab: Lab) -> dict[str, Any]:
    result = lab["node"].run(("privacy-router", "status", "--json"))
    status: dict[str, Any] = json.loads(result.stdout)
    return status


def kill_in_node(lab: Lab, pid: int) -> None:
    result = lab["node"].run(("kill", "-KILL", str(pid)))
    assert result.returncode == 0, result.stderr


class Sender:
    """A client that sends all the time, UDP and TCP, whatever becomes of it."""

    def __init__(self, lab: Lab, token: str) -> None:
        argv = ("python", "-P", "-m", "privacy_router.lab.traffic", token, str(TRAFFIC_S), "50")
        self._process = lab["client"].popen(argv, stdout=subprocess.PIPE)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_until_warm(self) -> None:
        """Return once the traffic flowed for a while: only then is a killing worth measuring."""
        remaining_s = self._started + KILL_AFTER_S - time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            self._process.wait(remaining_s)

    def results(self) -> list[dict[str, Any]]:
        """The fate of every request."""
        output, _ = self._process.communicate(timeout=TRAFFIC_S + 10)
        assert self._process.returncode == 0
        return [json.loads(line) for line in output.decode().splitlines()]


@contextmanager
def under_traffic(lab: Lab) -> Iterator[tuple[Captures, Sender]]:
    """Captures on every link and a client that has been sending for a while."""
    token = new_token()
    with (
        Captures(lab.hosts, rules_for(lab.config, token)) as captures,
        Sender(lab, token) as sender,
    ):
        sender.wait_until_warm()
        yield captures, sender


def assert_recovered(results: list[dict[str, Any]]) -> None:
    for kind in ("udp", "tcp"):
        assert sum(line["ok"] for line in results if line["kind"] == kind) > 30
        outage_s = traffic.longest_outage_s(results, kind)
        print(f"{kind}: longest outage {outage_s:.2f} s")
        assert outage_s <= RECOVERY_LIMIT_S


def assert_nothing_leaked(captures: Captures) -> None:
    assert captures.dropped == 0
    assert captures.cleartext_packets == 0, captures.examples
    assert captures.foreign_packets == 0, captures.examples
    # the same captures do see the payload where it belongs, so they would have seen a leak
    assert captures.evidence[internet.cable("vps", "web").name].payload_packets > 30


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_part_leaks_nothing_and_comes_back(lab: Lab, victim: str) -> None:
    before = node_status(lab)
    with under_traffic(lab) as (captures, sender):
        kill_in_node(lab, before["processes"][victim])
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)
    after = node_status(lab)
    assert after["processes"][victim] != before["processes"][victim]
    assert after["pending"] == []


@pytest.mark.parametrize("namespace", ["pr-gateway", "pr-warp", "pr-xray", "pr-switch"])
def test_a_deleted_namespace_leaks_nothing_and_comes_back(lab: Lab, namespace: str) -> None:
    with under_traffic(lab) as (captures, sender):
        found = lab["node"].run(("ip", "netns", "delete", namespace))
        assert found.returncode == 0, found.stderr
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)
    assert node_status(lab)["pending"] == []


TAMPERING = ("nft flush ruleset", "ip rule flush", "ip -6 rule flush", "ip route flush table main")


def test_tampering_with_the_hops_leaks_nothing_and_is_put_right(lab: Lab) -> None:
    with under_traffic(lab) as (captures, sender):
        for namespace in ("pr-gateway", "pr-warp", "pr-xray", "pr-switch"):
            for tampering in TAMPERING:
                command = ("ip", "netns", "exec", namespace, *tampering.split())
                found = lab["node"].run(command)
                assert found.returncode == 0, found.stderr
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)
    assert node_status(lab)["pending"] == []


def test_a_killed_xray_server_leaks_nothing_and_the_chain_takes_it_back(lab: Lab) -> None:
    with under_traffic(lab) as (captures, sender):
        found = lab["vps"].run(("pkill", "-KILL", "-f", "hops.xray.runner"))
        assert found.returncode == 0
        stage.start_vps(lab)
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)


def test_without_its_controller_the_tunnel_works_on_and_another_takes_over(lab: Lab) -> None:
    before = node_status(lab)
    with under_traffic(lab) as (captures, sender):
        kill_in_node(lab, before["controller_pid"])
        assert node_status(lab)["controller_pid"] is None
        stage.node_command(lab, ("up", "--detach", "--wait", "0"))
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)
    after = node_status(lab)
    assert after["processes"] == before["processes"], "the new controller adopts what runs"
    assert after["ok"]


def test_what_dies_while_there_is_no_controller_stays_closed_and_is_repaired_later(
    lab: Lab,
) -> None:
    before = node_status(lab)
    with under_traffic(lab) as (captures, sender):
        kill_in_node(lab, before["controller_pid"])
        kill_in_node(lab, before["processes"]["xray"])
        kill_in_node(lab, before["processes"]["ovs-vswitchd"])
        stage.node_command(lab, ("up", "--detach", "--wait", "0"))
        results = sender.results()
    assert_nothing_leaked(captures)
    assert_recovered(results)
    assert node_status(lab)["ok"]


def test_going_down_and_coming_up_under_traffic_leaks_nothing(lab: Lab) -> None:
    with under_traffic(lab) as (captures, sender):
        stage.node_command(lab, ("down",))
        stage.node_command(lab, ("up", "--detach", "--wait", "0"))
        results = sender.results()
    assert_nothing_leaked(captures)
    assert any(not line["ok"] for line in results), "while it was down nothing came through"
    assert node_status(lab)["ok"]
