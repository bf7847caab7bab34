"""A process that lives and does not serve is found: by what it answers, and by its state."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.host import processes
from privacy_router.node import liveness
from privacy_router.node.liveness import Liveness, SilenceError, ask_database, greet_socks
from privacy_router.values.processes import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from privacy_router.host.processes import Process
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

OWNER = "test-of-liveness"


@contextmanager
def serving(listener: socket.socket, answer: bytes | None) -> Iterator[None]:
    """One connection is answered so; None: it is accepted by the kernel and by nothing else."""

    def serve() -> None:
        with listener.accept()[0] as line:
            line.recv(100)
            line.sendall(answer or b"")

    listener.listen()
    server = threading.Thread(target=serve)
    if answer is not None:
        server.start()
    try:
        yield
    finally:
        if answer is not None:
            server.join()
        listener.close()


def greet(answer: bytes | None) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    with serving(listener, answer):
        greet_socks(*listener.getsockname())


def test_a_socks_server_that_chooses_a_method_serves() -> None:
    greet(b"\x05\x00")


@pytest.mark.parametrize("answer", [b"\x05\xff", b"HTTP", b"", None])
def test_a_socks_server_that_does_not_is_silent(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs still has its connections accepted, by the kernel."""
    monkeypatch.setattr(liveness, "_ANSWER_S", 0.1)
    with pytest.raises(SilenceError):
        greet(answer)


def test_a_refused_connection_is_silence_and_a_missing_way_is_not() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(SilenceError, match="refused"):
            greet_socks(*unused.getsockname())
    greet_socks("255.255.255.255", 1)  # the kernel has no way there


def test_a_namespace_that_was_unbound_is_no_silence(tmp_path: Path) -> None:
    left_over = tmp_path / "pr-xray"
    left_over.touch()
    for namespace in (left_over, tmp_path / "never there"):
        greet_socks("127.0.0.1", 1, namespace)


@pytest.mark.parametrize("answer", [b"{}", b"", None])
def test_a_database_serves_if_it_echoes(
    answer: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_ANSWER_S", 0.1)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "db.sock"))
    with serving(listener, answer):
        if answer:
            ask_database(tmp_path / "db.sock")
        else:
            with pytest.raises(SilenceError):
                ask_database(tmp_path / "db.sock")


def test_a_database_without_its_socket_is_silent(tmp_path: Path) -> None:
    with pytest.raises(SilenceError, match=r"db\.sock: No such file"):
        ask_database(tmp_path / "db.sock")


# --- whole looks ----------------------------------------------------------------------------------


class Node:
    """A machine with one process."""

    owner = OWNER


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = processes.start(ProcessSpec("sleeper", ("sleep", "60")), OWNER, tmp_path / "log")
    try:
        deadline = time.monotonic() + 30  # its environment is there a little later than itself
        while started not in processes.running(OWNER):
            assert time.monotonic() < deadline
        yield started
    finally:
        processes.stop(started)


def watcher(process: Process, tell: Callable[[], None] = lambda: None) -> Liveness:
    nothing: Any = None
    watch = Liveness(
        lambda: cast("DesiredState", nothing), cast("NodeHost", Node()), lambda: [process], tell
    )
    watch._remember()
    return watch


def test_one_that_ended_is_told_of_once_even_if_the_kernel_does_not_tell(process: Process) -> None:
    told: list[None] = []
    watch = watcher(process, lambda: told.append(None))
    assert watch._remember() == {process}
    assert told == []
    processes.stop(process)
    for _ in range(2):
        assert watch._remember() == set()
        assert told == [None]


def send(process: Process, number: signal.Signals) -> None:
    assert processes.tell(process, OWNER, number)


def await_stopped(process: Process) -> None:
    while not processes.is_stopped(process):
        pass


def test_a_stopped_process_is_told_to_go_on(process: Process) -> None:
    send(process, signal.SIGSTOP)
    await_stopped(process)
    assert watcher(process)._wake_up({process}) == {process}
    assert not processes.is_stopped(process)


def test_one_that_does_not_go_on_is_ended(process: Process) -> None:
    watch = watcher(process)
    for _ in range(2):
        send(process, signal.SIGSTOP)
        await_stopped(process)
        watch._wake_up({process})
    deadline = time.monotonic() + 30
    while process in processes.running(OWNER):
        assert time.monotonic() < deadline


def test_another_owners_process_is_told_nothing(process: Process) -> None:
    assert not processes.tell(process, "another owner", signal.SIGKILL)
    assert process in processes.running(OWNER)


@pytest.mark.parametrize(
    ("waited_s", "worked", "is_ended"),
    [(0.5, 0, False), (1.5, 0, True), (1.5, 1, False), (11, 1, True)],
)
async def test_one_that_is_silent_is_waited_for_as_long_as_it_works(
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    waited_s: float,
    worked: int,
    is_ended: bool,
) -> None:
    def silent(name: str) -> None:
        raise SilenceError(f"{name} says nothing")

    ended: list[str] = []
    watch = watcher(process)
    monkeypatch.setattr(watch, "_end", lambda _, reason: ended.append(reason))
    monkeypatch.setattr(watch, "_require_answer", silent)
    await watch._ask(process)
    assert ended == []
    begun = watch._silent[process]
    watch._silent[process] = begun._replace(
        since=begun.since - waited_s, work=processes.work_done(process) - worked
    )
    await watch._ask(process)
    assert ended == ["sleeper says nothing"] * is_ended


async def test_an_answer_makes_silence_forgotten(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watcher(process)
    watch._silent[process] = liveness._Silence(0.0, 0)
    monkeypatch.setattr(watch, "_require_answer", lambda _: None)
    await watch._ask(process)
    assert watch._silent == {}


def test_a_process_that_has_just_begun_is_not_asked(process: Process) -> None:
    assert watcher(process)._old_enough({process}) == []
