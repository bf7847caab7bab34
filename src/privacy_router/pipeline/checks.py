"""What every compiled program must fulfil, the user's own flows too; checked before any is sent."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from privacy_router.openflow.actions import Output
from privacy_router.openflow.constants import PortNumber
from privacy_router.openflow.instructions import ApplyActions, GotoTable, Meter
from privacy_router.openflow.match import Match
from privacy_router.openflow.nicira import NO_TABLE, Ct
from privacy_router.pipeline.rivals import PipelineError
from privacy_router.pipeline.tables import name_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.openflow.action import Action
    from privacy_router.pipeline.flow import Flow, Program

_MATCH_HEADER_BYTES, _IN_PORT_BYTES = 4, 8
_ZONE_OF_TABLE = {"privacy": "privacy", "functions": "mesh", "neighbours": "mesh"}


def check(program: Program, zones: Mapping[int, str]) -> None:
    """Raise PipelineError unless the program keeps to the declared tables.

    `zones` says of every port number which zone it belongs to, "privacy" or "mesh". Packets only
    go onward, to tables that their table names; they leave from tables that may send, to ports of
    the table's own zone, never to NORMAL, FLOOD or the like; meters exist; and what came with a
    port speaks of packets of that port alone, until the tables that send. That no two flows want
    the same packets is seen by `rivals`.
    """
    meters = {rate.meter_id for rate in program.rates}
    for flow in program.flows:
        for complaint in (
            *_wrong_ways(flow),
            *_wrong_ports(flow, zones),
            *_no_meter(flow, meters),
            *_of_other_ports(flow),
        ):
            raise PipelineError(f"{flow.origin}, table {flow.table}: {complaint}")


def _wrong_ways(flow: Flow) -> Iterator[str]:
    onward = table_of(flow.table).onward
    numbers = [item.table_id for item in flow.instructions if isinstance(item, GotoTable)]
    numbers += [
        action.table_id
        for action in actions_of(flow)
        if isinstance(action, Ct) and action.table_id != NO_TABLE
    ]
    for number in numbers:
        if name_of(number) not in onward:
            yield f"packets may not go on to {name_of(number)}"


def _wrong_ports(flow: Flow, zones: Mapping[int, str]) -> Iterator[str]:
    for action in actions_of(flow):
        if not isinstance(action, Output):
            continue
        if not table_of(flow.table).sends:
            yield "packets may not leave from here"
        elif action.port == PortNumber.IN_PORT:
            if flow.table != "neighbours":
                yield "packets may not turn around here"
        elif zones.get(action.port) != _ZONE_OF_TABLE[flow.table]:
            yield f"port {action.port} is not of the zone {_ZONE_OF_TABLE[flow.table]}"


def _no_meter(flow: Flow, meters: set[int]) -> Iterator[str]:
    for item in flow.instructions:
        if isinstance(item, Meter) and item.meter_id not in meters:
            yield f"there is no meter {item.meter_id}"


def _of_other_ports(flow: Flow) -> Iterator[str]:
    # Hence flows of two ports can only rival in the tables that send.
    if flow.port and not table_of(flow.table).sends and not _is_of_port(flow):
        yield f"it came with port {flow.port} and is about packets of other ports too"


def _is_of_port(flow: Flow) -> bool:
    return flow.match.wire.startswith(_in_port_on_wire(flow.port), _MATCH_HEADER_BYTES)


@lru_cache(maxsize=64)
def _in_port_on_wire(port: int) -> bytes:
    """What a match on that in_port begins with: no field that we match on comes before it."""
    return Match(in_port=port).wire[_MATCH_HEADER_BYTES:][:_IN_PORT_BYTES]


def actions_of(flow: Flow) -> Iterator[Action]:
    """What the flow does at once, without what is inside of connection tracking."""
    for item in flow.instructions:
        if isinstance(item, ApplyActions):
            yield from item.actions
