"""Changes in directories."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.host.inotify import watching

if TYPE_CHECKING:
    from collections.abc import Callable


async def told(queue: asyncio.Queue[Path]) -> Path:
    async with asyncio.timeout(30):
        return await queue.get()


def made(path: Path) -> None:
    path.write_text("x")


def renamed(path: Path) -> None:
    path.with_suffix(".old").rename(path)


@pytest.mark.parametrize(
    "change", [made, renamed, Path.mkdir, Path.unlink, lambda path: path.chmod(0o600)]
)
async def test_changes_of_entries_are_told(tmp_path: Path, change: Callable[[Path], None]) -> None:
    queue: asyncio.Queue[Path] = asyncio.Queue()
    entry = tmp_path / "entry"
    if change is renamed:
        entry.with_suffix(".old").touch()
    elif change not in (made, Path.mkdir):
        entry.touch()
    with watching([tmp_path], queue.put_nowait):
        change(entry)
        while await told(queue) != entry:
            pass


async def test_a_directory_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    queue: asyncio.Queue[Path] = asyncio.Queue()
    (tmp_path / "file").touch()
    with watching([tmp_path / "none", tmp_path / "file", tmp_path], queue.put_nowait):
        (tmp_path / "entry").touch()
        assert await told(queue) == tmp_path / "entry"


async def test_a_directory_that_goes_is_told(tmp_path: Path) -> None:
    queue: asyncio.Queue[Path] = asyncio.Queue()
    directory = tmp_path / "directory"
    directory.mkdir()
    with watching([directory], queue.put_nowait):
        directory.rmdir()
        assert await told(queue) == directory


async def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    queue: asyncio.Queue[Path] = asyncio.Queue()
    with watching([tmp_path], queue.put_nowait):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
