"""Promise 2: what is changed by hand is noticed and put right, without waiting for a timer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.pipeline.tables import number_of

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PRIVACY = number_of("privacy")
SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
NOTICED_WITHIN_S = 5.0  # far below the controller's full pass every 30 s


def flow_count(lab: Lab) -> int:
    result = lab["node"].run(("privacy-router", "flows", "dump", "--json"))
    return len(json.loads(result.stdout))


def ofctl(lab: Lab, *arguments: str) -> None:
    result = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", *arguments))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "damage",
    [
        ("del-flows", SWITCH),
        ("del-flows", SWITCH, f"table={PRIVACY}"),
        ("mod-flows", SWITCH, f"table={PRIVACY},in_port=1,actions=drop"),
        ("-O", "OpenFlow13", "del-meters", SWITCH),
    ],
    ids=["all deleted", "one table deleted", "redirected", "meters deleted"],
)
def test_flows_changed_by_hand_come_back(lab: Lab, damage: tuple[str, ...]) -> None:
    before = flow_count(lab)
    assert before > 20
    ofctl(lab, *damage)
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while lab["node"].run(("privacy-router", "plan")).stdout.count("nothing to change") == 0:
        assert time.monotonic() < deadline
    assert flow_count(lab) == before


def test_other_owners_flows_are_left_alone(lab: Lab) -> None:
    flow = "cookie=0x1234,table=0,priority=7,in_port=77,actions=drop"
    ofctl(lab, "add-flow", SWITCH, flow)
    ofctl(lab, "del-flows", SWITCH, f"table={PRIVACY}")
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while lab["node"].run(("privacy-router", "plan")).stdout.count("nothing to change") == 0:
        assert time.monotonic() < deadline
    dump = lab["node"].run(("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", SWITCH)).stdout
    assert "cookie=0x1234" in dump
