"""What the flow engine does where the switch does not take everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from test_node_flows import pipeline, row

from privacy_router.node.flows.changes import Changes
from privacy_router.node.flows.keeper import FlowKeeper
from privacy_router.node.flows.table import FlowError
from privacy_router.openflow import Difference
from privacy_router.pipeline.allocation import port_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from privacy_router.node.flows.table import FlowTable
    from privacy_router.openflow import FlowMod


class FullSwitch:
    """Has no room for the flows of one port."""

    def __init__(self, port: int) -> None:
        self._refused = port
        self.flows: set[FlowMod] = set()

    async def compare(self, flows: Sequence[FlowMod], _rates: object) -> Changes:
        return Changes(Difference(added=tuple(f for f in flows if f not in self.flows)))

    async def compare_under(
        self, wanted: Mapping[int, Sequence[FlowMod]], _rates: object = ()
    ) -> Changes:
        return await self.compare([flow for flows in wanted.values() for flow in flows], None)

    async def apply(self, changes: Changes, *_: Any) -> None:
        if any(port_of(flow.cookie) == self._refused for flow in changes.flows.added):
            raise FlowError("the switch refused the flow: TABLE_FULL")
        self.flows.update(changes.flows.added)


async def test_the_tunnel_does_not_wait_for_a_container_that_does_not_fit(tmp_path: Path) -> None:
    engine = FlowKeeper("ovsbr0", tmp_path / "db.sock", pipeline())
    engine.set_rows([row("nm-privacy", 8), row("internal_200", 9)])
    switch = FullSwitch(9)
    engine._table = cast("FlowTable", switch)
    with pytest.raises(FlowError, match="TABLE_FULL"):
        await engine.repair()
    by_cookie, _ = engine._plan.base()
    tunnel = {flow for flows in by_cookie.values() for flow in flows}
    assert len(tunnel) > 20
    assert switch.flows == tunnel
