"""Whoever waits for the controller is told when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.node.controller import _OWN_EVENTS_S, Controller
from privacy_router.node.kinds.session import ApplyError

if TYPE_CHECKING:
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState


def controller() -> Controller:
    nothing: Any = None
    return Controller(cast("DesiredState", nothing), cast("NodeHost", nothing), lambda: nothing)


async def test_the_network_is_heard_of_after_a_failed_pass_but_not_what_the_pass_did() -> None:
    """An uplink that comes back waits for no clock."""
    one, loop = controller(), asyncio.get_running_loop()
    one.trouble, one._failed_at = "there is no uplink", loop.time()
    one._on_network_change()
    assert not one._wake.is_set()
    one._failed_at = loop.time() - _OWN_EVENTS_S
    one._on_network_change()
    assert one._wake.is_set()


async def test_who_waits_for_a_pass_is_told_that_none_comes() -> None:
    """One that asked while it was ending would wait for ever, and the daemon with him."""
    one = controller()
    one.flows = cast("FlowKeeper", object())  # it runs
    waiting = asyncio.create_task(one.repair())
    await asyncio.sleep(0)
    one._refuse_waiting()
    with pytest.raises(ApplyError, match="has ended"):
        await waiting
