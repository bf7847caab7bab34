"""Drift is noticed by an event, put right and told; what keeps changing is left alone a while."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from privacy_router.engine import reconcile
from privacy_router.engine.document import Source
from privacy_router.engine.errors import RollbackFailedError
from privacy_router.engine.reconcile import Reconciler, RepairLoop
from privacy_router.errors import PrivacyRouterError
from tests.engine.file_plugin import FilePlugin, machine, make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from privacy_router.engine.engine import Engine
    from privacy_router.engine.model import Change


class Ears:
    def __init__(self) -> None:
        self.drifts: list[tuple[str, list[str], bool]] = []
        self.keepers: Reconciler | None = None

    def drifted(self, plugin: str, changes: Sequence[Change], repaired: bool) -> None:
        self.drifts.append((plugin, [f"{c.verb} {c.key.name}" for c in changes], repaired))

    def settled(self) -> None:
        if self.keepers is not None:
            self.keepers.refresh()

    def progress(self, _: Any) -> None:
        pass


@asynccontextmanager
async def kept(root: Path, **sections: Any) -> AsyncIterator[tuple[Engine, Reconciler, Ears]]:
    engine, ears = make_engine(root), Ears()
    reconciler = ears.keepers = Reconciler(engine, ears)
    engine.listeners.append(ears)
    task = asyncio.create_task(reconciler.run())
    await engine.apply(Source(json.dumps(sections)))
    try:
        yield engine, reconciler, ears
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def plugin(engine: Engine, name: str = "one") -> FilePlugin:
    found = engine.plugins[name]
    assert isinstance(found, FilePlugin)
    return found


def loop_of(reconciler: Reconciler, name: str = "one") -> RepairLoop:
    found = reconciler.loops[name]
    assert isinstance(found, RepairLoop)
    return found


def is_there(root: Path, files: dict[str, str]) -> bool:
    return machine(root) == files


A = {"a": {"text": "1"}}


async def test_drift_is_put_right_and_told(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, _, ears):
        (tmp_path / "one" / "a").write_text("by hand")
        plugin(engine).hints.put_nowait("a")
        await until(lambda: ears.drifts)
        assert machine(tmp_path) == {"one/a": "1"}
        assert ears.drifts == [("one", ["change a"], True)]


MANY = {f"f{number}": {"text": "1"} for number in range(40)}


async def test_a_start_is_no_repair_and_many_repairs_are_one_line(tmp_path: Path) -> None:
    """A machine that has just started has nothing of what is declared."""
    async with kept(tmp_path, one=MANY) as (engine, _, ears):
        ears.keepers = None
        keeper = loop_of(Reconciler(engine, ears))  # as one that has just begun

        def lose_all() -> None:
            for file in (tmp_path / "one").iterdir():
                file.unlink()

        with capture_logs() as log:
            lose_all()
            await keeper.look()
            assert log.pop() == {
                "event": "made as declared",
                "log_level": "info",
                "plugin": "one",
                "changes": 40,
            }
            lose_all()
            await keeper.look()
        (line,) = log
        assert (line["event"], line["log_level"], line["changes"]) == ("repaired", "warning", 40)
        assert re.fullmatch(r"(one file \w+, ){2}one file \w+ and 37 more", line["what"])


async def test_what_is_only_observed_is_told_once_and_left(tmp_path: Path) -> None:
    async with kept(tmp_path, one={"a": {"text": "1", "mode": "observe-only"}}) as (
        _,
        reconciler,
        ears,
    ):
        await until(lambda: ears.drifts)
        for _ in range(3):
            await loop_of(reconciler).look()
        assert ears.drifts == [("one", ["add a"], False)]
        assert machine(tmp_path) == {}
        (tmp_path / "one" / "a").write_text("1")
        await loop_of(reconciler).look()
        assert loop_of(reconciler).deviations == []


async def test_what_cannot_be_put_right_is_told_and_tried_later(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, reconciler, ears):
        keeper = loop_of(reconciler)
        plugin(engine).fault = "do nothing"
        (tmp_path / "one" / "a").unlink()
        await keeper.look()
        assert "does not stay as it is set" in keeper.trouble
        assert ears.drifts == [("one", ["add a"], False)]
        assert not keeper._backoff.ready(plugin(engine).key("file", "a"), time.monotonic())
        plugin(engine).fault = ""
        await until(lambda: machine(tmp_path) == {"one/a": "1"})  # after its pause, by itself
        await until(lambda: not keeper.trouble)


async def test_what_is_refused_by_now_is_not_touched(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, reconciler, ears):
        keeper = loop_of(reconciler)
        plugin(engine).fault = "refuse"
        (tmp_path / "one" / "a").write_text("by hand")
        await keeper.look()
        assert keeper.trouble == "one refuses"
        assert ears.drifts == [("one", ["change a"], False)]
        assert machine(tmp_path) == {"one/a": "by hand"}
        plugin(engine).fault = ""
        await until(lambda: machine(tmp_path) == {"one/a": "1"})


async def test_a_plugin_that_goes_away_is_told(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, reconciler, _):
        keeper = loop_of(reconciler)
        plugin(engine).reason = "its service stopped"
        await keeper.look()
        assert keeper.trouble == "unavailable: its service stopped"
        plugin(engine).reason = ""
        await keeper.look()
        assert keeper.trouble == ""


async def test_what_is_given_back_is_not_kept(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, reconciler, ears):
        await engine.apply(Source("{}"))
        (tmp_path / "one" / "a").write_text("mine now")
        await loop_of(reconciler).look()
        assert machine(tmp_path) == {"one/a": "mine now"}
        assert ears.drifts == []


async def test_a_look_that_trips_over_something_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_FULL_PASS_S", 0.01)
    async with kept(tmp_path, one=A) as (engine, reconciler, ears):
        keeper = loop_of(reconciler)
        with monkeypatch.context() as odd:
            odd.setattr(plugin(engine), "diff", lambda *_: [][1])
            await until(lambda: "IndexError" in keeper.trouble)
        await until(lambda: not keeper.trouble)
        (tmp_path / "one" / "a").write_text("by hand")
        await until(lambda: ears.drifts)
        assert machine(tmp_path) == {"one/a": "1"}


async def test_what_another_document_asks_for_is_kept_from_then_on(tmp_path: Path) -> None:
    async with kept(tmp_path, one=A) as (engine, _, _ears):
        for text in ("2", "3"):
            await engine.apply(Source(json.dumps({"one": {"a": {"text": text}}})))
            (tmp_path / "one" / "a").write_text("by hand")
            plugin(engine).hints.put_nowait("a")
            await until(partial(is_there, tmp_path, {"one/a": text}))


async def test_what_does_not_go_back_is_tried_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_RETRY_FIRST_S", 0.01)
    async with kept(tmp_path) as (engine, _, _ears):
        tries: list[str] = []
        back = plugin(engine, "two").rollback

        async def counted(checkpoint: Any, tell: Any) -> None:
            tries.append(checkpoint)
            await back(checkpoint, tell)

        monkeypatch.setattr(plugin(engine, "two"), "rollback", counted)
        plugin(engine, "two").fault = "no way back"
        plugin(engine, "three").fault = "raise"
        with pytest.raises(RollbackFailedError):
            await engine.apply(Source(json.dumps({"two": A, "three": A})))
        await until(lambda: len(tries) >= 4)
        assert machine(tmp_path) == {"two/a": "1"}
        plugin(engine, "two").fault = ""
        await until(lambda: not engine.trouble)
        assert machine(tmp_path) == {}


async def test_a_watch_that_ends_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_RETRY_FIRST_S", 0.01)
    begun: list[int] = []

    async def watch(_: Any) -> AsyncIterator[str]:
        begun.append(len(begun))
        if len(begun) % 2:
            raise PrivacyRouterError("the socket is gone")
        yield "something"

    async with kept(tmp_path) as (engine, _, _ears):
        monkeypatch.setattr(plugin(engine), "watch", watch)
        await engine.apply(Source(json.dumps({"one": A})))
        await until(lambda: len(begun) >= 4)
