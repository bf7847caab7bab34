"""A bridge's switch: what it has of ours, and what of others stands in our way."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.openflow import Bucket, GroupDesc, OpenFlowError, PortNumber
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.pipeline.allocation import DECLARED_OWNER, OWNER_MASK
from privacy_router.plugins.openflow.ownership import Anchored, is_ours, mark_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping
    from pathlib import Path

    from privacy_router.openflow import FlowStats, MeterConfig
    from privacy_router.openflow.flows import FlowKey

OVS_DATABASE: Final = "/run/openvswitch/db.sock"
TIMEOUT_S: Final = 5.0
_ASKED_ONE_BY_ONE: Final = 16  # with more of them, reading all flows is quicker


class BridgeSwitchError(PrivacyRouterError):
    """The switch of a bridge could not be reached, or refused a flow, a group or a meter."""


@dataclass(frozen=True)
class SwitchState:
    """What a switch has: its ports by name, the flows that are ours, all groups and meters."""

    ports: Mapping[str, int] = field(default_factory=dict)
    flows: Mapping[FlowKey, FlowStats] = field(default_factory=dict)
    groups: Mapping[int, GroupDesc] = field(default_factory=dict)
    meters: Mapping[int, MeterConfig] = field(default_factory=dict)

    def owned(self, kind: Anchored) -> frozenset[int]:
        """The groups, meters or policies that are ours, by number."""
        marks = (mark_of(flow) for flow in self.flows.values())
        return frozenset(mark.number for mark in marks if mark is not None and mark.kind is kind)


def management_socket(database: Path, bridge: str) -> Path:
    """Where vswitchd takes OpenFlow connections for a bridge: beside its database's socket."""
    return database.parent / f"{bridge}.mgmt"


@contextlib.asynccontextmanager
async def connected(database: Path, bridge: str) -> AsyncIterator[Channel]:
    """A connection to the switch of a bridge. Raises BridgeSwitchError for what goes wrong over
    it."""
    with asking(bridge):
        async with await connect_unix(management_socket(database, bridge), TIMEOUT_S) as channel:
            yield channel


@contextlib.contextmanager
def asking(bridge: str) -> Iterator[None]:
    """Raise BridgeSwitchError for what goes wrong over a connection."""
    try:
        yield
    except (OpenFlowError, OSError) as error:
        raise BridgeSwitchError(
            f"the switch of {bridge} does not do what it is asked: {error}",
            remedy="see whether ovs-vswitchd runs: ovs-vsctl show; its log says more",
            retryable=True,
        ) from error


async def read(channel: Channel) -> SwitchState:
    """All of it but other programs' flows, of which there may be very many."""
    ports = {port.name: port.number for port in await channel.dump_ports()}
    flows = await channel.dump_flows(cookie=DECLARED_OWNER, cookie_mask=OWNER_MASK)
    groups = {group.group_id: _plain(group) for group in await channel.dump_groups()}
    meters = {meter.meter_id: meter for meter in await channel.dump_meters()}
    return SwitchState(ports, {flow.key(): flow for flow in flows}, groups, meters)


def _plain(group: GroupDesc) -> GroupDesc:
    """With one word for "no port is watched"; Open vSwitch tells another than it is given."""
    buckets = tuple(
        Bucket(one.actions, one.weight, watch_group=one.watch_group)
        if one.watch_port == PortNumber.UNSET
        else one
        for one in group.buckets
    )
    return GroupDesc(group.group_id, group.group_type, buckets)


async def occupants(channel: Channel, keys: Collection[FlowKey]) -> dict[FlowKey, FlowStats]:
    """The flows of other programs that have these tables, priorities and matches."""
    found: list[FlowStats] = []
    if len(keys) > _ASKED_ONE_BY_ONE:
        found = await channel.dump_flows()
    else:
        for key in keys:
            found += await channel.dump_flows(key.table_id, match=key.match)
    return {f.key(): f for f in found if f.key() in keys and not is_ours(f.cookie)}


async def others_flows(channel: Channel) -> list[FlowStats]:
    """All flows of other programs."""
    return [flow for flow in await channel.dump_flows() if not is_ours(flow.cookie)]
