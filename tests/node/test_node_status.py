"""What `status` says of what it was told and of what it could not read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy_router.client.status import HopStatus
from privacy_router.errors import StorageError
from privacy_router.node.health import Told
from privacy_router.node.status import _or_trouble, _state

HOP = HopStatus("xray", "up", "", "internal_101", 0, 0, None, None, [])


@pytest.mark.parametrize(
    ("hop_state", "proven", "whole", "up", "state"),
    [
        ("up", True, True, True, "up"),
        ("quiet", True, True, True, "up"),  # the gateway, while no client sends
        ("quiet", False, True, True, "quiet"),
        ("up", False, True, True, "quiet"),
        ("down", True, True, True, "degraded"),
        ("degraded", True, True, True, "degraded"),
        ("up", True, False, True, "degraded"),  # no controller, a difference, a watch that ended
        ("quiet", False, False, False, "down"),
    ],
)
def test_ok_is_what_has_passed_packets(
    hop_state: str, proven: bool, whole: bool, up: bool, state: str
) -> None:
    hops = [replace(HOP, state=hop_state)]
    assert _state(hops, Told(proven, (), {}), up=up, whole=whole) == state


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StorageError("the database is damaged"), "the database is damaged"),
        (AttributeError("odd"), "a defect: AttributeError: odd"),
        (RecursionError("deep"), "a defect: RecursionError: deep"),
    ],
)
def test_what_cannot_be_read_is_told_and_not_raised(error: Exception, words: str) -> None:
    trouble: list[str] = []

    def read() -> int:
        raise error

    assert _or_trouble(read, "the node", trouble) is None
    assert trouble == [f"the node could not be read: {words}"]
    assert _or_trouble(lambda: 7, "the node", trouble) == 7
