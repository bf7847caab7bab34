"""Peers that send without end, or do not read: what is kept for each of them is bounded."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    ConnectionLostError,
    DecodeError,
    Hello,
    LimitError,
    OpenFlowError,
    encode,
)
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.openflow.connection import MAX_ANSWER_BYTES
from privacy_router.openflow.constants import MAX_MESSAGE_BYTES, VERSION, MessageType
from privacy_router.openflow.match import Match
from privacy_router.openflow.messages import EchoReply, EchoRequest, PacketIn
from privacy_router.openflow.monitor import FlowEvent, FlowEvents, FlowMonitor
from privacy_router.openflow.multipart import MultipartReply, MultipartRequest
from privacy_router.openflow.onf import FlowEventKind
from privacy_router.openflow.subscription import MAX_WAITING_BYTES, Lost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.openflow import Message
    from tests.openflow.conftest import FakeSwitch

TIMEOUT_S = 0.5
PATIENCE_S = 30.0  # for what comes, however busy the machine is
HELD_MAX_BYTES = 1024 * 1024
BIG_ECHO = encode(EchoRequest(bytes(MAX_MESSAGE_BYTES - 8)), 1)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a peer listens that is no more than a socket: it reads when the test does."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "peer.sock"))
        bound.listen()
        yield bound


async def connected(
    listener: socket.socket, timeout_s: float = PATIENCE_S
) -> tuple[Channel, socket.socket]:
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    connecting = asyncio.create_task(connect_unix(listener.getsockname(), timeout_s))
    peer, _ = await loop.sock_accept(listener)
    peer.setblocking(False)
    await loop.sock_sendall(peer, encode(Hello(), 0))
    return await connecting, peer


def held_bytes(channel: Channel) -> int:
    return channel.protocol.waiting_bytes


async def test_a_peer_that_asks_for_echoes_and_reads_none_is_held_back_and_let_go(
    listener: socket.socket,
) -> None:
    channel, peer = await connected(listener, TIMEOUT_S)
    most = 0
    with peer:
        loop = asyncio.get_running_loop()
        flood = asyncio.create_task(loop.sock_sendall(peer, BIG_ECHO * 1000))
        while not channel.closed:
            most = max(most, held_bytes(channel))
            await asyncio.sleep(0)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            await flood
    assert isinstance(channel.close_reason, LimitError)
    assert "took none of them" in str(channel.close_reason)
    assert 0 < most < HELD_MAX_BYTES


async def test_a_slow_reader_gets_all_its_echoes(listener: socket.socket) -> None:
    """Held back, not cut off: whoever reads in the end has lost nothing."""
    channel, peer = await connected(listener)
    count = 100
    with peer:
        loop = asyncio.get_running_loop()
        flood = asyncio.create_task(loop.sock_sendall(peer, BIG_ECHO * count))
        while not held_bytes(channel):
            await asyncio.sleep(0)
        received = 0
        while received < count * len(BIG_ECHO):
            received += len(await loop.sock_recv(peer, 1 << 16))
            assert held_bytes(channel) < HELD_MAX_BYTES
        await flood
        assert not channel.closed
        await channel.close()


async def test_small_echoes_hold_nothing_back(listener: socket.socket) -> None:
    """A switch that probes while a batch waits for it wants its own words read first."""
    channel, peer = await connected(listener)
    with peer:
        loop = asyncio.get_running_loop()
        channel.protocol.write(bytes(4 * 1024 * 1024))  # a batch that it does not take yet
        await loop.sock_sendall(peer, encode(EchoRequest(), 1) * 1000)
        with channel.subscribe() as words:
            await loop.sock_sendall(peer, encode(packet_in(10), 0))
            assert isinstance(await words.get(PATIENCE_S), PacketIn)
        assert not channel.closed
        channel.abort("the test is over")


async def test_a_peer_that_takes_nothing_is_let_go_before_too_much_waits(
    listener: socket.socket,
) -> None:
    channel, peer = await connected(listener)
    message = EchoReply(bytes(MAX_MESSAGE_BYTES - 8))
    with peer, pytest.raises(ConnectionLostError, match="has not taken"):
        for _ in range(2000):
            channel.send(message)
    assert isinstance(channel.close_reason, LimitError)
    assert held_bytes(channel) == 0


def packet_in(size: int) -> Message:
    return PacketIn(0, size, 0, 0, 0, Match(), bytes(size))


async def test_words_that_are_not_taken_are_dropped_before_they_fill_the_memory(
    switch: FakeSwitch,
) -> None:
    """The count alone would let 4096 packets of 64 KiB wait."""
    async with await connect_unix(switch.path, PATIENCE_S) as channel:
        with channel.subscribe() as words:
            size = 60_000
            sent = 2 * MAX_WAITING_BYTES // size
            for _ in range(sent):
                switch.say(packet_in(size))
            await channel.barrier(PATIENCE_S)
            kept, lost = 0, 0
            while kept + lost < sent:
                word = await words.get(PATIENCE_S)
                kept, lost = (
                    (kept, lost + word.count) if isinstance(word, Lost) else (kept + 1, lost)
                )
            assert MAX_WAITING_BYTES // 2 < kept * size <= MAX_WAITING_BYTES
            switch.say(packet_in(1))
            assert not isinstance(await words.get(PATIENCE_S), Lost), "there is room again"


async def test_a_monitor_that_nobody_listens_to_is_bounded(switch: FakeSwitch) -> None:
    event = FlowEvent(FlowEventKind.ADDED, 0, 1, Match(in_port=1))
    events = FlowEvents((event,) * 500)

    async def monitored(switch: FakeSwitch, xid: int, message: Message) -> bool:
        if isinstance(message, MultipartRequest) and isinstance(message.query, FlowMonitor):
            switch.say(MultipartReply(message.kind, (FlowEvents(()),)), xid)
            for _ in range(100):
                switch.say(MultipartReply(message.kind, (events,)))
            return True
        return False

    switch.handler = monitored
    async with await connect_unix(switch.path, PATIENCE_S) as channel:
        with await channel.monitor_flows(limit=1000) as words:
            await channel.barrier(PATIENCE_S)
            found = [await words.get(PATIENCE_S) for _ in range(1001)]
    assert found[-1] == Lost(100 * 500 - 1000)


async def test_an_answer_without_end_ends_the_connection(listener: socket.socket) -> None:
    channel, peer = await connected(listener)
    body = bytes(MAX_MESSAGE_BYTES - 16)
    size = MAX_MESSAGE_BYTES
    head = struct.pack("!BBHI", VERSION, MessageType.MULTIPART_REPLY, size, 5)
    part = head + struct.pack("!HH4x", 0xFFFE, 1) + body
    with peer:
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(2 * MAX_ANSWER_BYTES // size):
                await loop.sock_sendall(peer, part)
        assert isinstance(await channel.wait_closed(), LimitError)


async def test_garbage_ends_the_connection_with_one_error(listener: socket.socket) -> None:
    channel, peer = await connected(listener)
    with peer:
        await asyncio.get_running_loop().sock_sendall(
            peer, bytes.fromhex("ffff0009ffffffffff") * 1000
        )
        reason = await channel.wait_closed()
    assert isinstance(reason, DecodeError)
    with pytest.raises(OpenFlowError):
        await channel.features()
