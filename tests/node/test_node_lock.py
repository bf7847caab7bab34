"""One controller a node: who holds the lock, who is told, and what a dead one leaves behind."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import ConflictError, StorageError
from privacy_router.node.lock import NodeLock, controller_pid, tell_controller
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[NodePaths]:
    """Taking the lock changes what SIGHUP does to this process: that is put back."""
    before = signal.getsignal(signal.SIGHUP)
    yield NodePaths(state=tmp_path / "state", run=tmp_path / "run")
    signal.signal(signal.SIGHUP, before)


def test_nobody_keeps_a_node_that_was_never_up(paths: NodePaths) -> None:
    assert controller_pid(paths) is None
    assert not tell_controller(paths)
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
    assert tell_controller(paths), "SIGHUP's own effect would end these tests"


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
