"""Work in threads is never left behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from privacy_router.host.threads import NODE, Lane, by_lane, context_of, in_thread, to_the_end


async def test_what_the_work_returns_and_raises() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_the_thread() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(60)
        ended.set()

    caller = asyncio.create_task(in_thread(work))
    await in_thread(begun.wait, 60)
    caller.cancel()
    done, _ = await asyncio.wait({caller}, timeout=0.05)
    assert not done
    caller.cancel()  # impatience changes nothing
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_the_work_can_be_told_to_end_early() -> None:
    begun, told = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert told.wait(60)
        raise InterruptedError("stopped")

    caller = asyncio.create_task(in_thread(work, on_cancel=told.set))
    await in_thread(begun.wait, 60)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await caller
    assert isinstance(caught.value.__cause__, InterruptedError)


async def test_a_call_is_carried_to_its_end() -> None:
    begun, go, steps = asyncio.Event(), asyncio.Event(), []

    async def call() -> None:
        begun.set()
        await go.wait()
        steps.append("done")

    caller = asyncio.create_task(to_the_end(call()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["done"]


async def test_a_lane_that_hangs_holds_up_no_other_and_is_abandoned() -> None:
    lane, go = Lane("looks", 2, abandons=True), threading.Event()

    async def hang() -> None:
        with by_lane(lane):
            await in_thread(go.wait, 60)

    hanging = [asyncio.create_task(hang()) for _ in range(5)]
    assert await asyncio.wait_for(in_thread(divmod, 7, 2), 30) == (3, 1)
    for one in hanging:
        one.cancel()
    done, _ = await asyncio.wait(hanging, timeout=30)  # at once, though two threads still hang
    assert len(done) == 5
    go.set()


async def test_a_task_in_a_context_of_its_own_goes_by_that_lane() -> None:
    with by_lane(Lane("looks", 1, abandons=True)):
        name = asyncio.create_task(
            in_thread(lambda: threading.current_thread().name), context=context_of(NODE)
        )
        assert (await name).startswith("node-")
