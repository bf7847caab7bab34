"""Connections are ended with a reset, so that no peer keeps its half of one."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from privacy_router.host import libc
from privacy_router.host.libc import CloneFlag
from privacy_router.host.netlink import Netlink
from privacy_router.host.tcp_sockets import reset_connections

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_peer_is_reset_and_a_listener_stays(address: str) -> None:
    outcome: list[object] = []

    def inside() -> None:
        libc.unshare(CloneFlag.NEWNET)
        with closing(Netlink(None)) as netlink:
            netlink.set_link("lo", up=True)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listener:
            ours = socket.create_connection(listener.getsockname()[:2])
            theirs = listener.accept()[0]
            outcome.append(reset_connections(None))
            for end in (ours, theirs):
                with end, pytest.raises(ConnectionError):
                    end.recv(1)
            outcome.append(reset_connections(None))
            socket.create_connection(listener.getsockname()[:2]).close()

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert outcome[0] in (1, 2)  # the reset of one may end the other before its turn
    assert outcome[1] == 0
