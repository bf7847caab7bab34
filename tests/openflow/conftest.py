"""A switch in this process, on a unix socket, that does what a test tells it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import ErrorMessage, Hello, Message, decode_untrusted, encode
from privacy_router.openflow.bundle import BundleAdd, BundleControl
from privacy_router.openflow.messages import (
    BarrierReply,
    BarrierRequest,
    EchoReply,
    EchoRequest,
    FeaturesReply,
    FeaturesRequest,
)
from privacy_router.openflow.onf import BundleControlType

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

Handler = Callable[["FakeSwitch", int, Message], Awaitable[bool]]


class FakeSwitch:
    """Keeps what it was sent; answers the usual questions unless `handler` says it did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handler: Handler | None = None
        self.hello: bytes | None = encode(Hello(), 0)
        self.received: list[tuple[int, Message]] = []
        self.committed: list[Message] = []
        self.refuse: dict[int, ErrorMessage] = {}  # by the number of the bundle's message
        self.refuse_commit = False
        self._staged: list[tuple[int, Message]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        self._servers.append(await asyncio.start_unix_server(self._serve, str(self.path)))

    async def also_on_tcp(self, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a TCP port of the loopback as well; returns the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self.die()
        for server in self._servers:
            server.close()
            await server.wait_closed()

    def die(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def say(self, message: Message, xid: int = 0) -> None:
        for writer in self._writers:
            writer.write(encode(message, xid))

    def say_bytes(self, data: bytes) -> None:
        for writer in self._writers:
            writer.write(data)

    def controls(self) -> list[BundleControlType]:
        return [
            BundleControlType(m.control) for _, m in self.received if isinstance(m, BundleControl)
        ]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self.hello is not None:
            writer.write(self.hello)
        try:
            while True:
                head = await reader.readexactly(8)
                (length,) = struct.unpack_from("!H", head, 2)
                xid, message = decode_untrusted(head + await reader.readexactly(length - 8))
                self.received.append((xid, message))
                if self.handler is None or not await self.handler(self, xid, message):
                    self._answer(xid, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writers.remove(writer)
            writer.close()

    def _answer(self, xid: int, message: Message) -> None:
        match message:
            case BarrierRequest():
                self.say(BarrierReply(), xid)
            case EchoRequest(data):
                self.say(EchoReply(data), xid)
            case FeaturesRequest():
                self.say(FeaturesReply(0xABC, 0, 254, 0, 0x4F), xid)
            case BundleAdd():
                self._stage(xid, message)
            case BundleControl(bundle_id, control, flags):
                self._control(xid, BundleControl(bundle_id, control + 1, flags), control)

    def _stage(self, xid: int, message: BundleAdd) -> None:
        inner_xid, inner = decode_untrusted(message.message)
        assert inner_xid == xid
        self._staged.append((xid, inner))
        refusal = self.refuse.get(len(self._staged) - 1)
        if refusal is not None and not self.refuse_commit:
            self.say(refusal, xid)

    def _control(self, xid: int, reply: BundleControl, control: int) -> None:
        if control == BundleControlType.OPEN_REQUEST:
            self._staged.clear()
        if control == BundleControlType.COMMIT_REQUEST and self.refuse_commit:
            for number, refusal in self.refuse.items():
                self.say(refusal, self._staged[number][0])
            self.say(ErrorMessage(0xFFFF, 2313, b"", 0x4F4E4600), xid)
            return
        if control == BundleControlType.COMMIT_REQUEST:
            self.committed = [message for _, message in self._staged]
        self.say(reply, xid)


@pytest.fixture
async def switch(tmp_path: Path) -> AsyncIterator[FakeSwitch]:
    """A fake switch that listens on `switch.path`."""
    fake = FakeSwitch(tmp_path / "br0.mgmt")
    await fake.start()
    yield fake
    await fake.stop()
