"""What one look trips over is not the end of the looking: passes and watches go on."""

from __future__ import annotations

import asyncio
import errno
import io
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from privacy_router.errors import FAILURES, MachineError, PrivacyRouterError
from privacy_router.host.devices import link_removal
from privacy_router.host.netlink import Netlink
from privacy_router.host.nftables import NftablesError
from privacy_router.host.rtnetlink import NetlinkError
from privacy_router.host.units import UnitError
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.node.controller import Controller
from privacy_router.node.supervision import Supervisor
from privacy_router.ovsdb import watch as watches
from privacy_router.ovsdb.watch import BridgeWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.node.network_watch import NetworkWatch
    from privacy_router.plan.desired import DesiredState

DEFECTS = [AttributeError("no such row"), AssertionError(), RecursionError("deep"), KeyError("x")]
PATIENCE_S = 30.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(lambda: None)
    yield supervisor
    await supervisor.end()


# --- watches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [*DEFECTS, OSError(errno.EIO, "broken"), None])
async def test_a_watch_that_ends_is_begun_anew_and_known_as_degraded(
    supervisor: Supervisor, error: Exception | None
) -> None:
    begun = 0
    steady = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 1 and error is not None:
            raise error
        if begun > 1:
            steady.set()
            await asyncio.Event().wait()

    with capture_logs() as logs:
        supervisor.keep("the bridge", work)
        await until(lambda: "the bridge" in supervisor.degraded)
        reason = supervisor.degraded["the bridge"]
        await steady.wait()
        await until(lambda: not supervisor.degraded)
    assert begun == 2
    assert error is None or str(error) in reason
    assert [log["watch"] for log in logs] == ["the bridge"]


async def test_a_defect_that_comes_again_and_again_has_one_trace_in_the_log(
    supervisor: Supervisor,
) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        raise AttributeError("odd")

    with capture_logs() as logs:
        supervisor.keep("the flows", work)
        await until(lambda: begun == 3)
    assert [isinstance(log["exc_info"], AttributeError) for log in logs] == [True]
    assert "odd" in supervisor.degraded["the flows"]


async def test_what_was_not_seen_is_looked_for() -> None:
    """The end of a watch is told, so that a pass finds what happened meanwhile."""
    told = asyncio.Event()
    supervisor = Supervisor(told.set)

    async def work() -> None:
        raise ValueError

    supervisor.keep("the flows", work)
    await asyncio.wait_for(told.wait(), PATIENCE_S)
    await supervisor.end()


async def test_the_thread_of_the_bridge_watch_says_when_it_ends_by_a_defect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def odd(_path: Path, _timeout_s: float) -> dict[str, Any]:
        raise AssertionError("an odd schema")

    monkeypatch.setattr(watches, "fetch_schema", odd)
    watch = BridgeWatch(tmp_path / "db.sock", "br0", lambda _: None)
    with pytest.raises(AssertionError, match="an odd schema"):
        await asyncio.wait_for(asyncio.wrap_future(watch.ended), PATIENCE_S)
    watch.end()


# --- passes -------------------------------------------------------------------------------------


async def _nothing(_: object) -> None:
    """In place of a step that is not what a test is about."""


class _NoNetwork:
    def follow(self, places: object) -> None:
        """Nothing to listen to."""


@pytest.mark.parametrize("error", DEFECTS)
async def test_a_pass_that_trips_over_something_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    nothing: Any = None
    passes = 0

    async def odd(*_: object) -> list[Any]:
        nonlocal passes
        passes += 1
        if passes <= 2:
            raise error
        controller.stop()
        return []

    controller = Controller(
        cast("DesiredState", nothing), cast("NodeHost", nothing), lambda: nothing
    )
    monkeypatch.setattr(Controller, "_reload", _nothing)
    monkeypatch.setattr(Controller, "_converge", odd)
    monkeypatch.setattr(Controller, "_trim_logs", lambda _: None)
    monkeypatch.setattr(Controller, "_watch_processes", lambda *_: None)
    monkeypatch.setattr(Controller, "_places", lambda _: set())
    seen: list[str] = []
    controller.on_pass = lambda _: seen.append(controller.trouble)
    engine = cast("FlowKeeper", nothing)
    with capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_S):
            await controller._keep(engine, cast("NetworkWatch", _NoNetwork()))
    assert passes == 3
    assert all(type(error).__name__ in trouble for trouble in seen[:2])
    assert seen[2] == ""
    failed = [log for log in logs if log["log_level"] == "error"]
    assert [log["exc_info"] is error for log in failed] == [True, False], "one trace is enough"


async def test_a_reload_that_trips_over_something_keeps_the_old_state() -> None:
    def odd() -> DesiredState:
        raise RecursionError("deep")

    old = cast("DesiredState", object())
    controller = Controller(old, cast("NodeHost", object()), odd)
    await controller._reload()
    assert controller.desired is old


def test_the_log_has_the_trace_below_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from privacy_router.daemon import logging

    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logging.set_up_logging(verbose=False)
    try:
        structlog.get_logger().error("failed", reason="x", exc_info=AttributeError("odd"))
        structlog.get_logger().error("failed", reason="y", exc_info=None)
    finally:
        structlog.reset_defaults()
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("failed  reason=x")
    assert lines[1] == "AttributeError: odd"
    assert lines[-1].endswith("failed  reason=y")


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [NetlinkError, NftablesError, UapiError, UnitError])
def test_what_the_machine_refuses_is_under_the_root_of_all_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, MachineError)
    assert issubclass(kind, PrivacyRouterError)
    assert issubclass(kind, FAILURES)


def test_a_refusal_of_the_kernel_is_translated_where_it_arrives() -> None:
    with Netlink() as netlink, pytest.raises(NetlinkError) as refusal:
        netlink._order("delete that", link_removal(0x7FFFFFF0))
    assert refusal.value.code in (errno.ENODEV, errno.EPERM)
