"""Switches that connect to us, over TCP, TLS or a unix socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from privacy_router.openflow.channel import DEFAULT_PORT, DEFAULT_TIMEOUT_S, Channel
from privacy_router.openflow.errors import ConnectionLostError

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

_MAX_WAITING = 64
_ONLY_OURS = 0o600


class Listening:
    """A socket that switches connect to; an asynchronous iterator and context manager.

    Each switch becomes a `Channel` once it has greeted; it belongs to whom `accept` gives it. A
    peer that does not greet within `timeout_s` is let go, and so is one that comes while 64 wait.
    """

    def __init__(self, timeout_s: float, keepalive_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._keepalive_s = keepalive_s
        self._server: asyncio.Server | None = None
        self._greeting: set[Channel] = set()
        self._greeted: asyncio.Queue[Channel] = asyncio.Queue()

    def started(self, server: asyncio.Server) -> None:
        """Take over a server that was made with `incoming`."""
        self._server = server

    @property
    def addresses(self) -> list[str | tuple[str, int]]:
        """Where it listens: a path, or an address and a port."""
        sockets = self._server.sockets if self._server is not None else ()
        return [_address(each.getsockname()) for each in sockets]

    def incoming(self) -> asyncio.BaseProtocol:
        """The protocol of one more connection."""
        channel = Channel(self._timeout_s, self._keepalive_s)
        timer = asyncio.get_running_loop().call_later(
            self._timeout_s, channel.abort, f"no greeting came within {self._timeout_s:g} s"
        )

        def settle(greeted: bool) -> None:
            timer.cancel()
            self._greeting.discard(channel)
            if greeted and not channel.closed:
                self._greeted.put_nowait(channel)

        channel.when_greeted(settle)
        if len(self._greeting) + self._greeted.qsize() >= _MAX_WAITING:
            channel.abort("too many switches wait")
        else:
            self._greeting.add(channel)
        return channel.protocol

    async def accept(self) -> Channel:
        """The next switch that has greeted and is still there; waits as long as it takes."""
        while True:
            channel = await self._greeted.get()
            if not channel.closed:
                return channel

    async def close(self) -> None:
        """Listen no more, and close the connections that were not accepted."""
        if self._server is not None:
            self._server.close()
        waiting = [*self._greeting]
        while not self._greeted.empty():
            waiting.append(self._greeted.get_nowait())
        for channel in waiting:
            channel.abort("the listener was closed")
        for channel in waiting:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Channel:
        return await self.accept()


async def serve_tcp(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    *,
    tls: ssl.SSLContext | None = None,
    keepalive_s: float | None = None,
) -> Listening:
    """Listen on TCP, inside TLS when `tls` is given. Raises ConnectionLostError.

    A peer that reaches an open port without TLS can pose as a switch.
    """
    listening = Listening(timeout_s, keepalive_s)
    loop = asyncio.get_running_loop()
    secure: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": timeout_s} if tls else {}
    try:
        listening.started(await loop.create_server(listening.incoming, host, port, **secure))
    except OSError as error:
        why = error.strerror or error
        raise ConnectionLostError(f"cannot listen on {host} port {port}: {why}") from error
    return listening


async def serve_unix(
    path: Path | str,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    *,
    keepalive_s: float | None = None,
) -> Listening:
    """Listen on a unix socket that only this user may connect to. Raises ConnectionLostError."""
    listening = Listening(timeout_s, keepalive_s)
    loop = asyncio.get_running_loop()
    try:
        bound = _bound(str(path))
        listening.started(await loop.create_unix_server(listening.incoming, sock=bound))
    except OSError as error:
        why = error.strerror or error
        raise ConnectionLostError(f"cannot listen on {path}: {why}") from error
    return listening


def _bound(path: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        Path(path).chmod(_ONLY_OURS)  # no peer can connect before it listens
    except OSError:
        bound.close()
        raise
    return bound


def _address(name: str | tuple[str, int]) -> str | tuple[str, int]:
    return name if isinstance(name, str) else (name[0], name[1])
