"""A listener that stops leaves no socket to the kernel behind."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import netlink_events

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


async def test_a_listener_that_is_cancelled_while_it_opens_closes_what_it_opened(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> socket.socket:
        begun.set()
        assert go_on.wait(10)
        return ends[0]

    monkeypatch.setattr(netlink_events, "open_socket", slowly)
    heard = netlink_events.changes(None)
    listening = asyncio.ensure_future(anext(heard))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
    listening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert ends[0].fileno() == -1
    await heard.aclose()
