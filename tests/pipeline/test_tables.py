"""A declaration of tables that could send a packet back does not load."""

from __future__ import annotations

from itertools import combinations

import pytest

from privacy_router.chain.stations import ROLES_MOST, Role, Task
from privacy_router.pipeline import tables
from privacy_router.pipeline.allocation import (
    MESH_TRACKING_ZONE,
    OWNER,
    Layer,
    layer_of,
    tracking_zone,
)
from privacy_router.pipeline.tables import Table


def table(name: str, miss: str | None, *onward: str) -> Table:
    return Table(name, "", miss, onward)


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ((table("a", None, "b"), table("b", None)), None),
        ((table("a", "b", "b"), table("b", None)), None),
        ((table("a", "c", "b"), table("b", None)), "a misses into c, which is not declared"),
        ((table("a", None, "c"), table("b", None)), "a leads back to c"),
        ((table("a", None, "a"),), "a leads back to a"),
        ((table("a", None), table("b", None, "a")), "b leads back to a"),
    ],
    ids=["onward", "a miss onward", "a miss to nowhere", "to nowhere", "to itself", "back"],
)
def test_declared_tables_lead_onward_only(
    monkeypatch: pytest.MonkeyPatch, declared: tuple[Table, ...], complaint: str | None
) -> None:
    monkeypatch.setattr(tables, "TABLES", declared)
    monkeypatch.setattr(tables, "_NUMBERS", {each.name: n for n, each in enumerate(declared)})
    if complaint is None:
        tables.check_declarations()
        return
    with pytest.raises(ValueError, match=complaint):
        tables.check_declarations()


def test_a_cookie_of_a_later_version_is_ours_and_of_no_layer_that_is_known() -> None:
    assert layer_of(OWNER | (0xFF << 32)) is None
    assert layer_of(0x1234) is None
    assert [layer_of(OWNER | (layer.value << 32)) for layer in Layer] == list(Layer)


def test_each_pair_of_roles_has_a_zone_of_its_own_in_either_order() -> None:
    roles = [Role(f"role {number}", number, Task.RELAY) for number in range(1, ROLES_MOST + 1)]
    pairs = list(combinations(roles, 2))
    zones = [tracking_zone(one, other) for one, other in pairs]
    assert len(set(zones)) == len(pairs)
    assert [tracking_zone(other, one) for one, other in pairs] == zones
    assert min(zones) > MESH_TRACKING_ZONE
    warp, gateway, xray, exit_ = roles[:4]
    # what the datapath may remember of a version before zones followed from roles
    known = ((gateway, warp), (warp, xray), (gateway, xray), (xray, exit_))
    assert [tracking_zone(*pair) - MESH_TRACKING_ZONE for pair in known] == [1, 2, 3, 4]
