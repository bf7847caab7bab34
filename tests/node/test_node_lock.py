"""One controller a node: who holds the lock, who is told, and what a dead one leaves behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import ConflictError, StorageError
from privacy_router.host import abstract_names
from privacy_router.node import lock as lock_module
from privacy_router.node.lock import READ_CLIENTS, NodeLock, controller_pid, tell_of_clients
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[NodePaths]:
    """Taking the lock changes what signals do to this process: that is put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, READ_CLIENTS)}
    yield NodePaths(state=tmp_path / "state", run=tmp_path / "run")
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nobody_keeps_a_node_that_was_never_up(paths: NodePaths) -> None:
    assert controller_pid(paths) is None
    assert not tell_of_clients(paths)
    assert not paths.run.exists(), "asking makes nothing"


def test_who_takes_it_is_known_at_once_and_others_are_refused(paths: NodePaths) -> None:
    lock = NodeLock(paths)
    lock.take()
    assert controller_pid(paths) == os.getpid()
    with pytest.raises(ConflictError, match=f"up already .*{os.getpid()}") as refusal:
        NodeLock(paths).take()
    assert "privacy-router down" in refusal.value.remedy


def test_being_told_does_not_end_who_is_not_ready_to_listen(paths: NodePaths) -> None:
    lock = NodeLock(paths)
    lock.take()
    assert tell_of_clients(paths), "the signal's own effect would end these tests"


def test_the_number_of_a_dead_controller_is_nobodys(paths: NodePaths) -> None:
    paths.run.mkdir()
    paths.lock.write_text("1\n")
    assert controller_pid(paths) is None
    lock = NodeLock(paths)
    lock.take(as_controller=False)
    assert controller_pid(paths) is None, "a process of that number is not to be signalled"


def test_while_it_is_taken_down_nobody_brings_it_up(paths: NodePaths) -> None:
    lock = NodeLock(paths)
    lock.take(as_controller=False)
    with pytest.raises(ConflictError, match="being taken down"):
        NodeLock(paths).take()


def test_two_that_look_do_not_see_each_other(paths: NodePaths) -> None:
    paths.run.mkdir()
    paths.lock.write_text("1\n")
    with paths.lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert controller_pid(paths) is None


def test_a_glance_of_somebody_does_not_refuse_a_start(paths: NodePaths) -> None:
    paths.run.mkdir()
    with paths.lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        glance = threading.Timer(0.03, lambda: fcntl.flock(other, fcntl.LOCK_UN))
        glance.start()
        lock = NodeLock(paths)
        lock.take()
        glance.join()
    assert controller_pid(paths) == os.getpid()


def test_a_run_directory_that_cannot_be(paths: NodePaths) -> None:
    paths.run.touch()
    with pytest.raises(StorageError) as refusal:
        NodeLock(paths).take()
    assert refusal.value.remedy


# --- what is removed ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["the file", "the directory", "both, and made anew"])
def test_a_lock_that_is_removed_still_holds(paths: NodePaths, what: str) -> None:
    """A second controller started beside the first, and each undid what the other did."""
    lock = NodeLock(paths)
    lock.take()
    paths.lock.unlink()
    if what != "the file":
        paths.run.rmdir()
    if what == "both, and made anew":
        paths.run.mkdir()
        paths.lock.write_text("1\n")
    assert controller_pid(paths) == os.getpid()
    with pytest.raises(ConflictError, match=f"up already .*{os.getpid()}"):
        NodeLock(paths).take()
    assert paths.run.exists() == (what != "the directory"), "being refused makes nothing"
    assert tell_of_clients(paths)


def test_who_takes_it_down_is_no_controller_without_its_file_either(paths: NodePaths) -> None:
    lock = NodeLock(paths)
    lock.take(as_controller=False)
    shutil.rmtree(paths.run)
    assert controller_pid(paths) is None
    with pytest.raises(ConflictError, match="being taken down"):
        NodeLock(paths).take()


