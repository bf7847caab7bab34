"""A WireGuard process that hangs does not hold up whoever asks it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import wireguard
from privacy_router.host.wireguard import UserspaceWireGuard
from privacy_router.host.wireguard_uapi import UapiError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory() as name:  # short: the path of a socket has 107 bytes at most
        monkeypatch.setattr(wireguard, "UAPI_DIR", Path(name))
        yield Path(name)


def test_a_process_that_takes_the_question_and_is_silent_is_one_kind_of_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard, "_UAPI_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "wg9.sock"))
        listener.listen()
        with pytest.raises(UapiError, match="wg9 does not answer within"):
            UserspaceWireGuard().read("wg9", None)


def test_one_that_answers_byte_by_byte_is_not_waited_for_longer(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard, "_UAPI_TIMEOUT_S", 0.2)
    ended = threading.Event()

    def drip() -> None:
        with listener.accept()[0] as line:
            while not ended.wait(0.05):
                line.send(b"x")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "wg9.sock"))
        listener.listen()
        server = threading.Thread(target=drip)
        server.start()
        begun = time.monotonic()
        try:
            with pytest.raises(UapiError):
                UserspaceWireGuard().read("wg9", None)
        finally:
            waited_s = time.monotonic() - begun
            ended.set()
            server.join()
    assert waited_s < 30  # without a limit: for ever


def test_a_device_without_a_process_is_none(directory: Path) -> None:
    assert UserspaceWireGuard().read("wg9", None) is None
