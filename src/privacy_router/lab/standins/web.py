"""The lab's web host: HTTP, HTTPS, DNS, UDP echo and UDP answers of any size on IPv4 and IPv6, in
one process.

python -m privacy_router.lab.standins.web CERTIFICATE_FILE READY_FILE
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h11

from privacy_router.lab import internet
from privacy_router.lab.standins import sizes
from privacy_router.lab.standins.names import QueryError, answer_untrusted
from privacy_router.lab.standins.pages import Page, page_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

Address = IPv4Address | IPv6Address

HTTP_PORT = 80
HTTPS_PORT = 443
DNS_PORT = 53
ECHO_PORTS = (7, 443)
_DNS_MESSAGE_LIMIT_BYTES = 65535
# A new XRay server opens connections to its REALITY target to see what that sends by itself, for
# 5 s or until the target hangs up, and serves no other client before. This site hangs up early.
_PATIENCE_S = 1.0
_GOODBYE_S = 0.1


async def serve(certificate: Path, on_ready: Callable[[], None]) -> None:
    """Call `on_ready` once everything is served; go on until SIGTERM."""
    tls = _tls(certificate)
    loop = asyncio.get_running_loop()
    for address in internet.WEB:
        await asyncio.start_server(_talk_http, str(address), HTTP_PORT)
        await asyncio.start_server(
            _talk_https,
            str(address),
            HTTPS_PORT,
            ssl=tls,
            ssl_handshake_timeout=_PATIENCE_S,
            ssl_shutdown_timeout=_GOODBYE_S,
        )
        for port in ECHO_PORTS:
            await loop.create_datagram_endpoint(_Echo, (str(address), port))
        await loop.create_datagram_endpoint(_Sizes, (str(address), sizes.PORT))
    for address in internet.DNS:
        await asyncio.start_server(_talk_dns, str(address), DNS_PORT)
        await loop.create_datagram_endpoint(_Names, (str(address), DNS_PORT))
    on_ready()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def _tls(certificate: Path) -> ssl.SSLContext:
    """What REALITY borrows: a genuine TLS 1.3 site (OpenSSL's default groups have X25519)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    # h2 is offered as real sites do; a client that takes both is served the one that is spoken here
    context.set_alpn_protocols(["http/1.1", "h2"])
    return context


def _peer(name: Any) -> Address:
    return ip_address(name[0].partition("%")[0])


class _Datagrams(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)


class _Echo(_Datagrams):
    """Answers `<address> <payload>`."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(f"{_peer(addr)} ".encode() + data, addr)


class _Sizes(_Datagrams):
    """Answers of the size that is asked for."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with suppress(sizes.SizeError):
            self.transport.sendto(sizes.answer_untrusted(data, _peer(addr)), addr)


class _Names(_Datagrams):
    """DNS over UDP."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with suppress(QueryError):
            self.transport.sendto(answer_untrusted(data, _peer(addr)), addr)


async def _talk_dns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """DNS over TCP: each message behind its length; RFC 7766."""
    peer = _peer(writer.get_extra_info("peername"))
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = await reader.readexactly(length)
            answer = answer_untrusted(query, peer, limit_bytes=_DNS_MESSAGE_LIMIT_BYTES)
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError, QueryError):
        return
    finally:
        writer.close()


async def _talk_https(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same behind TLS, where a visitor has to say at once what it wants."""
    await _talk_http(reader, writer, first_within_s=_PATIENCE_S)


async def _talk_http(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    first_within_s: float | None = None,
) -> None:
    """HTTP/1.1 with connections that are kept; RFC 9112."""
    patience_s = first_within_s
    peer = _peer(writer.get_extra_info("peername"))
    http = h11.Connection(h11.SERVER)
    try:
        while True:
            request = await asyncio.wait_for(_receive(http, reader), patience_s)
            if request is None:
                return
            page = page_untrusted(request.target.decode("latin-1"), peer)
            await _send(http, writer, page, body=request.method != b"HEAD")
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()
            patience_s = None
    except (TimeoutError, h11.RemoteProtocolError, OSError):
        return
    finally:
        writer.close()


async def _receive(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    request: h11.Request | None = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif not isinstance(event, h11.Data):
            return None


async def _send(
    http: h11.Connection, writer: asyncio.StreamWriter, page: Page, *, body: bool
) -> None:
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(page.length_bytes))]
    writer.write(http.send(h11.Response(status_code=page.status, headers=headers)) or b"")
    for piece in page.pieces() if body else ():
        writer.write(http.send(h11.Data(data=piece)) or b"")
        await writer.drain()
    writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]).touch))
