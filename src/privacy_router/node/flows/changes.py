"""From flows and meters in names to what is sent to the switch, and back to words (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from privacy_router.node.switch_drift import SwitchDrift
from privacy_router.openflow import (
    ApplyActions,
    Band,
    Ct,
    Difference,
    FlowMod,
    MeterCommand,
    MeterMod,
    removal_of,
)
from privacy_router.pipeline.allocation import MESH_TRACKING_ZONE, Layer, layer_of, port_of
from privacy_router.pipeline.flow import Flow, FlowKey, MeterKey, MeterState
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.values.items import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from privacy_router.openflow import FlowStats, MeterConfig
    from privacy_router.pipeline.flow import Program, RateLimit

_NOTHING = Difference()
_NO_DRIFT = SwitchDrift()


@dataclass(frozen=True)
class Changes:
    """What has to be sent. Meters come before the flows that use them and go after these."""

    flows: Difference = _NOTHING
    meters: tuple[MeterMod, ...] = ()
    unused_meters: tuple[int, ...] = ()
    switch: SwitchDrift = _NO_DRIFT

    def among(self, wanted: Callable[[FlowMod], bool]) -> Changes:
        """The same with those of its flows only."""
        flows = Difference(
            added=tuple(filter(wanted, self.flows.added)),
            changed=tuple(filter(wanted, self.flows.changed)),
            removed=tuple(filter(wanted, self.flows.removed)),
            unchanged=self.flows.unchanged,
        )
        return replace(self, flows=flows)

    def __bool__(self) -> bool:
        return bool(self.flows or self.meters or self.unused_meters or self.switch)


def flow_mods(program: Program) -> tuple[FlowMod, ...]:
    """The commands that add the flows of a program."""
    return tuple(
        FlowMod(
            table_id=number_of(flow.table),
            priority=flow.priority,
            match=flow.match,
            instructions=flow.instructions,
            cookie=flow.cookie,
        )
        for flow in program.flows
    )


def meter_mods(
    wanted: Iterable[RateLimit], present: Mapping[int, MeterConfig]
) -> tuple[MeterMod, ...]:
    """The commands that make the wanted meters of those that are present."""
    mods = []
    for rate in wanted:
        config = present.get(rate.meter_id)
        command = MeterCommand.ADD if config is None else MeterCommand.MODIFY
        bands = (Band(rate.packets_per_s, burst=rate.packets_per_s),)
        mod = MeterMod(command, rate.meter_id, bands=bands)
        if config is None or (mod.flags, mod.bands) != (config.flags, config.bands):
            mods.append(mod)
    return tuple(mods)


def between(
    old: Iterable[FlowMod], new: Iterable[FlowMod], old_meters: set[int], rates: list[RateLimit]
) -> Changes:
    """From flows and meters that are known to be there to new ones."""
    before = {flow.key(): flow for flow in old}
    after = {flow.key(): flow for flow in new}
    difference = Difference(
        added=tuple(flow for key, flow in after.items() if key not in before),
        changed=tuple(flow for key, flow in after.items() if key in before and before[key] != flow),
        removed=tuple(removal_of(flow) for key, flow in before.items() if key not in after),
    )
    added = [rate for rate in rates if rate.meter_id not in old_meters]
    unused = old_meters - {rate.meter_id for rate in rates}
    return Changes(difference, meter_mods(added, {}), tuple(sorted(unused)))


def zones_looked_up(flows: Difference) -> frozenset[int]:
    """The connection tracking zones of the privacy segment in which packets are looked up from now
    on, by flows that were not in force before.

    What passed until then was not tracked, so that what a zone remembers of a connection may be of
    long before: its next packet would be dropped as one out of its window. The mesh's zone is left
    out: it remembers translations, without which a connection cannot go on.
    """
    looked_up = {
        action.zone
        for mod in (*flows.added, *flows.changed)
        if mod.table_id == number_of("conntrack")
        for item in mod.instructions
        if isinstance(item, ApplyActions)
        for action in item.actions
        if isinstance(action, Ct)
    }
    return frozenset(looked_up - {MESH_TRACKING_ZONE})


# --- in words -----------------------------------------------------------------------------------


def strange_flow(flow: FlowMod | FlowStats) -> Flow:
    """A flow that the switch has and the configuration does not."""
    return Flow(
        table=name_of(flow.table_id),
        priority=flow.priority,
        match=flow.match,
        instructions=flow.content().instructions,
        layer=layer_of(flow.cookie) or Layer.BASE,
        origin="",
        reason="not of this configuration",
        port=port_of(flow.cookie),
    )


def items(changes: Changes, bridge: str, flow_of: Callable[[FlowMod], Flow]) -> list[Change]:
    """The changes in the words of the plan; `flow_of` gives the flow that a command is about."""
    return [
        *changes.switch.items(bridge),
        *_flow_items(changes.flows, bridge, flow_of),
        *_meter_items(changes, bridge),
    ]


def _flow_items(
    flows: Difference, bridge: str, flow_of: Callable[[FlowMod], Flow]
) -> Iterator[Change]:
    for verb, mods in (
        ("remove", flows.removed),
        ("change", flows.changed),
        ("add", flows.added),
    ):
        for mod in mods:
            flow = flow_of(mod)
            before = None if verb == "add" else flow
            after = None if verb == "remove" else flow
            yield Change(FlowKey(bridge, flow.key), before, after)


def _meter_items(changes: Changes, bridge: str) -> Iterator[Change]:
    for meter in changes.meters:
        before = None if meter.command == MeterCommand.ADD else MeterState(None)
        after = MeterState(meter.bands[0].rate if meter.bands else None)
        yield Change(MeterKey(bridge, meter.meter_id), before, after)
    for number in changes.unused_meters:
        yield Change(MeterKey(bridge, number), MeterState(None, is_used=False), None)
