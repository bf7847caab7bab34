"""Checkpoints: kept by name and before each run, looked at, gone back to, forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.checkpoints import Checkpoints
from privacy_router.engine.document import Source
from privacy_router.engine.errors import (
    NothingToUndoError,
    RefusedError,
    UnknownCheckpointError,
)
from privacy_router.engine.journal import KEPT
from tests.engine.file_plugin import machine, make_engine

if TYPE_CHECKING:
    from pathlib import Path


def source(**texts: str) -> Source:
    return Source(json.dumps({"one": {name: {"text": text} for name, text in texts.items()}}))


async def test_made_listed_and_restored(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    checkpoints = Checkpoints(engine)
    await engine.apply(source(a="1", b="2"))
    await checkpoints.make("good")
    await engine.apply(source(a="changed", c="3"))
    assert machine(tmp_path) == {"one/a": "changed", "one/c": "3"}
    assert [c.name for c in await checkpoints.all()] == ["before-run-2", "good", "before-run-1"]
    outcome = await checkpoints.restore("good")
    assert [f"{c.verb} {c.key.name}" for c in outcome.changes] == ["change a", "add b", "remove c"]
    assert machine(tmp_path) == {"one/a": "1", "one/b": "2"}


async def test_a_checkpoint_knows_what_is_different_since(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    checkpoints = Checkpoints(engine)
    await engine.apply(source(a="1", b="2"))
    await checkpoints.make("good")
    assert await checkpoints.difference("good") == []
    (tmp_path / "one" / "a").write_text("by hand")
    (tmp_path / "one" / "b").unlink()
    found: list[Any] = [
        (c.key.name, c.before, c.after) for c in await checkpoints.difference("good")
    ]
    assert found == [("a", {"text": "by hand"}, {"text": "1"}), ("b", None, {"text": "2"})]


async def test_what_was_not_there_before_a_run_is_a_difference(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(a="1"))
    (change,) = await Checkpoints(engine).difference("before-run-1")
    assert (change.verb, change.key.name) == ("remove", "a")


async def test_without_a_name_the_last_run_is_taken_back(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(source(a="1"))
    await engine.apply(source(a="2"))
    await Checkpoints(engine).restore()
    assert machine(tmp_path) == {"one/a": "1"}


async def test_a_run_that_is_undone_already_is_not_taken_back_again(tmp_path: Path) -> None:
    """Nor the one before it, which nobody has spoken of."""
    engine = make_engine(tmp_path)
    checkpoints = Checkpoints(engine)
    await engine.apply(source(a="1"))
    await engine.apply(source(a="2"), confirm_within_s=60)
    await engine.roll_back("it was not confirmed in time")
    undone = "run 2 is undone already: it was not confirmed"
    with pytest.raises(NothingToUndoError, match=undone) as refusal:
        await checkpoints.restore()
    assert "rollback before-run-1" in refusal.value.remedy
    assert machine(tmp_path) == {"one/a": "1"}
    await checkpoints.restore("before-run-1")
    assert machine(tmp_path) == {}


async def test_before_the_first_run_there_was_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_text("found")
    engine = make_engine(tmp_path)
    await engine.apply(source(a="1"))
    await Checkpoints(engine).restore("before-run-1")
    assert machine(tmp_path) == {"one/a": "found"}


async def test_only_so_many_are_kept_but_named_ones_stay(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    checkpoints = Checkpoints(engine)
    await checkpoints.make("first")
    for number in range(KEPT + 3):
        await engine.apply(source(a=str(number)))
    automatic = [one.name for one in await checkpoints.all() if one.automatic]
    assert automatic == [f"before-run-{n}" for n in range(KEPT + 3, 3, -1)]
    assert await checkpoints.prune(2) == KEPT - 2
    assert [one.name for one in await checkpoints.all()] == [
        f"before-run-{KEPT + 3}",
        f"before-run-{KEPT + 2}",
        "first",
    ]
    await checkpoints.drop("first")
    with pytest.raises(UnknownCheckpointError, match="there is no checkpoint first"):
        await checkpoints.find("first")


@pytest.mark.parametrize("name", ["", "../x", "a b", "before-run-1", "x" * 65, ".hidden"])
async def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="cannot be the name"):
        await Checkpoints(make_engine(tmp_path)).make(name)
