"""What versions of libnftables list differently is read as the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from privacy_router.host.nftables import with_meters

KEY = {"payload": {"protocol": "ip", "field": "saddr"}}
COUNT = {"ct count": {"val": 1024, "inv": True}}
PLACE = {"family": "inet", "table": "privacy_router"}
METER = {"meter": {"name": "busy4", "size": 65535, "key": KEY, "stmt": COUNT}}
NEW = {"match": {"left": {"ct": {"key": "state"}}, "op": "in", "right": "new"}}


def rule(*expressions: Any) -> dict[str, Any]:
    return {"rule": {**PLACE, "chain": "forward", "expr": [NEW, *expressions, {"drop": None}]}}


# of libnftables 1.1.3, Debian 13
SET = {**PLACE, "name": "busy4", "type": "ipv4_addr", "size": 65535, "flags": ["dynamic"]}
ADDS = {"op": "add", "elem": KEY, "set": "@busy4", "stmt": [COUNT]}
SENDERS = [{"elem": {"val": "10.101.0.2", "ct count": {"val": 1024, "inv": True}}}]


@pytest.mark.parametrize("content", [{}, {"elem": SENDERS}])
def test_a_meter_is_read_as_it_was_written(content: dict[str, Any]) -> None:
    listed = [{"set": {**SET, **content}}, rule({"set": ADDS})]
    before = copy.deepcopy(listed)
    assert with_meters(listed) == [rule(METER)]
    assert listed == before


def test_a_meter_of_an_older_library_stays() -> None:
    assert with_meters([rule(METER)]) == [rule(METER)]


@pytest.mark.parametrize(
    "listed",
    [
        [{"set": SET}],  # no rule uses it
        [{"set": {**SET, "flags": ["dynamic", "timeout"]}}, rule({"set": ADDS})],
        [{"set": {**SET, "timeout": 3}}, rule({"set": ADDS})],
        [{"set": SET}, rule({"set": {**ADDS, "op": "update"}})],
        [{"set": SET}, rule({"set": {**ADDS, "stmt": [COUNT, COUNT]}})],
        [{"set": SET}, rule({"set": {**ADDS, "stmt": None}})],
        [{"set": SET}, rule({"set": None}, None, "odd")],
        [rule({"set": ADDS})],
    ],
)
def test_what_others_made_of_it_is_seen(listed: list[dict[str, Any]]) -> None:
    assert with_meters(listed) == listed


def test_another_size_is_another_meter() -> None:
    listed = [{"set": {**SET, "size": 7}}, rule({"set": ADDS})]
    assert with_meters(listed) != [rule(METER)]
