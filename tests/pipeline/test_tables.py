"""A declaration of tables that could send a packet back does not load."""

from __future__ import annotations

import pytest

from privacy_router.pipeline import tables
from privacy_router.pipeline.allocation import OWNER, Layer, layer_of, tracking_zone
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


def test_hops_that_are_never_neighbours_have_no_zone() -> None:
    assert tracking_zone("warp", "xray") == tracking_zone("xray", "warp")
    with pytest.raises(ValueError, match="gateway and exit are never neighbours"):
        tracking_zone("gateway", "exit")
