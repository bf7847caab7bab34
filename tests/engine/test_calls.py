"""Calls of plugins end in time, and say which step did not; work that is not waited for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from privacy_router.engine.calls import availability, bounded, require_available, unwaited
from privacy_router.engine.errors import (
    PluginFailedError,
    PluginTimeoutError,
    PluginUnavailableError,
    not_as_asked,
)
from privacy_router.engine.model import Change
from privacy_router.errors import PrivacyRouterError
from tests.engine.file_plugin import FilePlugin

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def plugin(tmp_path: Path) -> FilePlugin:
    return FilePlugin("one", tmp_path)


async def forever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def fails(error: Exception) -> NoReturn:
    raise error


async def test_a_call_that_takes_too_long_is_named_by_its_step(plugin: FilePlugin) -> None:
    plugin.timeout_s = 0.01  # type: ignore[misc]  # a constant of each plugin
    with pytest.raises(PluginTimeoutError) as caught:
        await bounded(plugin, "go back", forever())
    assert caught.value.message == "one did not go back within 0.01 s"
    assert caught.value.retryable


async def test_a_defect_is_named_by_its_step_and_an_error_stays_itself(plugin: FilePlugin) -> None:
    with pytest.raises(PluginFailedError) as caught:
        await bounded(plugin, "read its state", fails(KeyError("x")))
    assert caught.value.message == "one failed to read its state: KeyError: 'x'"
    error = PrivacyRouterError("one broke")
    with pytest.raises(PrivacyRouterError) as same:
        await bounded(plugin, "go back", fails(error))
    assert same.value is error


async def test_a_plugin_that_is_away_is_refused_with_what_cannot_be_had(plugin: FilePlugin) -> None:
    assert await availability(plugin)
    await require_available(plugin, "no files")
    plugin.reason = "it is not installed"
    with pytest.raises(PluginUnavailableError) as caught:
        await require_available(plugin, "no files")
    assert caught.value.message == "no files: it is not installed"
    assert (caught.value.remedy, caught.value.retryable) == ("install one", True)


async def test_work_that_is_not_waited_for_gives_its_result_or_its_error() -> None:
    seen: list[threading.Thread] = []

    def work() -> str:
        seen.append(threading.current_thread())
        return "found"

    def broken() -> str:
        raise OSError("no network")

    assert await unwaited(work) == "found"
    assert [(thread.name, thread.daemon) for thread in seen] == [("unwaited", True)]
    with pytest.raises(OSError, match="no network"):
        await unwaited(broken)


async def test_a_caller_that_is_cancelled_leaves_such_work_behind() -> None:
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        ended.set()

    task = asyncio.create_task(unwaited(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    go.set()
    assert await asyncio.to_thread(ended.wait, 30)  # it ends with the event


@pytest.mark.parametrize(
    ("count", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (9, " and 6 more")]
)
def test_what_is_not_as_asked_names_three(plugin: FilePlugin, count: int, more: str) -> None:
    changes = [Change(plugin.key("file", f"f{n}"), None, {"text": "x"}) for n in range(count)]
    error = not_as_asked(changes, "read back otherwise than it was set")
    named = [f"one file f{n} (is None, should be {{'text': 'x'}})" for n in range(min(count, 3))]
    assert error.message == f"{', '.join(named)}{more}: read back otherwise than it was set"
    assert error.retryable
