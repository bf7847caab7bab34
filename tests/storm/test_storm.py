"""A handful of faults and changes in a lab, so that the harness itself does not rot."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import stage
from privacy_router.lab.check import new_token

from . import changes
from .by_hand import UDP, frame
from .faults import every_fault
from .judge import Verdict, rules_for
from .outcome import Limits, Outcome
from .storm import storm
from .watch import Ears, Load

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FAULTS = (
    "kill xray",
    "kill ovs-vswitchd",
    "kill controller",
    "pr-warp firewall flushed",
    "warp0 down",
    "flows all gone",
    "port warp0 deleted",
    "pr-gateway deleted",
    "ISP loses to-node",
)


def lab_name(kind: str) -> str:
    return f"t{os.getpid()}-{kind}"


def test_a_handful_of_faults_leaks_nothing_and_heals() -> None:
    by_name = {fault.name: fault for fault in every_fault()}
    outcome = Outcome(0, Limits(judged=False))
    drawn = iter([(by_name[name],) for name in FAULTS])
    storm(lab_name("storm"), outcome, drawn, faults=len(FAULTS), seconds=200, patience_s=60)
    assert outcome.failures == []
    assert outcome.faults == len(FAULTS)
    assert not any(healing.said for healing in outcome.healings), "the faults' own commands work"
    assert outcome.sizes[0]["before"].keys() == outcome.sizes[-1]["after"].keys()


@pytest.fixture
def lab() -> Iterator[stage.Lab]:
    name = lab_name("changes")
    try:
        yield stage.up(name)
    finally:
        stage.down(name)


def test_the_captures_see_a_leak_that_is_made_on_purpose(lab: stage.Lab) -> None:
    """A packet in clear, untranslated and to a stranger, put on the uplink past all firewalls."""
    token = new_token()
    leak = frame("10.101.0.2", "198.18.9.9", UDP, 53, token.encode())
    send = (
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); "
        f"s.bind(('to-isp', 0)); s.send(bytes.fromhex('{leak.hex()}'))"
    )
    with Ears(lab, rules_for(lab.config, token)) as ears, Load(lab, token) as load:
        assert not load.wait(0.0, 10.0)
        assert ears.tally.verdicts == {}
        sent = lab["node"].run(("python", "-c", send))
        assert sent.returncode == 0, sent.stderr
        assert not load.wait(time.monotonic(), 10.0)
    for verdict in Verdict:
        assert ears.tally.total(verdict) == 1, verdict


def test_a_handful_of_changes_is_applied_and_judged(lab: stage.Lab) -> None:
    outcome = changes.run(lab, seed=4, changes=4, seconds=100)
    assert len(outcome.changes) == 4
    assert all(change.applied_s is not None for change in outcome.changes)
    assert outcome.payload_seen
    assert outcome.frames_lost == 0
    assert "seed 4: 4 changes" in changes.show(outcome)
