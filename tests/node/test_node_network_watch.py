"""The watch of the namespaces does not go on deaf when the directory of their names goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import namespaces
from privacy_router.node import network_watch
from privacy_router.node.network_watch import NetworkWatch
from privacy_router.node.supervision import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

PATIENCE_S = 30.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


class Ears:
    """What is listened to, in the place of the kernel."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.fails = True

    async def listen(self, path: Path | None, *_: object) -> AsyncGenerator[str, None]:
        self.begun.append(path.name if path is not None else "host")
        if self.fails:
            raise OSError(5, "no netlink")
        yield "listening from now on"
        await asyncio.Event().wait()


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ears:
    ears = Ears()
    monkeypatch.setattr(network_watch, "changes", ears.listen)
    monkeypatch.setattr(network_watch, "table_changes", ears.listen)
    monkeypatch.setattr(namespaces, "NETNS_DIR", tmp_path / "netns")
    monkeypatch.setattr(namespaces, "inode_of", lambda _: 7)
    return ears


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(lambda: None)
    yield supervisor
    await supervisor.end()


async def test_it_listens_again_once_the_directory_is_there_again(
    ears: Ears, supervisor: Supervisor, tmp_path: Path
) -> None:
    ears.fails = False
    watch = NetworkWatch(lambda: None, supervisor)
    watch.follow({"pr-warp"})
    supervisor.keep("the namespaces", watch.run)
    await until(lambda: "the namespaces" in supervisor.degraded)
    assert not ears.begun, "without the directory it would not see a namespace go"
    (tmp_path / "netns").mkdir()
    await until(lambda: ears.begun == ["pr-warp", "pr-warp"])
    (tmp_path / "netns").rmdir()
    await until(lambda: "the namespaces" in supervisor.degraded)
    assert "not there" in supervisor.degraded["the namespaces"]
    (tmp_path / "netns").mkdir()
    await until(lambda: len(ears.begun) == 4)


async def test_a_namespace_that_cannot_be_listened_to_is_degraded_until_it_can(
    ears: Ears, supervisor: Supervisor, tmp_path: Path
) -> None:
    (tmp_path / "netns").mkdir()
    watch = NetworkWatch(lambda: None, supervisor)
    watch.follow({"pr-warp"})
    supervisor.keep("the namespaces", watch.run)
    await until(lambda: "the network of pr-warp" in supervisor.degraded)
    assert "no netlink" in supervisor.degraded["the network of pr-warp"]
    ears.fails = False
    await until(lambda: not supervisor.degraded)
    watch.follow(set())
    assert supervisor.degraded == {}
