"""A client's load: DNS, UDP and TCP over IPv4 and IPv6, from ports that stay and ports that change.

    python -P tests/storm/load.py TOKEN

Runs in the lab's client until it is ended. It prints JSON lines:

    {"t", "ok": {kind: t}}           ten times a second: when the last request that was answered
                                     was sent, for each kind
    {"gap": kind, "from", "to"}      no request that was sent in between was answered
    {"broken": kind, "t", "why"}     a connection that is kept has ended

All times are seconds of CLOCK_MONOTONIC, which all hosts of the lab share.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from privacy_router.lab import internet

if TYPE_CHECKING:
    from collections.abc import Awaitable

GAP_S = 0.15
_PATIENCE_S = 1.0
_LASTING_PATIENCE_S = 8.0
_BEAT_S = 0.1
_DATAGRAM_BYTES = 2048
_FLIGHT_LIMIT = 4096


@dataclass(frozen=True)
class Kind:
    """A kind of traffic: how often it is sent, and over which IP version."""

    name: str
    interval_s: float
    version: int
    port: int


# Less DNS and fewer new ports than the gateway allows of a client: what it refuses would look like
# an outage.
DNS = (Kind("dns", 0.025, 4, 53), Kind("dns6", 0.05, 6, 53))
DNS_NEW = (Kind("dns-new", 0.1, 4, 53), Kind("dns6-new", 0.2, 6, 53))
UDP = (Kind("udp", 0.0025, 4, 7), Kind("udp6", 0.05, 6, 7))
UDP_NEW = (Kind("udp-new", 0.25, 4, 7), Kind("udp6-new", 0.25, 6, 7))
TCP = (Kind("tcp", 0.1, 4, 80), Kind("tcp6", 0.2, 6, 80))
TCP_KEPT = (Kind("tcp-kept", 0.05, 4, 80), Kind("tcp6-kept", 0.1, 6, 80))
KINDS = (*DNS, *DNS_NEW, *UDP, *UDP_NEW, *TCP, *TCP_KEPT)
KEPT = tuple(kind.name for kind in TCP_KEPT)


def say(**line: Any) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@dataclass
class Record:
    """When requests of a kind were answered."""

    kind: Kind
    tell: Callable[..., None] = say
    last_ok: float = field(default_factory=time.monotonic)

    def good(self, t_sent: float) -> None:
        """A request that was sent then was answered."""
        if t_sent - self.last_ok > max(GAP_S, 3 * self.kind.interval_s):
            self.tell(gap=self.kind.name, **{"from": self.last_ok, "to": t_sent})
        self.last_ok = max(self.last_ok, t_sent)


def query(number: int, token: str) -> bytes:
    """A DNS query for a name with the token in it; RFC 1035, section 4.1."""
    name = b"".join(
        bytes([len(label)]) + label.encode()
        for label in (f"{token}-{number}", *internet.WHOAMI_NAME.split("."))
    )
    return struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + b"\0\0\x01\0\x01"


def target(kind: Kind) -> tuple[str, int]:
    """Where requests of a kind go."""
    pair = internet.DNS if kind.port == 53 else internet.WEB
    return str(pair[0 if kind.version == 4 else 1]), kind.port


def words(kind: Kind, number: int, token: str) -> tuple[bytes, bytes]:
    """A request, and what is in its answer and in no other's."""
    if kind.port == 53:
        data = query(number, token)
        return data, data[:2]
    word = f"{token}-{kind.name}-{number}.".encode()
    return word, word


def _socket(kind: Kind) -> socket.socket:
    family = socket.AF_INET if kind.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.connect(target(kind))
    return made


