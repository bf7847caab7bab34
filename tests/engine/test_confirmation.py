"""Commit-confirm: by hand, by nobody, across a restart, across a reboot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from privacy_router.engine.clock import Clock
from privacy_router.engine.document import Source
from privacy_router.engine.errors import AwaitingConfirmationError, NothingToConfirmError
from privacy_router.engine.journal import Phase
from privacy_router.errors import StorageError
from tests.engine.file_plugin import machine, make_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = Source(json.dumps({"one": {"a": {"text": "1"}}}))
TWO = Source(json.dumps({"one": {"a": {"text": "2"}}}))


class Time:
    """A clock of the test's."""

    def __init__(self, boot: str = "this boot") -> None:
        self.now_s = 1000.0
        self.clock = Clock(boot, lambda: self.now_s)


async def until(condition: Callable[[], object]) -> None:
    import asyncio

    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_confirmed_run_stands(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, clock=Time().clock)
    await engine.apply(ONE)
    outcome = await engine.apply(TWO, 60)
    assert (engine.confirmation.number, engine.confirmation.left_s) == (outcome.number, 60)
    assert engine.journal.source() == ONE
    assert await engine.confirm() == outcome.number
    assert engine.journal.source() == TWO
    assert machine(tmp_path) == {"one/a": "2"}
    with pytest.raises(NothingToConfirmError):
        await engine.confirm()


async def test_a_full_disk_leaves_it_to_be_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tmp_path, clock=Time().clock)
    await engine.apply(TWO, 60)

    def full(_: int) -> None:
        raise StorageError("the journal: database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(engine.journal, "commit", full)
        with pytest.raises(StorageError):
            await engine.confirm()
    assert await engine.confirm() == 1
    assert machine(tmp_path) == {"one/a": "2"}


async def test_nobody_confirms(tmp_path: Path) -> None:
    time = Time()
    engine = make_engine(tmp_path, clock=time.clock)
    await engine.apply(ONE)
    await engine.apply(TWO, 60)
    time.now_s += 61
    await until(lambda: machine(tmp_path) == {"one/a": "1"})
    await until(lambda: engine.journal.open_run() is None)
    assert engine.journal.runs()[0].reason == "it was not confirmed in time"
    await until(lambda: engine.source == ONE)
    assert engine.confirmation.number is None
    with pytest.raises(NothingToConfirmError):
        await engine.confirm()


async def test_undone_by_hand(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, clock=Time().clock)
    await engine.apply(ONE)
    await engine.apply(TWO, 60)
    await engine.roll_back()
    assert machine(tmp_path) == {"one/a": "1"}
    assert engine.journal.runs()[0].phase is Phase.UNDONE


async def test_nothing_else_changes_while_a_run_waits(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, clock=Time().clock)
    await engine.apply(TWO, 60)
    with pytest.raises(AwaitingConfirmationError, match=r"run 1 waits to be confirmed, 60 s more"):
        await engine.apply(ONE)
    assert machine(tmp_path) == {"one/a": "2"}
    await engine.roll_back()


async def test_a_restart_goes_on_waiting(tmp_path: Path) -> None:
    time = Time()
    first = make_engine(tmp_path, clock=time.clock)
    await first.apply(ONE)
    await first.apply(TWO, 60)
    await first.close()
    time.now_s += 20
    second = make_engine(tmp_path, clock=time.clock)
    assert await second.recover() is False
    assert second.confirmation.left_s == 40
    assert second.source == TWO
    time.now_s += 41
    await until(lambda: machine(tmp_path) == {"one/a": "1"})


async def test_a_restart_that_comes_too_late_undoes(tmp_path: Path) -> None:
    time = Time()
    first = make_engine(tmp_path, clock=time.clock)
    await first.apply(ONE)
    await first.apply(TWO, 60)
    await first.close()
    time.now_s += 61
    second = make_engine(tmp_path, clock=time.clock)
    assert await second.recover() is True
    assert machine(tmp_path) == {"one/a": "1"}


async def test_a_reboot_undoes(tmp_path: Path) -> None:
    first = make_engine(tmp_path, clock=Time().clock)
    await first.apply(ONE)
    await first.apply(TWO, 60)
    await first.close()
    second = make_engine(tmp_path, clock=Time("another boot").clock)
    assert await second.recover() is True
    assert machine(tmp_path) == {"one/a": "1"}
    assert second.source == ONE
