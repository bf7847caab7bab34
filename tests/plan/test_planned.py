"""A plan with keys that are not known says which items depend on them, and no others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from privacy_router.hops.keys import Part, PlanningKeys
from privacy_router.plan.compile import compile_node, plan_node
from privacy_router.plan.desired import DesiredState
from tests.plan.hop_sets import HOP_SETS, config_of
from tests.plan.node_keys import FACTS, KEYS

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig

WHY = "its file is not opened"
DEPENDS = {
    Part.GATEWAY: ["pr-gateway tunnel wg100"],
    Part.WARP: [
        "host firewall privacy_router_guard_warp",
        "pr-warp address 172.16.0.2/32 on wgcf",
        "pr-warp address 2606:4700:110::2/128 on wgcf",
        "pr-warp rule 130: inet from 172.16.0.2/32 lookup 103",
        "pr-warp rule 130: inet6 from 2606:4700:110::2/128 lookup 103",
        "pr-warp tunnel wgcf",
    ],
    Part.XRAY: ["node process xray"],
}
USED_BY = {Part.GATEWAY: "gateway", Part.WARP: "warp", Part.XRAY: "xray"}


def planning(**stand_ins: str) -> PlanningKeys:
    parts = {Part(name): why for name, why in stand_ins.items()}
    return PlanningKeys(KEYS.gateway_private_key, KEYS.warp, KEYS.xray, KEYS.clients, parts)


@pytest.mark.parametrize("part", DEPENDS)
@pytest.mark.parametrize("hops", HOP_SETS)
def test_what_depends_on_an_unknown_key_is_marked(hops: str, part: Part) -> None:
    config = config_of(**HOP_SETS[hops])
    plan = plan_node(config, planning(**{part.value: WHY}), FACTS)
    marked = sorted(f"{k.where} {k.kind.name.lower()} {k.name}" for k in plan.stand_ins)
    assert marked == (DEPENDS[part] if USED_BY[part] in hops.split() else [])
    assert {plan.unknown(key) for key in plan.items} == ({"", WHY} if marked else {""})
    assert plan.items == compile_node(config, KEYS, FACTS).items


def test_each_unknown_key_keeps_its_own_reason() -> None:
    config = config_of(**HOP_SETS["gateway warp xray"])
    plan = plan_node(config, planning(gateway="lost", warp="kept back", xray="damaged"), FACTS)
    assert Counter(plan.stand_ins.values()) == {
        "lost": 1,
        "kept back": len(DEPENDS[Part.WARP]),
        "damaged": 1,
    }


def test_a_plan_is_no_state_to_apply(config: PrivacyRouterConfig) -> None:
    assert not isinstance(plan_node(config, planning(), FACTS), DesiredState)


def test_another_stand_in_differs_in_its_part_alone() -> None:
    keys = planning()
    assert keys.warp is not None
    for part, field in (
        (Part.GATEWAY, "gateway_private_key"),
        (Part.WARP, "warp"),
        (Part.XRAY, "xray"),
    ):
        other = keys.with_another(part)
        assert getattr(other, field) != getattr(keys, field)
        assert replace(other, **{field: getattr(keys, field)}) == keys
    tunnel = keys.with_another(Part.WARP).warp
    assert tunnel is not None
    assert str(tunnel.endpoint[0]) == "192.0.2.2"
