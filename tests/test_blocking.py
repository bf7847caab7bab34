"""The watch over the event loop sees what blocks it, and whose doing that is."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.host import files
from privacy_router.host.threads import in_thread
from tests.blocking import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield watch
    finally:
        sys.setprofile(before)


def ours(function: Any) -> Any:
    """The same function, as if it stood in our sources."""
    code = function.__code__.replace(co_filename=files.__file__)
    return FunctionType(code, function.__globals__, function.__name__)


def read(path: Path) -> bytes:
    return path.read_bytes()


async def read_in_loop(path: Path) -> bytes:
    return path.read_bytes()


async def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path.with_name("database"))) as database:
        database.execute("CREATE TABLE row (id INTEGER)")


async def sleep(_: Path) -> None:
    time.sleep(0)  # noqa: ASYNC251  # what the watch is to see


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        (read_in_loop, ["open"]),
        (sleep, ["sleep"]),
        (write_database, ["Connection.execute", "connect"]),
    ],
)
async def test_a_coroutine_of_ours_that_blocks(
    watch: Watch, tmp_path: Path, function: Any, calls: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    await ours(function)(tmp_path / "file")
    name = f"host/files.py:{function.__name__}"
    assert [line.split(" (line")[0] for line in sorted(watch.found)] == [name] * len(calls)
    assert sorted(line.split()[4] for line in watch.found) == calls


async def test_a_callback_of_ours_that_blocks(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asyncio.get_running_loop().call_soon(ours(read), tmp_path / "file")
    await asyncio.sleep(0)
    assert [line.split(" (line")[0] for line in watch.found] == ["host/files.py:read"]


async def test_what_a_thread_or_the_test_does_is_no_blocking(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert await in_thread(ours(read), tmp_path / "file") == b"x"
    assert ours(read)(tmp_path / "file") == b"x"
    assert await read_in_loop(tmp_path / "file") == b"x"
    assert watch.found == set()
