"""Whoever waits for the controller is told when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.node.apply import ApplyError
from privacy_router.node.controller import Controller

if TYPE_CHECKING:
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState


async def test_who_waits_for_a_pass_is_told_that_none_comes() -> None:
    """One that asked while it was ending would wait for ever, and the daemon with him."""
    nothing: Any = None
    controller = Controller(
        cast("DesiredState", nothing), cast("NodeHost", nothing), lambda: nothing
    )
    controller.flows = cast("FlowKeeper", object())  # it runs
    waiting = asyncio.create_task(controller.repair())
    await asyncio.sleep(0)
    controller._refuse_waiting()
    with pytest.raises(ApplyError, match="has ended"):
        await waiting
