"""What the flow engine does where the switch does not take everything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from privacy_router.node.flows.changes import Changes
from privacy_router.node.flows.keeper import FlowKeeper
from privacy_router.node.flows.table import FlowError
from privacy_router.openflow import Difference
from privacy_router.pipeline.allocation import port_of
from privacy_router.values.backoff import FREE
from tests.node.test_node_flows import pipeline, row

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


class ContestedSwitch:
    """Another program deletes the first flow of a port as often as it is put there."""

    def __init__(self) -> None:
        self.lost: list[FlowMod] = []
        self.restored: list[int] = []

    async def compare_under(self, wanted: Mapping[int, Sequence[FlowMod]]) -> Changes:
        return Changes(Difference(added=tuple(self.lost)))

    async def apply(self, changes: Changes, *_: Any) -> None:
        self.restored.append(len(changes.flows.added))


async def test_a_flow_that_another_program_keeps_changing_is_put_back_ever_more_slowly(
    tmp_path: Path,
) -> None:
    clock = SimpleNamespace(now_s=100.0)
    socket = tmp_path / "db.sock"
    engine = FlowKeeper("ovsbr0", socket, pipeline(), clock=lambda: clock.now_s)
    engine.set_rows([row("internal_200", 9)])
    switch = ContestedSwitch()
    engine._table = cast("FlowTable", switch)
    contested, other = engine._plan.mods[:2]

    async def drift(*flows: FlowMod) -> int:
        """How many of these flows are put back now."""
        switch.lost = list(flows)
        engine._note_drift(contested.cookie)
        await engine._follow_drift()
        return switch.restored.pop()

    with capture_logs() as log:
        assert [await drift(contested) for _ in range(FREE)] == [1] * FREE
        assert "another program" not in str(log)
        assert await drift(contested) == 1
        assert "another program keeps changing the flows of this bridge" in str(log)
    assert await drift(contested, other) == 1, "the other one does not wait with it"
    assert engine._drifted == {contested.cookie}, "it is compared again after the pause"
    clock.now_s += 1.0
    assert await drift(contested) == 1
    clock.now_s += 1.9
    assert await drift(contested) == 0
    clock.now_s += 0.1
    assert await drift(contested) == 1
    assert engine._backoff.next_s(clock.now_s) == 2.0, "no pause is longer"
