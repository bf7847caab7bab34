"""What is refused before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.bridge_flow_checks import bridge_location
from privacy_router.config.problems import json_path
from privacy_router.engine.errors import RefusedError
from privacy_router.openflow import ApplyActions, Group, Meter, WriteActions, format_flow
from privacy_router.plugins.openflow.ownership import Anchored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.openflow import FlowStats, Instruction
    from privacy_router.ovsdb.host_bridges import HostBridge
    from privacy_router.plugins.openflow.survey import Survey, Target


def require_not_the_nodes(bridge: str, there: Mapping[str, HostBridge]) -> None:
    """Refuse the privacy router's own bridge, which carries its mark. Raises RefusedError."""
    if bridge not in there or not there[bridge].node:
        return
    raise RefusedError(
        f"{json_path(bridge_location(bridge))}: this is the privacy router's bridge, whose flows"
        " are checked against its chain",
        remedy="write them into plugins.privacy_router.openflow: privacy_flows, additional_flows"
        " and flow_policies",
    )


def require_no_obstacles(found: Survey) -> None:
    """Refuse what another program stands in the way of. What is only not there may be made by
    another plugin in the same run. Raises RefusedError."""
    for obstacle in found.obstacles:
        if not obstacle.may_come:
            raise RefusedError(obstacle.text, remedy=obstacle.remedy)


def groups_and_meters_that_go(found: Survey, target: Target) -> set[tuple[str, int]]:
    """What is ours and is to be ours no longer."""
    if found.state is None:
        return set()
    groups = found.state.owned(Anchored.GROUP) - target.groups.keys()
    meters = found.state.owned(Anchored.METER) - target.meters.keys()
    return {*(("group", n) for n in groups), *(("meter", n) for n in meters)}


def require_unused(bridge: str, going: set[tuple[str, int]], others: Iterable[FlowStats]) -> None:
    """Refuse to delete a group or meter that other programs' flows lead to: the switch would delete
    these flows too. Raises RefusedError."""
    for flow in others:
        for kind, number in sorted(going & set(_used_by(flow.instructions))):
            raise RefusedError(
                f"the {kind} {number} of {bridge} cannot go: another program has a flow that leads"
                f" to it, which would go too: {format_flow(flow)}",
                remedy=f"delete that flow first, or keep the {kind}",
            )


def _used_by(instructions: Iterable[Instruction]) -> Iterator[tuple[str, int]]:
    for one in instructions:
        if isinstance(one, Meter):
            yield "meter", one.meter_id
        elif isinstance(one, ApplyActions | WriteActions):
            for action in one.actions:
                if isinstance(action, Group):
                    yield "group", action.group_id