class Lasting:
    """Requests from one UDP port, all the time."""

    def __init__(self, record: Record, token: str) -> None:
        self._record, self._token = record, token
        self._socket = _socket(record.kind)
        self._sent: dict[bytes, float] = {}
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def send(self, number: int) -> None:
        """Send a request and go on."""
        data, key = words(self._record.kind, number, self._token)
        if len(self._sent) >= _FLIGHT_LIMIT:
            self._sent.pop(next(iter(self._sent)))
        self._sent.pop(key, None)
        self._sent[key] = time.monotonic()
        with suppress(OSError):
            self._socket.send(data)

    def _receive(self) -> None:
        with suppress(OSError):
            data = self._socket.recv(_DATAGRAM_BYTES)
            key = data[:2] if self._record.kind.port == 53 else data.partition(b" ")[2]
            t_sent = self._sent.pop(key, None)
            if t_sent is not None:
                self._record.good(t_sent)


Ask = Callable[["Record", int, str], Coroutine[Any, Any, None]]


async def ask_anew(record: Record, number: int, token: str) -> None:
    """A request from a UDP port of its own."""
    kind, t_sent = record.kind, time.monotonic()
    with suppress(OSError, TimeoutError), _socket(kind) as own:
        data, key = words(kind, number, token)
        own.send(data)
        answer = await asyncio.wait_for(
            asyncio.get_running_loop().sock_recv(own, _DATAGRAM_BYTES), _PATIENCE_S
        )
        if key in answer:
            record.good(t_sent)


async def connect_anew(record: Record, number: int, token: str) -> None:
    """An HTTP request on a connection of its own."""
    t_sent = time.monotonic()
    with suppress(OSError, TimeoutError, EOFError, ValueError):
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection(*target(record.kind))
            try:
                await _exchange(reader, writer, f"{token}-{number}")
            finally:
                writer.close()
            record.good(t_sent)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: str) -> None:
    writer.write(f"GET /echo?x={word} HTTP/1.1\r\nHost: {internet.WEB_NAME}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    await reader.readexactly(length)


async def keep_connection(record: Record, token: str) -> None:
    """HTTP requests one after the other on a connection that is kept as long as it lives."""
    while True:
        why = "refused"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_connection(*target(record.kind))
            why = await _use(record, reader, writer, token)
        except (OSError, TimeoutError):
            await asyncio.sleep(record.kind.interval_s)
        if why != "refused":
            say(broken=record.kind.name, t=time.monotonic(), why=why)


async def _use(
    record: Record, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> str:
    """Until the connection breaks; says why."""
    answered = False
    try:
        for number in count():
            t_sent = time.monotonic()
            # one that never answered is given up as early as a new one would be
            async with asyncio.timeout(_LASTING_PATIENCE_S if answered else _PATIENCE_S):
                await _exchange(reader, writer, f"{token}-kept-{number}")
            answered = True
            record.good(t_sent)
            await asyncio.sleep(record.kind.interval_s)
    except TimeoutError:
        return "silent" if answered else "refused"
    except (OSError, EOFError, ValueError):
        return "closed" if answered else "refused"
    finally:
        writer.transport.abort()
    return "never"


async def tick(interval_s: float, work: Callable[[int], None]) -> None:
    """Call `work` every so often; what was missed while the machine was busy is made up for."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in count():
        await asyncio.sleep(max(0.0, started + number * interval_s - loop.time()))
        work(number)


async def run(token: str) -> None:
    """Send until ended."""
    records = {kind.name: Record(kind) for kind in KINDS}
    tasks: set[asyncio.Task[None]] = set()

    def begin(work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def asking(record: Record, ask: Ask) -> Callable[[int], None]:
        return lambda number: begin(ask(record, number, token))

    async with asyncio.TaskGroup() as group:
        for kind in (*DNS, *UDP):
            lasting = Lasting(records[kind.name], token)
            group.create_task(tick(kind.interval_s, lasting.send))
        for kinds, ask in (((*DNS_NEW, *UDP_NEW), ask_anew), (TCP, connect_anew)):
            for kind in kinds:
                record = records[kind.name]
                group.create_task(tick(kind.interval_s, asking(record, ask)))
        for kind in TCP_KEPT:
            group.create_task(keep_connection(records[kind.name], token))
        group.create_task(
            tick(
                _BEAT_S,
                lambda _: say(
                    t=time.monotonic(), ok={name: r.last_ok for name, r in records.items()}
                ),
            )
        )


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
