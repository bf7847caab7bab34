"""The plugin `openflow`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.model import (
    AVAILABLE,
    Availability,
    Desired,
    Mode,
    Observed,
    Resource,
    differences,
)
from privacy_router.engine.plugin import Plugin
from privacy_router.errors import ConflictError, MissingPrerequisiteError
from privacy_router.plugins.openflow import check, rollback
from privacy_router.plugins.openflow.apply import converge, target_for
from privacy_router.plugins.openflow.declare import (
    METER,
    OBSTACLES,
    Payload,
    bridge_of,
    declare,
    key,
    policies_in,
)
from privacy_router.plugins.openflow.observe import Bridges, OpenflowObserved, values_of
from privacy_router.plugins.openflow.switch import OVS_DATABASE, connected, others_flows
from privacy_router.plugins.openflow.watch import watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from privacy_router.config.plugins.openflow import FlowsOfBridge
    from privacy_router.engine.model import Change, ResourceKey, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.openflow.survey import Obstacle, Survey, Target
    from privacy_router.plugins.target import Machine

_PLACES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")


class OpenflowPlugin(Plugin):
    """Flows, groups, meters and policies on bridges of the machine's Open vSwitch."""

    name: ClassVar[str] = "openflow"
    title: ClassVar[str] = "Flows, groups, meters and policies on bridges"
    after: ClassVar[frozenset[str]] = frozenset({"packagekit", "net"})  # which make bridges

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._bridges = Bridges(machine.path(OVS_DATABASE))
        # What is kept, and not merely to be applied: then an obstacle that comes stops nothing
        # else. Set by `watch`, which is called for what is kept only.
        self._kept: Payload | None = None

    async def availability(self) -> Availability:
        """Whether Open vSwitch is installed; where it does not run, there are no bridges (yet)."""
        paths = ":".join(str(self._machine.path(machine)) for machine in _PLACES)
        if shutil.which("ovs-vswitchd", path=paths) or shutil.which("ovs-vswitchd"):
            return AVAILABLE
        return Availability("Open vSwitch is not installed", "apt-get install openvswitch-switch")

    def declare(self, section: Any) -> Desired:
        """One resource for each flow, group, meter and policy, and one a bridge for obstacles."""
        return declare(section)

    # --- looking ---------------------------------------------------------------------------------

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """What of all bridges, or of those that keys name, is op-dbus's."""
        there = await self._bridges.there()
        others = {name for name, bridge in there.items() if not bridge.node}
        names = others if keys is None else {bridge_of(one) for one in keys} & there.keys()
        found: dict[ResourceKey, Value] = {}
        for name in sorted(names):
            one = await self._bridges.survey(there, name, None)
            found |= values_of(one, policies_in(keys or (), name))
        return Observed(found if keys is None else {k: found[k] for k in keys if k in found})

    async def observe(self, desired: Desired) -> Observed:
        """The declared bridges with everything that is op-dbus's on them."""
        return await self._bridges.observe(desired)

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """What waits for a bridge, a port or another program is only reported: it is made once
        that has come or gone. What waits for what, the resource `obstacles` says."""
        found = differences(desired, observed)
        if not isinstance(observed, OpenflowObserved):
            return found
        told = [
            replace(one, mode=Mode.OBSERVE_ONLY, note=observed.waiting[one.key])
            if one.key in observed.waiting and one.after is not None
            else one
            for one in found
        ]
        return sorted([*told, *observed.unnamed], key=lambda one: one.key)

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:  # noqa: ARG002
        """What was on a bridge went with it."""
        return isinstance(observed, OpenflowObserved) and bridge_of(key) not in observed.bridges

    def takes(
        self,
        desired: Desired,
        observed: Observed,
        changes: Sequence[Change],
    ) -> dict[ResourceKey, Value]:
        """Besides what is changed, what waits; what there was before was nothing in each case,
        since what other programs have is not taken over."""
        waiting = observed.waiting.keys() if isinstance(observed, OpenflowObserved) else set()
        enforced = {k for k, one in desired.resources.items() if one.mode is Mode.ENFORCE}
        taken = {one.key for one in changes} | waiting
        return {k: None for k in sorted(taken & enforced) if k.kind != OBSTACLES}

    # --- changing --------------------------------------------------------------------------------

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse the privacy router's bridge, places that other programs' flows have, and to delete
        groups and meters that other programs' flows lead to."""
        there = await self._bridges.there()
        for name in _bridges(changes):
            check.require_not_the_nodes(name, there)
            found = await self._bridges.survey(there, name, _section(desired, name))
            if desired.payload is not self._kept and name in _awaited(changes):
                check.require_no_obstacles(found)
            await self._require_unused(found, target_for(found, desired))

    async def _require_unused(self, found: Survey, target: Target) -> None:
        if going := check.groups_and_meters_that_go(found, target):
            name = found.program.bridge
            async with connected(self._bridges.database, name) as channel:
                check.require_unused(name, going, await others_flows(channel))

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """The changes, and all that is ours on the bridges that they are about."""
        there = await self._bridges.there()
        made = [one for one in changes if one.key.kind != OBSTACLES]
        return {
            "changes": [[one.key.kind, one.key.name, one.before] for one in made],
            "bridges": {
                name: rollback.written_down(
                    (await self._bridges.survey(there, name, None)).state, _new_meters(made, name)
                )
                for name in _bridges(changes)
            },
        }

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Make each bridge that changes are about as a whole what is declared of it, in one bundle.

        Raises, after all that can be made was made, MissingPrerequisiteError for a bridge or port
        that is not there, and ConflictError for what another program has come to have.
        """
        there = await self._bridges.there()
        obstacles: list[Obstacle] = []
        for name in _bridges(changes):
            found = await self._make(name, desired, there, tell)
            obstacles += found.obstacles if name in _awaited(changes) else ()
        for one in obstacles:
            kind = MissingPrerequisiteError if one.may_come else ConflictError
            raise kind(one.text, remedy=one.remedy, retryable=one.may_come)

    async def _make(
        self, bridge: str, desired: Desired, there: Collection[str], tell: Progress
    ) -> Survey:
        section = _section(desired, bridge)
        if bridge not in there:
            return await self._bridges.survey(there, bridge, section)
        async with connected(self._bridges.database, bridge) as channel:
            found = await self._bridges.survey_over(channel, bridge, section)
            tell(f"the flows of {bridge}")
            await converge(channel, bridge, target_for(found, desired))
            return found

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """Exactly what was ours on each bridge before, of those that are still there."""
        there = await self._bridges.there()
        for name, written in checkpoint["bridges"].items():
            if name not in there:
                tell(f"the bridge {name} is gone, and its flows with it")
                continue
            target, claims = rollback.read_written(written)
            async with connected(self._bridges.database, name) as channel:
                await converge(channel, name, target, claims)

    def restoring(self, checkpoint: Value) -> Desired:
        """What a run changes as it was before."""
        return Desired(
            {key(kind, name): Resource(before) for kind, name, before in checkpoint["changes"]}
        )

    def watch(self, desired: Desired) -> AsyncIterator[str]:
        """The announcements of Open vSwitch's database and of each declared bridge's switch."""
        self._kept = desired.payload
        sections: Mapping[str, FlowsOfBridge] = desired.payload.bridges if desired.payload else {}
        return watched(self._bridges.database, sections)


def _bridges(changes: Iterable[Change]) -> list[str]:
    return sorted({bridge_of(one.key) for one in changes})


def _new_meters(changes: Iterable[Change], bridge: str) -> set[int]:
    new = (one.key.name.partition("/") for one in changes if _adds_meter(one))
    return {int(number) for where, _, number in new if where == bridge}


def _adds_meter(change: Change) -> bool:
    return change.key.kind == METER and change.before is None


def _awaited(changes: Iterable[Change]) -> set[str]:
    """The bridges on which nothing is to stand in the way any more."""
    return {bridge_of(one.key) for one in changes if one.key.kind == OBSTACLES}


def _section(desired: Desired, bridge: str) -> FlowsOfBridge | None:
    payload: Payload = desired.payload or Payload()
    return payload.bridges.get(bridge)
