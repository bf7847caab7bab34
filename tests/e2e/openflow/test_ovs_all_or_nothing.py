"""Whatever goes wrong in a bundle, the flows that were in force stay in force."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    Conjunction,
    ConnectionLostError,
    DscpRemarkBand,
    FlowMod,
    FlowModFlag,
    FlowOptions,
    GotoTable,
    Group,
    Match,
    MatchItem,
    Message,
    Meter,
    MeterMod,
    RequestTimeoutError,
    SwitchError,
)
from privacy_router.openflow.channel import connect_unix
from privacy_router.openflow.fields import FIELDS
from tests.e2e.openflow.private_ovs import DELETE_ALL, TCP, Ovs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from privacy_router.openflow.channel import Channel

pytestmark = pytest.mark.e2e

# --- messages that are refused ------------------------------------------------------------------


def forged_without_prerequisite() -> Match:
    return Match.of_items([MatchItem(FIELDS["tcp_dst"], 80, None)])


LONELY = Conjunction(7, 0, 1)  # there must be two at least

BAD = {
    "BAD_ACTION.BAD_CONJUNCTION": FlowMod(Match(), (ApplyActions((LONELY,)),)),
    "BAD_MATCH.BAD_PREREQ": FlowMod(forged_without_prerequisite()),
    "BAD_ACTION.BAD_OUT_GROUP": FlowMod(Match(), (ApplyActions((Group(77),)),)),
    "METER_MOD_FAILED.INVALID_METER": FlowMod(Match(), (Meter(77),)),
    "BAD_INSTRUCTION.BAD_TABLE_ID": FlowMod(Match(), (GotoTable(1),), table_id=2),
    "FLOW_MOD_FAILED.OVERLAP": FlowMod(
        Match(), (), 0, 5, options=FlowOptions(flags=FlowModFlag.CHECK_OVERLAP)
    ),
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
    bundle: list[Message] = [FlowMod(Match(in_port=n), (), 3) for n in range(1000)]
    bundle.insert(place, BAD[name])
    with pytest.raises(SwitchError) as caught:
        await channel.apply_bundle([*bundle, DELETE_ALL])
    assert caught.value.name == name
    assert caught.value.refused == BAD[name]
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


# --- no room ------------------------------------------------------------------------------------

FULL_TABLE, ROOM = 3, 10


@pytest.fixture
def small_table(ovs: Ovs) -> Iterator[None]:
    """The switch with room for 10 flows in table 3."""
    limits = ("flow_limit=10", "overflow_policy=refuse")
    bridge = ("set", "bridge", "br0", f"flow_tables:{FULL_TABLE}=@t")
    ovs.vsctl("--", "--id=@t", "create", "Flow_Table", *limits, "--", *bridge)
    yield
    ovs.vsctl("clear", "bridge", "br0", "flow_tables")


def in_full_table(first: int, count: int) -> list[FlowMod]:
    numbers = range(first, first + count)
    return [FlowMod(Match(in_port=n), (GotoTable(9),), FULL_TABLE, 7) for n in numbers]


@pytest.mark.usefixtures("small_table")
async def test_a_full_table_refuses_the_whole_bundle(ovs: Ovs, channel: Channel) -> None:
    """OFPFMFC_TABLE_FULL, with the message that found no room; what was changed is as before."""
    await channel.apply_bundle(in_full_table(1, 8))
    old = ovs.dump()
    changes = [FlowMod(Match(in_port=1), (), FULL_TABLE, 7), FlowMod(Match(in_port=1), (), 4)]
    new = in_full_table(100, 3)
    with pytest.raises(SwitchError, match=r"FLOW_MOD_FAILED\.TABLE_FULL") as caught:
        await channel.apply_bundle([*changes, *new])
    assert caught.value.refused == new[2]
    assert ovs.dump() == old
    await channel.apply_bundle([*changes, *new[:2]])
    assert (await channel.count_flows(FULL_TABLE)).flow_count == ROOM
    with pytest.raises(SwitchError, match=r"FLOW_MOD_FAILED\.TABLE_FULL"):
        await channel.apply(new[2:])
    features = {table.table_id: table for table in await channel.table_features()}
    assert features[FULL_TABLE].max_entries == ROOM


@pytest.mark.usefixtures("small_table")
async def test_a_full_table_has_room_for_what_replaces_it(channel: Channel) -> None:
    await channel.apply_bundle(in_full_table(1, ROOM))
    await channel.apply_bundle([DELETE_ALL, *in_full_table(100, ROOM)])
    assert not await channel.compare_flows(in_full_table(100, ROOM))


UNSUPPORTED_METERS = {
    "METER_MOD_FAILED.BAD_BAND": MeterMod(0, 1, bands=(DscpRemarkBand(5),)),
    "METER_MOD_FAILED.OUT_OF_BANDS": MeterMod(0, 1, bands=(Band(5),) * 9),
    "METER_MOD_FAILED.BAD_FLAGS": MeterMod(0, 1, 0x80, (Band(5),)),
    "METER_MOD_FAILED.BAD_COMMAND": MeterMod(9, 1, bands=(Band(5),)),
    "METER_MOD_FAILED.UNKNOWN_METER": MeterMod(1, 77, bands=(Band(5),)),
}


@pytest.mark.parametrize("name", UNSUPPORTED_METERS)
async def test_an_unsupported_meter_leaves_flows_and_meters_alone(
    ovs: Ovs, channel: Channel, name: str
) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    await channel.apply_bundle([FlowMod(Match(in_port=1), (Meter(9), GotoTable(1)), 0, 5)])
    flows, meters = ovs.dump(), await channel.dump_meters()
    with pytest.raises(SwitchError) as caught:
        await channel.apply([UNSUPPORTED_METERS[name]])
    assert (caught.value.name, caught.value.refused) == (name, UNSUPPORTED_METERS[name])
    with pytest.raises(SwitchError, match=r"METER_MOD_FAILED\.INVALID_METER"):
        await channel.apply_bundle([DELETE_ALL, FlowMod(Match(), (Meter(1),))])
    assert (ovs.dump(), await channel.dump_meters()) == (flows, meters)


# --- in the middle of a bundle ------------------------------------------------------------------

BEFORE = [FlowMod(Match(in_port=n), (GotoTable(1),), 0, 5) for n in range(3)]


class Interrupted(Sequence[Message]):
    """The flows of a long bundle; something happens when the 5,000th is about to be sent."""

    def __init__(self, event: Callable[[], None]) -> None:
        self._flows = [DELETE_ALL, *(FlowMod(Match(in_port=n), (), 3) for n in range(10_000))]
        self._event = event

    def __len__(self) -> int:
        return len(self._flows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) and index.start <= 5000 < index.stop:
            self._event()
        return self._flows[index]


async def test_a_switch_that_is_killed_mid_bundle(tmp_path: Path) -> None:
    """An error at once, and when the switch is back, nothing of the bundle."""
    switch = Ovs(tmp_path)
    try:
        switch.start()
        async with await connect_unix(switch.mgmt, timeout_s=5) as channel:
            await channel.apply_bundle(BEFORE)
            began = time.monotonic()
            with pytest.raises(ConnectionLostError):
                await channel.apply_bundle(Interrupted(switch.kill_vswitchd))
            assert time.monotonic() - began < 5
        switch.start_vswitchd()
        async with await connect_unix(switch.mgmt) as channel:
            assert await channel.dump_flows() == []
            await channel.apply_bundle(BEFORE)
    finally:
        switch.stop()


async def test_a_switch_that_hangs_mid_bundle(ovs: Ovs, channel: Channel) -> None:
    """An error when the time is up; when it wakes up, it has the old flows and takes new ones."""
    await channel.apply_bundle(BEFORE)
    old = ovs.dump()
    began = time.monotonic()
    try:
        with pytest.raises(RequestTimeoutError):
            await channel.apply_bundle(
                Interrupted(lambda: os.kill(ovs.vswitchd, signal.SIGSTOP)), timeout_s=0.5
            )
        assert time.monotonic() - began < 5
    finally:
        os.kill(ovs.vswitchd, signal.SIGCONT)
    await channel.barrier()
    assert ovs.dump() == old
    await channel.apply_bundle([DELETE_ALL])
    assert ovs.dump() == []


async def test_a_controller_that_goes_mid_bundle(ovs: Ovs, channel: Channel) -> None:
    await channel.apply_bundle(BEFORE)
    old = ovs.dump()
    async with await connect_unix(ovs.mgmt) as other:
        with pytest.raises(ConnectionLostError):
            await other.apply_bundle(Interrupted(lambda: other.abort("for the test")))
    await channel.barrier()
    assert ovs.dump() == old
