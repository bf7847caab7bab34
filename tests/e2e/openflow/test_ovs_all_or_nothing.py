"""Whatever goes wrong in a bundle, the flows that were in force stay in force."""

from __future__ import annotations

import pytest
from private_ovs import DELETE_ALL, TCP, Ovs

from privacy_router.openflow import (
    ApplyActions,
    Conjunction,
    FlowMod,
    FlowModFlag,
    GotoTable,
    Group,
    Match,
    MatchItem,
    Meter,
    MeterMod,
    SwitchError,
)
from privacy_router.openflow.channel import Channel
from privacy_router.openflow.fields import FIELDS

pytestmark = pytest.mark.e2e

# --- all or nothing -----------------------------------------------------------------------------


def forged_without_prerequisite() -> Match:
    return Match.of_items([MatchItem(FIELDS["tcp_dst"], 80, None)])


LONELY = Conjunction(7, 0, 1)  # there must be two at least

BAD = {
    "BAD_ACTION.BAD_CONJUNCTION": FlowMod(Match(), (ApplyActions((LONELY,)),)),
    "BAD_MATCH.BAD_PREREQ": FlowMod(forged_without_prerequisite()),
    "BAD_ACTION.BAD_OUT_GROUP": FlowMod(Match(), (ApplyActions((Group(77),)),)),
    "METER_MOD_FAILED.INVALID_METER": FlowMod(Match(), (Meter(77),)),
    "BAD_INSTRUCTION.BAD_TABLE_ID": FlowMod(Match(), (GotoTable(1),), table_id=2),
    "FLOW_MOD_FAILED.OVERLAP": FlowMod(Match(), (), 0, 5, flags=FlowModFlag.CHECK_OVERLAP),
    "BUNDLE_FAILED.MSG_UNSUP": MeterMod(0, 1),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", [0, 500, 1000])
async def test_one_bad_message_changes_nothing(
    ovs: Ovs, channel: Channel, name: str, place: int
) -> None:
    before = [FlowMod(Match(in_port=n), (GotoTable(1),), 0, 5) for n in range(3)]
    await channel.apply_bundle(before)
    old = ovs.dump()
    bundle: list = [FlowMod(Match(in_port=n), (), 3) for n in range(1000)]
    bundle.insert(place, BAD[name])
    with pytest.raises(SwitchError) as caught:
        await channel.apply_bundle([*bundle, DELETE_ALL])
    assert caught.value.name == name
    assert caught.value.message == BAD[name]
    assert ovs.dump() == old
    await channel.apply_bundle([DELETE_ALL])
    assert await channel.dump_flows() == []


async def test_a_bundle_replaces_everything_at_once(channel: Channel) -> None:
    flows = [
        FlowMod(Match(**TCP, ipv4_dst=0x0A000000 + n, in_port=1), (GotoTable(1),))
        for n in range(5000)
    ]
    await channel.apply_bundle(flows)
    await channel.apply_bundle([DELETE_ALL, *flows[1000:]])
    observed = {flow.key(): flow.content() for flow in await channel.dump_flows()}
    assert observed == {flow.key(): flow.content() for flow in flows[1000:]}
