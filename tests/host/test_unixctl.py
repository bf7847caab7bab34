"""Asking a daemon of Open vSwitch: what comes back, and what every kind of silence is called."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.host import unixctl
from privacy_router.host.unixctl import UnixctlError, UnixctlRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Daemon:
    """Answers one question with the bytes it is given, in these pieces, and keeps the question."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pieces: list[bytes] = []
        self.stays = False
        self.asked = b""
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        try:
            line, _ = self._listening.accept()
        except OSError:
            return  # nobody asked
        with line:
            self.asked = line.recv(1 << 16)
            with suppress(BrokenPipeError):  # heard enough
                for piece in self.pieces:
                    line.sendall(piece)
            if self.stays:
                self._enough.wait()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "ovs-vswitchd.ctl") as running:
        yield running


def answer(**fields: object) -> bytes:
    return json.dumps({"id": 0, "error": None, "result": None, **fields}).encode()


def test_a_question_is_json_rpc_and_so_is_the_answer(daemon: Daemon) -> None:
    daemon.pieces, daemon.stays = [answer(result="Flow: …}\n")], True
    assert unixctl.call(daemon.path, "ofproto/trace", "br0", "in_port=1") == "Flow: …}\n"
    asked = json.loads(daemon.asked)
    assert (asked["method"], asked["params"]) == ("ofproto/trace", ["br0", "in_port=1"])


@pytest.mark.parametrize("size", [1, 7])
def test_an_answer_may_come_in_pieces_that_look_like_an_end(daemon: Daemon, size: int) -> None:
    whole = answer(result="{a}{b}ä}")
    daemon.pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert unixctl.call(daemon.path, "version") == "{a}{b}ä}"


def test_a_refusal_is_in_the_daemons_words(daemon: Daemon) -> None:
    daemon.pieces = [answer(error="br77: unknown bridge\n")]
    with pytest.raises(UnixctlRefusedError, match=r"^br77: unknown bridge$"):
        unixctl.call(daemon.path, "ofproto/trace", "br77", "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"id":',
        b"[1]}",
        b"{}",
        b'{"result": 5}',
        b"\xff}",
        b'{"result": null, "error": null}',
    ],
)
def test_what_is_no_answer_is_an_error(daemon: Daemon, data: bytes) -> None:
    daemon.pieces = [data]
    with pytest.raises(UnixctlError):
        unixctl.call(daemon.path, "version")


@pytest.mark.parametrize("pieces", [[], [b'{"id": 0, "result": "never']])
def test_a_daemon_that_keeps_silent_is_not_waited_for(daemon: Daemon, pieces: list[bytes]) -> None:
    daemon.pieces, daemon.stays = pieces, True
    before = time.monotonic()
    with pytest.raises(UnixctlError, match="did not answer version") as caught:
        unixctl.call(daemon.path, "version", timeout_s=0.1)
    assert time.monotonic() - before < 30  # without a limit: for ever
    assert caught.value.retryable
    assert caught.value.remedy


def test_a_daemon_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UnixctlError, match=r"gone\.ctl cannot be reached") as caught:
        unixctl.call(tmp_path / "gone.ctl", "version")
    assert caught.value.remedy


def test_a_private_switch_has_a_socket_without_a_process_id(daemon: Daemon) -> None:
    assert unixctl.switch_socket(daemon.path.parent) == daemon.path


def test_the_systems_switch_has_one_with_its_process_id(tmp_path: Path) -> None:
    (tmp_path / "ovs-vswitchd.pid").write_text("4711\n")
    assert unixctl.switch_socket(tmp_path) == tmp_path / "ovs-vswitchd.4711.ctl"


@pytest.mark.parametrize("content", [None, "", "no number"])
def test_where_no_switch_runs_that_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ovs-vswitchd.pid").write_text(content)
    with pytest.raises(UnixctlError, match="no ovs-vswitchd runs"):
        unixctl.switch_socket(tmp_path)


def test_an_answer_that_is_nested_without_end_is_an_error(daemon: Daemon) -> None:
    daemon.pieces = [b'{"result":' * 200_000 + b"}" * 200_000]
    with pytest.raises(UnixctlError, match="not JSON"):
        unixctl.call(daemon.path, "version")


@given(st.one_of(st.binary(max_size=40), st.text(alphabet='{}[]":,0idresultonu').map(str.encode)))
def test_no_answer_does_harm(data: bytes) -> None:
    whole = unixctl._is_whole_untrusted(bytearray(data))
    try:
        unixctl._result_untrusted(data, "version")
    except UnixctlError:
        return
    assert whole
