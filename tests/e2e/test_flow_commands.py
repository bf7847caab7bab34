"""`flows diff`, `explain` and `watch` on a node that is up, and what they say of others' doings."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from typing import IO, TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.hops.gateway.hop import GATEWAY_ROLE
from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
DATABASE = "unix:/run/privacy-router/ovs/db.sock"
FROM_WARP = f"table={number_of('privacy')},priority=100,in_port={WARP_ROLE.ofport}"
NEW_FLOW = f"table={number_of('security')},priority=7,in_port={GATEWAY_ROLE.ofport},actions=drop"
OURS, ANOTHERS = "0x5052000200000000", "0x1234"
REPAIRED_WITHIN_S = 10.0


def flows(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab["node"].run(("privacy-router", "flows", *arguments))


def ask(lab: Lab, *arguments: str) -> Any:
    result = flows(lab, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ofctl(lab: Lab, *arguments: str) -> None:
    result = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", *arguments))
    assert result.returncode == 0, result.stderr


def status(lab: Lab) -> Any:
    return json.loads(lab["node"].run(("privacy-router", "status", "--json", "--no-probe")).stdout)


@contextlib.contextmanager
def controller_asleep(lab: Lab) -> Iterator[None]:
    """The controller stands still meanwhile, and repairs nothing."""
    pid = str(status(lab)["controller_pid"])
    assert lab["node"].run(("kill", "-STOP", pid)).returncode == 0
    try:
        yield
    finally:
        assert lab["node"].run(("kill", "-CONT", pid)).returncode == 0


@contextlib.contextmanager
def watching(lab: Lab, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """`flows watch` that has begun to watch."""
    argv = ("privacy-router", "flows", "watch", "--json", *options)
    with lab["node"].popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["text"] == "watching"
            yield process, process.stdout
        finally:
            process.kill()


# --- diff ----------------------------------------------------------------------------------------


def test_a_fresh_node_has_no_differences(lab: Lab) -> None:
    told = flows(lab, "diff")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "as it should be" in told.stdout
    assert ask(lab, "diff") == {"changes": []}


def test_what_somebody_changed_is_named_and_then_repaired(lab: Lab) -> None:
    with controller_asleep(lab):
        ofctl(lab, "--strict", "del-flows", SWITCH, FROM_WARP)
        ofctl(lab, "add-flow", SWITCH, f"cookie={OURS},{NEW_FLOW}")
        told = flows(lab, "diff")
        changes = json.loads(flows(lab, "diff", "--json").stdout)["changes"]
    assert told.returncode == ExitCode.CHECK_FAILED, told.stderr
    assert "privacy priority=100,in_port=warp0 → output:internal_101  is missing" in told.stdout
    assert "security priority=7,in_port=internal_100 → drop  should not be there" in told.stdout
    assert "2 difference(s)" in told.stdout
    assert [change["verb"] for change in changes] == ["remove", "add"]
    deadline = time.monotonic() + REPAIRED_WITHIN_S
    while flows(lab, "diff").returncode:
        assert time.monotonic() < deadline


def test_a_flow_of_another_program_is_no_difference(lab: Lab) -> None:
    ofctl(lab, "add-flow", SWITCH, f"cookie={ANOTHERS},{NEW_FLOW}")
    assert ask(lab, "diff") == {"changes": []}
    ofctl(lab, "del-flows", SWITCH, f"cookie={ANOTHERS}/-1")


# --- dump and explain ----------------------------------------------------------------------------


def test_one_table_is_dumped_with_the_keys_that_ask_for_its_flows(lab: Lab) -> None:
    rows = ask(lab, "dump", "--table", "rates")
    assert {row["table"] for row in rows} == {"rates"}
    assert {"openflow.rates.icmp", "openflow.rates.syn"} <= {row["origin"] for row in rows}
    assert "openflow.rates.dns" in flows(lab, "dump", "--table", "rates").stdout


def test_explain_speaks_of_the_ports_that_are_there(lab: Lab) -> None:
    told = flows(lab, "explain", "privacy")
    assert told.returncode == 0, told.stderr
    assert "Packets from internal_100 leave by warp0." in told.stdout
    assert "the node is down" not in told.stderr
    assert {row["port"] for row in ask(lab, "explain", "rates")} >= {"warp0", "internal_101"}


# --- watch ---------------------------------------------------------------------------------------


def test_watch_tells_whose_flow_came_and_ends_after_so_many(lab: Lab) -> None:
    with watching(lab, "--count", "1") as (process, output):
        ofctl(lab, "add-flow", SWITCH, f"cookie={ANOTHERS},{NEW_FLOW}")
        change = json.loads(output.readline())
        assert process.wait(10) == 0
    assert change["event"] == "added"
    assert (change["table"], change["priority"]) == ("security", 7)
    assert (change["match"], change["actions"]) == ("in_port=internal_100", "drop")
    assert (change["whose"], change["cookie"]) == ("another program", ANOTHERS)
    ofctl(lab, "del-flows", SWITCH, f"cookie={ANOTHERS}/-1")


def test_watch_tells_what_is_taken_and_put_back(lab: Lab) -> None:
    with watching(lab, "--count", "2") as (process, output):
        ofctl(lab, "--strict", "del-flows", SWITCH, FROM_WARP)
        changes = [line for line in map(json.loads, output) if line["event"] != "port"]
        assert process.wait(10) == 0
    assert [change["event"] for change in changes] == ["removed", "added"]
    assert {change["match"] for change in changes} == {"in_port=warp0"}
    assert {change["whose"] for change in changes} == {"privacy-router, privacy"}
    assert all(change["reason"] != "not of this configuration" for change in changes)


def test_watch_tells_that_a_port_gets_and_loses_its_flows(lab: Lab) -> None:
    vsctl = ("ovs-vsctl", f"--db={DATABASE}")
    port = ("internal_250", "--", "set", "interface", "internal_250", "type=internal")
    with watching(lab, "--seconds", "20") as (_, output):
        made = lab["node"].run((*vsctl, "add-port", "ovsbr0", *port))
        assert made.returncode == 0, made.stderr
        came = next(line for line in map(json.loads, output) if line["event"] == "port")
        removed = lab["node"].run((*vsctl, "del-port", "ovsbr0", "internal_250"))
        assert removed.returncode == 0, removed.stderr
        went = next(line for line in map(json.loads, output) if line["event"] == "port")
    assert (came["port"], came["removed"]) == ("internal_250", 0)
    assert (went["port"], went["added"], went["removed"]) == ("internal_250", 0, came["added"])
    assert came["added"] > 10


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("timeout", "--preserve-status", "--signal", "INT", "3"), 130),
        (("env",), 0),
    ],
    ids=["interrupted", "time is up"],
)
def test_watch_ends_quietly(lab: Lab, command: tuple[str, ...], code: int) -> None:
    seconds = () if code else ("--seconds", "1")
    told = lab["node"].run((*command, "privacy-router", "flows", "watch", *seconds))
    assert told.returncode == code, told.stderr
    assert "Traceback" not in told.stderr
    assert "watching" in told.stdout
    assert "\x1b" not in told.stdout


def test_watch_waits_for_a_switch_that_is_started_again(lab: Lab) -> None:
    pid = str(status(lab)["processes"]["ovs-vswitchd"])
    with watching(lab, "--seconds", "30") as (_, output):
        assert lab["node"].run(("kill", "-KILL", pid)).returncode == 0
        notes = (line["text"] for line in map(json.loads, output) if line["event"] == "note")
        assert "waiting for Open vSwitch" in next(notes)
        assert "Open vSwitch is back" in next(notes)