def test_a_lock_that_was_refused_holds_nothing(paths: NodePaths) -> None:
    paths.run.touch()
    with pytest.raises(StorageError):
        NodeLock(paths).take()
    paths.run.unlink()
    NodeLock(paths).take()


def test_two_nodes_of_one_network_do_not_meet(paths: NodePaths, tmp_path: Path) -> None:
    NodeLock(paths).take()
    other = NodePaths(state=tmp_path / "other", run=tmp_path / "other-run")
    NodeLock(other).take()
    assert controller_pid(paths) == controller_pid(other) == os.getpid()


def test_another_way_to_the_same_directory_is_the_same_node(
    paths: NodePaths, tmp_path: Path
) -> None:
    NodeLock(paths).take()
    (tmp_path / "link").symlink_to(paths.run)
    paths.lock.unlink()
    with pytest.raises(ConflictError):
        NodeLock(NodePaths(state=paths.state, run=tmp_path / "link")).take()


def test_another_user_cannot_keep_the_node_down(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may bind an abstract name."""
    names = lock_module._Names(paths)
    descriptors = [abstract_names.hold(name) for name in (names.node, names.controller)]
    with monkeypatch.context() as others:
        others.setattr(lock_module, "_is_ours", lambda _: False)
        NodeLock(paths).take()
        assert controller_pid(paths) == os.getpid(), "the file still tells"
        with pytest.raises(ConflictError, match="up already"):
            NodeLock(paths).take()
    for descriptor in descriptors:
        assert descriptor is not None
        os.close(descriptor)


def test_a_name_is_free_when_its_process_has_ended(tmp_path: Path) -> None:
    name = f"privacy-router-test/{tmp_path}"
    descriptor = abstract_names.hold(name)
    assert descriptor is not None
    assert abstract_names.hold(name) is None
    assert abstract_names.holders_of(name) == [os.getpid()]
    os.close(descriptor)
    assert not abstract_names.is_held(name)
    assert abstract_names.holders_of(name) == []


def test_who_is_ending_is_waited_for(paths: NodePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files show no more, and its name is not free yet."""
    descriptor = abstract_names.hold(lock_module._Names(paths).node)
    assert descriptor is not None
    monkeypatch.setattr(abstract_names, "holders_of", lambda _: [])
    ending = threading.Timer(0.05, os.close, [descriptor])
    ending.start()
    NodeLock(paths).take(as_controller=False)
    ending.join()


def test_who_is_in_another_container_is_not_waited_for_long(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    NodeLock(paths).take()
    paths.lock.unlink()
    monkeypatch.setattr(abstract_names, "holders_of", lambda _: [])
    monkeypatch.setattr(lock_module, "_ENDING_S", 0.05)
    with pytest.raises(ConflictError, match="of another container"):
        NodeLock(paths).take()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_else_has_the_name_of_the_lock_is_told(
    paths: NodePaths, make: Callable[[Path], None]
) -> None:
    paths.run.mkdir()
    make(paths.lock)
    assert controller_pid(paths) is None
    with pytest.raises(StorageError, match=r"controller\.lock"):
        NodeLock(paths).take()


async def test_the_lock_file_is_put_back_and_held_again(paths: NodePaths) -> None:
    lock = NodeLock(paths)
    lock.take()
    staying = asyncio.create_task(lock.stay())
    try:
        for _ in range(2):
            await asyncio.sleep(0)  # it watches by now
            paths.lock.unlink()
            assert await appears(paths.lock) == f"{os.getpid()}\n"
            with paths.lock.open() as handle, pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(paths.run)
        with pytest.raises(StorageError, match="was removed"):
            await staying
    finally:
        staying.cancel()
    again = asyncio.create_task(lock.stay())
    try:
        assert await appears(paths.lock) == f"{os.getpid()}\n"
    finally:
        again.cancel()


async def appears(path: Path) -> str:
    async with asyncio.timeout(10):
        while not path.exists() or not (text := path.read_text()):
            await asyncio.sleep(0.01)
    return text
