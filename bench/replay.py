"""The bytes that a controller sent to a switch, and how long the switch takes for them alone.

What a controller costs beside that is its own: nothing can program the switch in less time.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 120.0


@dataclass
class Recorded:
    """One conversation: what was sent, and how much was answered before the end of it."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class Recorder:
    """A socket beside the switch's that hands everything on, and keeps it."""

    def __init__(self, switch: Path, place: Path) -> None:
        self.place = place
        self.recorded = Recorded()
        self._switch = switch
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._hand_on)
        self._thread.start()

    def stop(self) -> Recorded:
        """Wait for the end of the conversation."""
        self._thread.join(TIMEOUT_S)
        self._listener.close()
        self.place.unlink()
        return self.recorded

    def _hand_on(self) -> None:
        caller, _ = self._listener.accept()
        with caller, _connected(self._switch) as switch, selectors.DefaultSelector() as ready:
            ways = {
                caller: (switch, self.recorded.sent),
                switch: (caller, self.recorded.received),
            }
            for end in ways:
                ready.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select(TIMEOUT_S):
                    end = next(one for one in ways if one is key.fileobj)
                    other, kept = ways[end]
                    data = end.recv(CHUNK_BYTES)
                    if not data:
                        return
                    kept += data
                    other.sendall(data)


def replay_s(switch: Path, recorded: Recorded) -> float:
    """Seconds from the first byte to the last answer."""
    started = time.perf_counter()
    with _connected(switch) as line:
        sender = threading.Thread(target=line.sendall, args=(recorded.sent,))
        sender.start()
        left = len(recorded.received)
        while left > 0:
            data = line.recv(CHUNK_BYTES)
            if not data:
                raise SystemExit("the switch ended a conversation that it had before")
            left -= len(data)
        sender.join(TIMEOUT_S)
    return time.perf_counter() - started


def _connected(switch: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(TIMEOUT_S)
    line.connect(str(switch))
    return line
