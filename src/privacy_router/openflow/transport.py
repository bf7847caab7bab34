"""Between asyncio's transports and a channel: bytes in both directions, and room to write."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Listener(Protocol):
    """Who is told what happens on a socket."""

    def connected(self) -> None:
        """The socket is there."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def disconnected(self, error: Exception | None) -> None:
        """The socket is gone."""

    def resumed(self) -> None:
        """What waited to be written is nearly all gone; reading goes on if it was held back."""


class Wire(asyncio.Protocol):
    """What asyncio's transport calls; remembers whether there is room to write."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._given_up = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        if self._given_up:
            transport.abort()
            return
        self._transport = transport
        self._listener.connected()

    def data_received(self, data: bytes) -> None:
        self._listener.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.disconnected(exc)
        self.lost.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._listener.resumed()

    def hold_back(self) -> None:
        """Read no more until the peer has taken what waits for it."""
        if self._transport is not None:
            self._transport.pause_reading()

    @property
    def waiting_bytes(self) -> int:
        """How much was written that the peer has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is None:
            self._give_up()
        else:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is None:
            self._give_up()
        else:
            self._transport.abort()

    def _give_up(self) -> None:
        self._given_up = True
        self.lost.set()
