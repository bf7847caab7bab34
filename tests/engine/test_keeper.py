"""What the engine leaves to a plugin that keeps itself, and what it does for all others."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.checkpoints import Checkpoints
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.keeper import EngineKeeper, OwnKeeper
from privacy_router.engine.model import Change, Desired, Observed, ResourceKey
from privacy_router.engine.reconcile import Reconciler, RepairLoop
from privacy_router.errors import VerificationError
from tests.engine.file_plugin import FilePlugin, machine, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from privacy_router.engine.plugin import Progress


class Deaf:
    def drifted(self, plugin: str, changes: Sequence[Change], repaired: bool) -> None:
        pass

    def settled(self) -> None:
        pass


class Notes(OwnKeeper):
    """Notes what it is to keep."""

    trouble = ""

    def __init__(self, plugin: FilePlugin) -> None:
        super().__init__(plugin)
        self.kept: list[Desired] = []

    async def keep(self, desired: Desired) -> None:
        self.kept.append(desired)


class SelfKept(FilePlugin):
    """What is there too much is a change of it, too."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.notes = Notes(self)
        self.steps: list[list[str]] = []
        self.reads = 0

    def keeper(self) -> OwnKeeper:
        return self.notes

    @property
    def domains(self) -> frozenset[str]:
        return frozenset({self.name, "other"})

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        found = await super().query(keys)
        return found if keys is not None else Observed({**found.values, OTHER: "from here"})

    async def observe(self, desired: Desired) -> Observed:
        self.reads += 1
        return await super().query()

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        surplus = sorted(observed.values.keys() - desired.resources.keys())
        gone = [Change(key, observed.values[key], None) for key in surplus]
        return [*gone, *super().diff(desired, observed)]

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        self.steps.append([f"{change.verb} {change.key.name}" for change in changes])
        await super().apply(desired, changes, tell)


OTHER = ResourceKey("other", "thing", "x")


@pytest.fixture
def plugin(tmp_path: Path) -> SelfKept:
    (tmp_path / "own").mkdir()
    return SelfKept("own", tmp_path / "own")


@pytest.fixture
def engine(tmp_path: Path, plugin: SelfKept) -> Engine:
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    plugins = [plugin, *(FilePlugin(name, tmp_path / name) for name in ("plain", "other"))]
    return Engine(plugins, Journal(tmp_path / "state" / "journal.db"), parse=parse)


def source(**sections: Any) -> Source:
    return Source(json.dumps(sections))


A, B = {"a": {"text": "1"}}, {"b": {"text": "1"}}


async def test_it_gets_all_changes_at_once_and_releases_by_itself(
    engine: Engine, plugin: SelfKept, tmp_path: Path
) -> None:
    await engine.apply(source(own=A))
    await engine.apply(source(own=B))
    assert plugin.steps == [["add a"], ["remove a", "add b"]]
    assert engine.journal.managed() == {}, "the engine has nothing of it to give back"
    await engine.apply(source())  # without a section it has a share all the same
    assert plugin.steps[2:] == [["remove b"]]
    assert [sorted(one.resources) for one in plugin.notes.kept] == [
        [plugin.key("file", "a")],
        [plugin.key("file", "b")],
        [],
    ]


async def test_it_is_believed_and_others_are_read_again(engine: Engine, plugin: SelfKept) -> None:
    plugin.fault = "do nothing"  # and it says that all is well
    await engine.apply(source(own=A))
    other = engine.plugins["plain"]
    assert isinstance(other, FilePlugin)
    other.fault = "do nothing"
    with pytest.raises(VerificationError, match="read back otherwise"):
        await engine.apply(source(plain=A))


async def test_a_checkpoint_has_its_document_only(
    engine: Engine, plugin: SelfKept, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(engine)
    await engine.apply(source(own=A, plain=A))
    made = await checkpoints.make("good")
    assert [row[0] for row in made.observed] == ["plain"]
    assert await checkpoints.difference("good") == []
    for folder in ("own", "plain"):
        (tmp_path / folder / "a").write_text("by hand")
    found = [(change.key.plugin, change.after) for change in await checkpoints.difference("good")]
    assert found == [("own", {"text": "1"}), ("plain", {"text": "1"})]
    assert machine(tmp_path)["own/a"] == "by hand"


async def test_what_it_reads_in_the_domain_of_another_is_told_there(engine: Engine) -> None:
    assert (await engine.query("other")).values == {OTHER: "from here"}
    assert OTHER not in (await engine.query("own")).values
    assert OTHER not in (await engine.query("plain")).values


async def test_its_loop_is_its_own(engine: Engine, plugin: SelfKept) -> None:
    loops = Reconciler(engine, Deaf()).loops
    assert isinstance(loops["plain"], RepairLoop)
    assert isinstance(engine.plugins["plain"].keeper(), EngineKeeper)
    own = loops["own"]
    assert not isinstance(own, RepairLoop)
    plugin.notes.trouble = "the switch is gone"
    assert (own.trouble, own.drift, own.deviations) == ("the switch is gone", (0.0, ()), ())
    running = asyncio.create_task(own.run())
    await asyncio.sleep(0)
    own.refresh()
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert plugin.reads == 0
