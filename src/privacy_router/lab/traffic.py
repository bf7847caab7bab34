"""A client that never rests: sends a small request every few milliseconds, answered or not.

    python -m privacy_router.lab.traffic TOKEN SECONDS [INTERVAL_MS] [KIND,KIND…]

Kinds are `udp` (an echo), `tcp` (an HTTP request on a new connection) and `page` (the same for a
page of 128 KiB); udp and tcp where none are named.

Prints a JSON line for each request when its fate is known: `kind`, `t_sent` (seconds since the
epoch), `ok`, `rtt_ms` (null for one that failed). A request gets a second and does not wait for
the one before it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from privacy_router.lab import internet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATIENCE_S = 1.0
_DEFAULT_INTERVAL_MS = 50
_REQUEST_LIMIT = 100_000
_ECHO_PORT = 7
_PAGE_BYTES = 128 * 1024
_WEB = str(internet.WEB[0])


def outages(lines: list[dict[str, Any]], kind: str) -> list[tuple[float, float]]:
    """The times without success: (from the last good request before, to the first good one after).

    The last one is open-ended, `inf`, when no request succeeded any more.
    """
    found: list[tuple[float, float]] = []
    since: float | None = None
    broken = False
    fitting = (line for line in lines if line["kind"] == kind)
    for line in sorted(fitting, key=lambda line: float(line["t_sent"])):
        if not line["ok"]:
            broken = True
            since = line["t_sent"] if since is None else since
            continue
        if broken and since is not None:
            found.append((since, line["t_sent"]))
        since, broken = line["t_sent"], False
    if broken and since is not None:
        found.append((since, float("inf")))
    return found


def longest_outage_s(lines: list[dict[str, Any]], kind: str) -> float:
    """The longest time without a successful request of that kind, in seconds."""
    return max((end - start for start, end in outages(lines, kind)), default=0.0)


async def run(token: str, seconds: float, interval_ms: float, kinds: list[str]) -> None:
    """Send for that long; returns when the fate of every request is known."""
    loop = asyncio.get_running_loop()
    _, echo = await loop.create_datagram_endpoint(_Echo, remote_addr=(_WEB, _ECHO_PORT))
    senders: dict[str, Callable[[str], Awaitable[None]]] = {
        "udp": echo.ask,
        "tcp": lambda word: _ask_http(f"/echo?x={word}"),
        "page": lambda word: _ask_http(f"/bytes?n={_PAGE_BYTES}&word={word}"),
    }
    started = loop.time()
    tasks: set[asyncio.Task[None]] = set()
    for number in count():
        due_s = started + number * interval_ms / 1000
        if due_s > started + seconds or number >= _REQUEST_LIMIT:
            break
        await asyncio.sleep(due_s - loop.time())
        for kind in kinds:
            task = asyncio.create_task(_try(kind, senders[kind], f"{token}-{number}"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def _try(kind: str, send: Callable[[str], Awaitable[None]], word: str) -> None:
    t_sent, started = time.time(), time.monotonic()
    try:
        await asyncio.wait_for(send(word), _PATIENCE_S)
        rtt_ms: float | None = round((time.monotonic() - started) * 1000, 2)
    except (OSError, ValueError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        rtt_ms = None
    line = {"kind": kind, "t_sent": t_sent, "ok": rtt_ms is not None, "rtt_ms": rtt_ms}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class _Echo(asyncio.DatagramProtocol):
    """UDP echo; answers find their question by its word."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr
        waiting = self._waiting.get(data.decode(errors="replace").partition(" ")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error says no more than the silence that follows."""

    async def ask(self, word: str) -> None:
        """Send a word and wait for its echo."""
        if self._transport is None:
            raise OSError("no socket")
        self._waiting[word] = asyncio.get_running_loop().create_future()
        try:
            self._transport.sendto(word.encode())
            await self._waiting[word]
        finally:
            del self._waiting[word]


async def _ask_http(target: str) -> None:
    reader, writer = await asyncio.open_connection(_WEB, 80)
    try:
        lines = (f"GET {target} HTTP/1.1", f"Host: {internet.WEB_NAME}", "Connection: close")
        writer.write("\r\n".join((*lines, "", "")).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError("the web site refuses the request")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    finally:
        writer.close()


def main(arguments: list[str]) -> None:
    """Read the arguments and run."""
    token, seconds, *rest = arguments
    interval_ms = float(rest[0]) if rest else _DEFAULT_INTERVAL_MS
    kinds = rest[1].split(",") if len(rest) > 1 else ["udp", "tcp"]
    asyncio.run(run(token, float(seconds), interval_ms, kinds))


if __name__ == "__main__":
    main(sys.argv[1:])
