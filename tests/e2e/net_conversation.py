"""Connections through the uplink that talk all the time, so that it shows when they cannot."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from privacy_router.host.namespaces import run_in
from tests.e2e.net_machine import ADDRESS, ADDRESS6, NEIGHBOUR, NEIGHBOUR6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.net_machine import NetMachine

_LONGEST_GAP_S = 1.0
_BEAT_S = 0.005
_PATIENCE_S = 10.0
PAIRS = ((ADDRESS, NEIGHBOUR), (ADDRESS6, NEIGHBOUR6))


class Conversation:
    """A TCP connection that says something every few milliseconds, both ways."""

    def __init__(self, machine: NetMachine, address: str, neighbour: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        place = (neighbour, 0)
        listening = run_in(
            machine.outside.network, lambda: socket.create_server(place, family=family)
        )
        peer, source = listening.getsockname()[:2], (address, 0)
        self.here = run_in(
            machine.host.network,
            lambda: socket.create_connection(peer, _PATIENCE_S, source_address=source),
        )
        self.there, _ = listening.accept()
        listening.close()
        for end in (self.here, self.there):
            end.settimeout(_PATIENCE_S)
        self._gaps_s: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        while not self._stop.wait(_BEAT_S):
            began_s = time.monotonic()
            for speaker, listener in ((self.here, self.there), (self.there, self.here)):
                speaker.sendall(b"beat")
                assert listener.recv(4) == b"beat"
            self._gaps_s.append(time.monotonic() - began_s)

    def end(self) -> float:
        """The longest that an answer took; it must have come to one."""
        self._stop.set()
        self._thread.join(2 * _PATIENCE_S)
        assert not self._thread.is_alive()
        self.here.close()
        self.there.close()
        return max(self._gaps_s)


@contextmanager
def connections_hold(machine: NetMachine) -> Iterator[None]:
    """Connections from before are the same ones afterwards, and were never long without answer."""
    talks = [Conversation(machine, *pair) for pair in PAIRS]
    try:
        yield
    finally:
        gaps_s = [talk.end() for talk in talks]
    print(f"longest gaps: {', '.join(f'{1000 * gap_s:.0f} ms' for gap_s in gaps_s)}")
    assert max(gaps_s) < _LONGEST_GAP_S


def hears_once(machine: NetMachine) -> None:
    """What the neighbour sends arrives, and once."""
    for address, neighbour in PAIRS:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        here, there = _sockets(machine, family)
        with here, there:
            here.settimeout(_PATIENCE_S)
            here.bind((address, 0))
            there.bind((neighbour, 0))
            sent = [bytes([number]) for number in range(20)]
            for word in (*sent, b"end"):
                there.sendto(word, here.getsockname()[:2])
            assert list(iter(partial(here.recv, 9), b"end")) == sent


def _sockets(machine: NetMachine, family: int) -> tuple[socket.socket, socket.socket]:
    here, there = (
        run_in(host.network, lambda: socket.socket(family, socket.SOCK_DGRAM))
        for host in (machine.host, machine.outside)
    )
    return here, there
