"""What the kernel is told to forget its connections; ctnetlink."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from typing import Any

import pytest

from privacy_router.host import conntrack
from privacy_router.host.rtnetlink import NetlinkError


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []

    def ask(_line: Any, kind: int, content: bytes, flags: int) -> None:
        assert flags == 0, "an order, which the kernel acknowledges"
        found.append((kind, content.hex()))

    monkeypatch.setattr(conntrack, "open_socket", lambda *_, protocol: nullcontext(protocol))
    monkeypatch.setattr(conntrack, "ask", ask)
    return found


def test_all_connections_or_those_with_a_mark(told: list[tuple[int, str]]) -> None:
    conntrack.forget(None)
    conntrack.forget(None, 5)
    assert told == [(0x102, "00000000"), (0x102, "00000000080008000000000508001500ffffffff")]


def test_what_the_kernel_refuses_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(conntrack, "open_socket", lambda *_, protocol: nullcontext(protocol))
    monkeypatch.setattr(conntrack, "ask", refuse)
    with pytest.raises(NetlinkError, match="does not forget its connections") as caught:
        conntrack.forget(None)
    assert caught.value.code == errno.EPERM
