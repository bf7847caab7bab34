"""`flows trace` on a node that runs: the switch agrees, or the command says where it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
OUT = "in_port=internal_100,tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443"
BACK = "in_port=warp0,tcp,nw_src=198.18.0.1,nw_dst=10.101.0.2,tp_src=443,tcp_flags=syn|ack"
SPOOFED = "in_port=internal_100,udp,nw_src=192.0.2.1,nw_dst=198.18.0.1,tp_dst=53"


def trace(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    result: subprocess.CompletedProcess[str] = lab["node"].run(
        ("privacy-router", "flows", "trace", *arguments)
    )
    return result


def traced(lab: Lab, *arguments: str) -> dict[str, Any]:
    result = trace(lab, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("packet", "states", "end"),
    [
        (OUT, ["new"], "sent out of warp0"),
        (OUT, ["est"], "sent out of warp0"),
        (OUT, ["inv"], "dropped in table state"),
        (BACK, ["est,rpl"], "sent out of internal_100"),
        (BACK, ["new"], "dropped in table state"),
        (SPOOFED, ["new"], "dropped in table sources"),
    ],
    ids=["out", "out, known", "out, invalid", "back", "back, unknown", "spoofed"],
)
def test_the_running_switch_does_what_is_compiled(
    lab: Lab, packet: str, states: list[str], end: str
) -> None:
    options = [word for state in states for word in ("--ct-state", state)]
    found = traced(lab, packet, "--live", *options)
    assert found["differences"] == []
    assert found["summary"].startswith(end)


@pytest.fixture
def shadow(lab: Lab) -> Iterator[None]:
    """A flow of another controller's in front of ours, which the controller leaves alone."""
    flow = f"table={number_of('security')},cookie=0x1234"
    ofctl = ("ovs-ofctl", "-O", "OpenFlow13")
    lab["node"].run((*ofctl, "add-flow", SWITCH, f"{flow},priority=999,tcp,actions=drop"))
    yield
    lab["node"].run((*ofctl, "del-flows", SWITCH, f"{flow}/-1"))


@pytest.mark.usefixtures("shadow")
def test_a_switch_that_does_something_else_is_found_out(lab: Lab) -> None:
    result = trace(lab, OUT, "--live")
    assert result.returncode == ExitCode.CHECK_FAILED
    assert "different on the switch: table security: the compiled pipeline goes on" in result.stdout
    assert "the switch drops it by «tcp» of priority 999" in result.stdout
    assert trace(lab, OUT).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [("in_port=internal_7,tcp",), (OUT, "--ct-state", "old"), ("in_port=warp0,tpc",)],
    ids=["no such port", "no such state", "no such protocol"],
)
def test_what_cannot_be_traced_is_a_usage_error(lab: Lab, arguments: tuple[str, ...]) -> None:
    result = trace(lab, *arguments)
    assert result.returncode == ExitCode.INVALID_CONFIG
    assert "remedy:" in result.stderr
