"""A change of the chain: what is made before the tunnel closes, behind it, and after it opened."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from privacy_router.plan.compile import compile_node
from privacy_router.plan.stages import Stages, in_stages, is_guard
from privacy_router.values.items import HOST, Kind, diff
from privacy_router.values.processes import ProcessKey
from tests.plan.hop_sets import HOP_SETS, config_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.hops.keys import NodeFacts, NodeKeys
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change

CHANGES = list(permutations(HOP_SETS, 2))
ON_THE_WAY = {
    Kind.PORT,
    Kind.DEVICE,
    Kind.ADDRESS,
    Kind.NEIGHBOUR,
    Kind.ROUTE,
    Kind.RULE,
    Kind.FIREWALL,
    Kind.SETTING,
}


def change_of(old: DesiredState, new: DesiredState) -> list[Change]:
    """What a node that is `old` is told to change, as it is observed: of a namespace that goes,
    only that it is there."""
    gone = {key.name for key in old.items if key.kind is Kind.NAMESPACE} - {
        key.name for key in new.items if key.kind is Kind.NAMESPACE
    }
    seen = {
        key: value
        for key, value in old.items.items()
        if key.where not in gone or key.kind is Kind.NAMESPACE
    }
    return diff(new.items, seen)


def stages_between(
    one: dict[str, object], other: dict[str, object], keys: NodeKeys, facts: NodeFacts
) -> tuple[DesiredState, DesiredState, Stages]:
    old = compile_node(config_of(**one), keys, facts)
    new = compile_node(config_of(**other), keys, facts)
    return old, new, in_stages(change_of(old, new))


def kinds(changes: Iterable[Change]) -> set[Kind]:
    return {change.key.kind for change in changes}


@pytest.mark.parametrize(("one", "other"), CHANGES)
def test_nothing_of_the_old_chain_is_touched_before_the_tunnel_is_closed(
    one: str, other: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    old, _, stages = stages_between(HOP_SETS[one], HOP_SETS[other], keys, facts)
    places = {key.where for key in old.items if key.kind is Kind.NAMESPACE}
    for change in stages.before:
        harmless = change.key.kind in {Kind.TUNNEL, Kind.PROCESS} or is_guard(change)
        assert harmless or change.key.where not in {HOST, *places}
        assert change.before is None or change.key.kind is Kind.TUNNEL
    assert stages.during, "another set of hops is another chain"
    assert not kinds(stages.after) & ON_THE_WAY - {Kind.FIREWALL}


@pytest.mark.parametrize(("one", "other"), CHANGES)
def test_every_change_is_in_one_stage(
    one: str, other: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    old, new, stages = stages_between(HOP_SETS[one], HOP_SETS[other], keys, facts)
    together = [*stages.before, *stages.during, *stages.after]
    assert sorted(c.key for c in together) == sorted(c.key for c in change_of(old, new))
    assert {c.key for c in stages.ending} <= {c.key for c in stages.during}


@pytest.mark.parametrize(("one", "other"), CHANGES)
def test_a_new_hop_is_ready_but_for_its_port_before_the_tunnel_closes(
    one: str, other: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    old, new, stages = stages_between(HOP_SETS[one], HOP_SETS[other], keys, facts)
    ports = {port.name for port in new.bridge.ports}
    fresh = {key.where for key in new.items if key.kind is Kind.NAMESPACE} - {
        key.where for key in old.items if key.kind is Kind.NAMESPACE
    }
    late = [c for c in stages.during if c.key.where in fresh and c.key.kind is not Kind.PORT]
    for change in late:
        text = f"{change.key.name} {change.after}"
        assert any(port in text for port in ports), change.key


@pytest.mark.parametrize("hops", HOP_SETS)
@pytest.mark.parametrize(
    "section",
    [
        {"openflow": {"rates": {"icmp": 33}}},
        {"openflow": {"obfuscation_level": 2}},
        {"openflow": {"fragments": "reassemble"}},
    ],
)
def test_another_level_or_rate_changes_flows_alone_and_never_closes_the_tunnel(
    hops: str, section: dict[str, object], keys: NodeKeys, facts: NodeFacts
) -> None:
    _, _, stages = stages_between(HOP_SETS[hops], {**HOP_SETS[hops], **section}, keys, facts)
    assert stages == Stages()


@pytest.mark.parametrize("hops", ["gateway warp xray", "gateway xray", "gateway warp"])
def test_another_segment_is_guarded_twice_while_it_changes(
    hops: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    another = {**HOP_SETS[hops], "transit_subnet": "10.202.0.0/24"}
    _, _, stages = stages_between(HOP_SETS[hops], another, keys, facts)
    (added,) = [change for change in stages.before if is_guard(change)]
    (removed,) = [change for change in stages.after if is_guard(change)]
    assert "10.202.0.0" in str(added.after)
    assert "10.102.0.0" in str(removed.before)
    assert not [change for change in stages.during if is_guard(change)]
    assert Kind.ADDRESS in kinds(stages.during)


def test_xray_is_started_anew_with_another_way_out_and_not_else(
    keys: NodeKeys, facts: NodeFacts
) -> None:
    whole, exit_ = HOP_SETS["gateway warp xray"], HOP_SETS["gateway xray"]
    old, new, stages = stages_between(whole, exit_, keys, facts)
    assert "xray" in {c.key.name for c in stages.during if c.key.kind is Kind.PROCESS}
    assert old.processes["xray"].fingerprint != new.processes["xray"].fingerprint
    old, new, _ = stages_between(
        whole, {**whole, "openflow": {"rates": {"dns": None}}}, keys, facts
    )
    assert old.processes["xray"].fingerprint == new.processes["xray"].fingerprint


@pytest.mark.parametrize("hops", ["gateway warp", "gateway xray"])
def test_an_xray_that_goes_or_is_started_anew_ends_while_the_old_way_is_open(
    hops: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    _, _, stages = stages_between(HOP_SETS["gateway warp xray"], HOP_SETS[hops], keys, facts)
    (ending,) = [change for change in stages.ending if change.key.name == "xray"]
    assert ending.before is not None
    assert ending.after is None
    assert "xray" not in {c.key.name for c in (*stages.before, *stages.after)}


def test_a_program_of_a_new_hop_starts_before_the_tunnel_closes_and_one_that_changes_behind_it(
    keys: NodeKeys, facts: NodeFacts
) -> None:
    without, whole = HOP_SETS["gateway warp"], HOP_SETS["gateway warp xray"]
    _, _, stages = stages_between(without, whole, keys, facts)
    xray = ProcessKey("xray")
    assert xray in {change.key for change in stages.before}
    _, _, stages = stages_between(whole, HOP_SETS["gateway xray"], keys, facts)
    assert xray in {change.key for change in stages.during}
    (ended,) = [change for change in stages.ending if change.key == xray]
    assert (ended.before is None, ended.after) == (False, None)
