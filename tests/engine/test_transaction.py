"""A run over several plugins: all of it, or nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.document import Source
from privacy_router.engine.errors import (
    PluginFailedError,
    PluginTimeoutError,
    PluginUnavailableError,
    RollbackFailedError,
)
from privacy_router.engine.journal import Phase
from privacy_router.errors import PrivacyRouterError, StorageError, VerificationError
from tests.engine.file_plugin import FilePlugin, Final, machine, make_engine, make_plugins

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.engine.engine import Engine
    from privacy_router.engine.transaction import RunProgress


class Ears:
    """Hears what an engine tells of a run."""

    def __init__(self) -> None:
        self.told: list[RunProgress] = []

    def progress(self, progress: RunProgress) -> None:
        self.told.append(progress)

    def settled(self) -> None:
        """Nothing to look at anew."""

    def steps(self) -> list[tuple[str, str, int, int, str]]:
        return [(p.phase, p.plugin, p.done, p.total, p.text) for p in self.told]


def source(**sections: Any) -> Source:
    return Source(json.dumps(sections))


def files(**texts: str | None) -> dict[str, Any]:
    return {name: None if text is None else {"text": text} for name, text in texts.items()}


ALL = source(one=files(a="1"), two=files(b="2", c="3"), three=files(d="4"))


def plugin(engine: Engine, name: str) -> FilePlugin:
    found = engine.plugins[name]
    assert isinstance(found, FilePlugin)
    return found


async def test_all_changes_are_made_and_committed(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    outcome = await engine.apply(ALL)
    assert machine(tmp_path) == {"one/a": "1", "two/b": "2", "two/c": "3", "three/d": "4"}
    assert [c.verb for c in outcome.changes] == ["add"] * 4
    (run,) = engine.journal.runs()
    assert (run.number, run.phase) == (outcome.number, Phase.COMMITTED)
    assert engine.journal.open_run() is None


async def test_a_plugin_knows_who_called_for_a_run_and_forgets_it(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(one=files(a="1")), caller_pid=4711)
    assert plugin(engine, "one").callers == [4711, 4711]  # check, apply
    assert engine.kept["one"].caller_pid is None  # by the next repair that may be another process
    await engine.apply(source(one=files(a="2")))
    assert plugin(engine, "one").callers[2:] == [None, None]


async def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(ALL)
    writes = engine.journal.writes
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    outcome = await engine.apply(ALL)
    assert (outcome.number, list(outcome.changes)) == (0, [])
    assert engine.journal.writes == writes
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


async def test_one_change_touches_only_that(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(ALL)
    for one in engine.plugins.values():
        plugin(engine, one.name).applied.clear()
    await engine.apply(source(one=files(a="1"), two=files(b="2", c="new"), three=files(d="4")))
    assert [plugin(engine, n).applied for n in ("one", "two", "three")] == [[], ["change c"], []]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("raise", PrivacyRouterError),
        ("hang", PluginTimeoutError),
        ("do nothing", VerificationError),
    ],
)
async def test_a_failure_in_the_last_plugin_undoes_all(
    tmp_path: Path, fault: str, error: type[Exception]
) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(one=files(a="0"), two=files(b="2"), three=files(x="old")))
    before, query = machine(tmp_path), (await engine.query()).canonical()
    last = plugin(engine, "three")
    last.fault, last.timeout_s = fault, 0.2  # type: ignore[misc]
    with pytest.raises(error):
        await engine.apply(
            source(one=files(a="1", z="9"), two=files(b=None, c="3"), three=files(x="new", y="5"))
        )
    last.fault = ""
    assert machine(tmp_path) == before
    assert (await engine.query()).canonical() == query
    assert engine.journal.runs()[0].phase is Phase.UNDONE
    assert [c.name for c in engine.journal.checkpoints()] == ["before-run-1"]


async def test_a_defect_of_a_plugin_is_told_by_name(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "two").fault = "raise in query"
    with pytest.raises(PluginFailedError, match=r"two failed to read its state: RuntimeError"):
        await engine.apply(ALL)
    assert machine(tmp_path) == {}
    assert engine.journal.runs() == []


async def test_an_unavailable_plugin_is_refused_before_anything(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "three").reason = "its service does not run"
    with pytest.raises(PluginUnavailableError, match=r"plugins\.three: its service") as caught:
        await engine.apply(ALL)
    assert caught.value.remedy == "install three"
    assert machine(tmp_path) == {}


async def test_what_is_no_longer_declared_is_given_back(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    (tmp_path / "one" / "a").write_text("found")
    await engine.apply(source(one=files(a="1", b="2")))
    await engine.apply(source(one=files(a="1.1", b="2")))
    await engine.apply(source(two=files(c="3")))
    assert machine(tmp_path) == {"one/a": "found", "two/c": "3"}
    await engine.apply(source())
    assert machine(tmp_path) == {"one/a": "found"}
    assert engine.journal.managed() == {}


async def test_what_is_gone_is_given_up(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    (tmp_path / "one" / "a").write_text("found")
    await engine.apply(source(one=files(a="1", b="2")))
    plugin(engine, "one").gone = {"a"}
    await engine.apply(source())
    assert machine(tmp_path) == {"one/a": "1"}
    assert engine.journal.managed() == {}


async def test_what_goes_in_the_middle_of_a_run_does_not_keep_the_rest_from_going_back(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "three").fault = "raise"
    plugin(engine, "two").gone = {"c"}
    with pytest.raises(PrivacyRouterError, match="three broke"):
        await engine.apply(ALL)
    assert machine(tmp_path) == {"two/c": "3"}
    assert engine.journal.runs()[0].phase is Phase.UNDONE


async def test_giving_back_waits_for_a_plugin_that_is_away(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(one=files(a="1"), two=files(b="2")))
    plugin(engine, "two").reason = "its service was removed"
    await engine.apply(source())
    assert machine(tmp_path) == {"two/b": "2"}
    plugin(engine, "two").reason = ""
    await engine.apply(source())
    assert machine(tmp_path) == {}


async def test_removals_come_first_and_in_reverse(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(one=files(a="1"), two=files(b="2")))
    ears = Ears()
    engine.listeners.append(ears)
    await engine.apply(source(one=files(a=None, c="3"), two=files(b=None, d="4")))
    steps = [(p.plugin, p.text) for p in ears.told if p.text]
    assert steps == [
        ("two", "remove b"),
        ("one", "remove a"),
        ("one", "add c"),
        ("two", "add d"),
    ]
    assert [(p.done, p.total) for p in ears.told][-1] == (5, 6)


async def test_what_is_only_observed_is_reported_and_left(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    outcome = await engine.apply(source(one={"a": {"text": "1", "mode": "observe-only"}}))
    assert outcome.number == 0
    assert [str(c.key) for c in outcome.changes] == ["one file a"]
    assert machine(tmp_path) == {}


async def test_what_cannot_be_undone_comes_last(tmp_path: Path) -> None:
    (tmp_path / "aaa").mkdir()
    plugins = [Final("aaa", tmp_path / "aaa"), *make_plugins(tmp_path)]
    engine = make_engine(tmp_path, plugins)
    assert list(engine.plugins) == ["one", "two", "three", "aaa"]
    plugin(engine, "three").fault = "raise"
    with pytest.raises(PrivacyRouterError):
        await engine.apply(source(three=files(a="1"), aaa=files(b="2")))
    assert machine(tmp_path) == {}


async def test_a_rollback_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "two").fault = "no way back"
    plugin(engine, "three").fault = "raise"
    with pytest.raises(
        RollbackFailedError, match=r"three broke; and not everything went back: two"
    ):
        await engine.apply(ALL)
    assert machine(tmp_path) == {"two/b": "2", "two/c": "3"}
    with pytest.raises(RollbackFailedError):
        await engine.apply(source())
    plugin(engine, "two").fault = ""
    await engine.retry()
    assert machine(tmp_path) == {}
    plugin(engine, "three").fault = ""
    assert (await engine.apply(ALL)).number == 2


async def test_a_caller_that_goes_away_does_not_leave_half_a_run(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "three").fault = "hang"
    task = asyncio.create_task(engine.apply(ALL))
    while not (tmp_path / "two" / "c").exists():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert machine(tmp_path) == {}
    assert engine.journal.runs()[0].reason == "stopped"


async def test_a_caller_that_goes_away_while_the_run_is_closed_does_not_undo_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tmp_path)
    commit, closing, go = engine.journal.commit, threading.Event(), threading.Event()

    def slow(number: int) -> None:
        closing.set()
        assert go.wait(10)
        commit(number)

    monkeypatch.setattr(engine.journal, "commit", slow)
    task = asyncio.create_task(engine.apply(ALL))
    assert await asyncio.to_thread(closing.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert machine(tmp_path) == {"one/a": "1", "two/b": "2", "two/c": "3", "three/d": "4"}
    assert engine.journal.runs()[0].phase is Phase.COMMITTED
    assert engine.source == ALL


async def test_a_full_disk_stops_a_run_before_its_first_change(tmp_path: Path) -> None:
    from privacy_router.engine.engine import Engine
    from privacy_router.engine.journal import Journal
    from tests.engine.file_plugin import parse

    journal = Journal(tmp_path / "state" / "journal.db", pages_max=16)
    engine = Engine(make_plugins(tmp_path), journal, parse=parse)
    with pytest.raises(StorageError, match="full") as caught:
        await engine.apply(source(one=files(a="x" * 100_000)))
    assert caught.value.remedy.startswith("free some space")
    assert machine(tmp_path) == {}
    await engine.apply(source(one=files(a="x")))
    assert machine(tmp_path) == {"one/a": "x"}


async def test_a_full_disk_that_stays_full_is_told_and_the_run_closed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tmp_path)

    def full(*_: object) -> None:
        raise StorageError("the journal: database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(engine.journal, "commit", full)
        disk.setattr(engine.journal, "undone", full)
        with pytest.raises(RollbackFailedError, match="disk is full"):
            await engine.apply(ALL)
        assert machine(tmp_path) == {}
        with pytest.raises(RollbackFailedError):
            await engine.apply(ALL)
    await engine.retry()
    assert (await engine.apply(ALL)).number == 2


async def test_what_does_not_go_back_at_a_start_takes_nothing_else_away(tmp_path: Path) -> None:
    first = make_engine(tmp_path)
    await first.apply(source(one=files(a="1")))
    plugin(first, "two").fault = "no way back"
    plugin(first, "three").fault = "raise"
    with pytest.raises(RollbackFailedError):
        await first.apply(ALL)
    await first.close()
    second = make_engine(tmp_path)
    plugin(second, "two").fault = "no way back"
    assert await second.recover() is True
    assert "two does not go back" in second.trouble
    assert list(second.kept) == ["one"]
    plugin(second, "two").fault = ""
    await second.retry()
    assert machine(tmp_path) == {"one/a": "1"}


async def test_a_full_disk_at_the_end_undoes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tmp_path)

    def full(_: int) -> None:
        raise StorageError("the journal: database or disk is full")

    monkeypatch.setattr(engine.journal, "commit", full)
    with pytest.raises(StorageError):
        await engine.apply(ALL)
    assert machine(tmp_path) == {}
    assert engine.journal.source() is None


async def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    from privacy_router.engine.journal import Journal

    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="not a database") as caught:
        Journal(path)
    assert "move" in caught.value.remedy


async def test_a_journal_of_another_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    from privacy_router.engine.journal import Journal

    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="format 99"):
        Journal(path)


def test_the_journal_is_private(tmp_path: Path) -> None:
    make_engine(tmp_path)
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


async def test_every_step_of_a_run_and_of_its_way_back_is_told(tmp_path: Path) -> None:
    engine, ears = make_engine(tmp_path), Ears()
    engine.listeners.append(ears)
    await engine.apply(source(one=files(a="1"), two=files(b="2")))
    assert ears.steps() == [
        ("apply", "one", 0, 4, ""),
        ("apply", "one", 0, 4, "add a"),
        ("apply", "two", 1, 4, ""),
        ("apply", "two", 1, 4, "add b"),
        ("verify", "one", 2, 4, ""),
        ("verify", "two", 3, 4, ""),
    ]
    ears.told.clear()
    plugin(engine, "three").fault = "raise"
    with pytest.raises(PrivacyRouterError, match="three broke"):
        await engine.apply(source(one=files(a="3"), two=files(b="2"), three=files(d="4")))
    assert ears.steps() == [
        ("apply", "one", 0, 4, ""),
        ("apply", "one", 0, 4, "change a"),
        ("apply", "three", 1, 4, ""),
        ("apply", "three", 1, 4, "add d"),
        ("undo", "three", 0, 2, ""),
        ("undo", "one", 1, 2, ""),
        ("undo", "one", 0, 0, "change a"),
    ]


async def test_what_does_not_go_back_in_time_is_named_so(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    plugin(engine, "one").fault = "hang in rollback"
    plugin(engine, "one").timeout_s = 0.05  # type: ignore[misc]  # a constant of each plugin
    plugin(engine, "three").fault = "raise"
    with pytest.raises(RollbackFailedError, match=r"one did not go back within 0\.05 s"):
        await engine.apply(ALL)
