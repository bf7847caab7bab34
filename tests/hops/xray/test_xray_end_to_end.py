"""Two XRay processes on the loopback carry TCP and UDP; a stranger gets the site instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.hops.xray.command import arguments
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.hops.xray.settings import Vps, client_settings, server_settings
from privacy_router.host.files import write_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from privacy_router.lab.standins.certificates import Authority

LOOPBACK = IPv4Address("127.0.0.1")
SITE_NAME = "www.example.com"
PATIENCE_S = 20.0
PAGE = b"the page behind the tunnel"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((str(LOOPBACK), 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """An HTTP(S) server that counts requests; `body` tells it apart from another one."""

    body: bytes
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    requests: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.tls is not None:
                await writer.start_tls(self.tls)
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + self.body)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Site]:
        server = await asyncio.start_server(self.answer, str(LOOPBACK), self.port)
        async with server:
            yield self


@contextlib.asynccontextmanager
async def running(settings: dict[str, Any], file: Path, port: int) -> AsyncIterator[None]:
    write_private(file, json.dumps(settings).encode())
    process = await asyncio.create_subprocess_exec(
        *arguments(str(file)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(reachable(port, process), PATIENCE_S)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def reachable(port: int, process: asyncio.subprocess.Process) -> None:
    while True:
        assert process.returncode is None, f"XRay ended with {process.returncode}"
        try:
            _, writer = await asyncio.open_connection(str(LOOPBACK), port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@dataclass
class Tunnel:
    """Both ends, and what a test may want to have different about the near one."""

    directory: Path
    site: Site
    identity: XrayIdentity = field(default_factory=XrayIdentity.generate)
    blocked: tuple[str, ...] = ()
    vps_port: int = field(default_factory=free_port)
    socks_port: int = field(default_factory=free_port)

    @contextlib.asynccontextmanager
    async def up(self, **wrong: str) -> AsyncIterator[Tunnel]:
        far = server_settings(
            self.identity,
            listen_port=self.vps_port,
            server_name=SITE_NAME,
            target=f"{LOOPBACK}:{self.site.port}",
            listen=str(LOOPBACK),
            blocked_networks=[ip_network(text) for text in self.blocked],
        )
        near = client_settings(
            replace(self.identity, **wrong),
            Vps(str(LOOPBACK), self.vps_port, SITE_NAME),
            tproxy_port=None,
            socks_listen=[LOOPBACK],
            socks_port=self.socks_port,
        )
        async with (
            running(far, self.directory / "server.json", self.vps_port),
            running(near, self.directory / "client.json", self.socks_port),
        ):
            yield self

    async def ask_socks(
        self, command: int, host: bytes, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, tuple[str, int]]:
        """RFC 1928, sections 3 and 4; `host` is an address or a name with its type before it."""
        reader, writer = await asyncio.open_connection(str(LOOPBACK), self.socks_port)
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        writer.write(bytes((5, command, 0)) + host + port.to_bytes(2, "big"))
        answer = await reader.readexactly(10)
        assert answer[:4] == b"\x05\x00\x00\x01"
        bound = socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:], "big")
        return reader, writer, bound

    async def get(self, host: bytes, port: int, timeout_s: float = PATIENCE_S) -> bytes:
        """What the HTTP server says; empty when the connection ends or stays silent."""
        reader, writer, _ = await self.ask_socks(1, host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        try:
            return await asyncio.wait_for(reader.read(), timeout_s)
        except (TimeoutError, ConnectionError):
            return b""
        finally:
            writer.close()

    async def echo(self, host: str, port: int, payload: bytes) -> bytes:
        """What comes back for a datagram (RFC 1928, section 7)."""
        _, writer, relay = await self.ask_socks(3, by_address("0.0.0.0"), 0)
        header = b"\x00\x00\x00" + by_address(host) + port.to_bytes(2, "big")
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(relay)
            await loop.sock_sendall(sender, header + payload)
            answer = await asyncio.wait_for(loop.sock_recv(sender, 65536), PATIENCE_S)
        writer.close()
        assert answer.startswith(header)
        return answer.removeprefix(header)


def by_address(text: str) -> bytes:
    address = ip_address(text)
    return bytes((1 if address.version == 4 else 4,)) + address.packed


def by_name(text: str) -> bytes:
    return bytes((3, len(text))) + text.encode()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.transport.sendto(b"echo " + data, addr)


@contextlib.asynccontextmanager
async def echo_server(host: str, wanted_port: int) -> AsyncIterator[int]:
    """An echo service on the wanted port, or on a free one where that is a privilege."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(Echo, (host, wanted_port))
    except PermissionError:
        transport, _ = await loop.create_datagram_endpoint(Echo, (host, 0))
    yield int(transport.get_extra_info("sockname")[1])
    transport.close()


@pytest.fixture
async def site(server_tls: ssl.SSLContext) -> AsyncIterator[Site]:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    async with Site(b"the site for strangers", server_tls).serve() as served:
        yield served


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with Site(PAGE).serve() as served:
        yield served


async def test_tcp_udp_and_quic_go_through(tmp_path: Path, site: Site, web: Site) -> None:
    async with Tunnel(tmp_path, site).up() as tunnel:
        assert PAGE in await tunnel.get(by_address(str(LOOPBACK)), web.port)
        assert PAGE in await tunnel.get(by_name("localhost"), web.port)
        for host, wanted in (("127.0.0.77", 443), ("127.0.0.77", 0), ("::1", 0)):
            async with echo_server(host, wanted) as port:
                assert await tunnel.echo(host, port, b"hello") == b"echo hello"


async def test_a_stranger_sees_the_site(tmp_path: Path, site: Site) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with Tunnel(tmp_path, site).up() as tunnel:
        reader, writer = await asyncio.open_connection(
            str(LOOPBACK), tunnel.vps_port, ssl=trusting, server_hostname=SITE_NAME
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        assert site.body in await reader.read()
        writer.close()


@pytest.mark.parametrize(
    ("wrong", "handed_to_site"),
    [
        ({"short_id": "ffffffffffffffff"}, True),
        ({"reality_public_key": XrayIdentity.generate().reality_public_key}, True),
        ({"uuid": "00000000-0000-4000-8000-000000000000"}, False),
    ],
)
async def test_a_wrong_identity_reaches_nothing(
    tmp_path: Path,
    site: Site,
    web: Site,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, str],
    handed_to_site: bool,
) -> None:
    """Where the server does not know the client it hands it to the site, which it then reads."""
    write_private(tmp_path / "ca.pem", authority.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with Tunnel(tmp_path, site).up(**wrong) as tunnel:
        page = await tunnel.get(by_address(str(LOOPBACK)), web.port, timeout_s=1.0)
    assert (page, web.requests) == (b"", 0)
    assert (site.requests > 0) is handed_to_site


@pytest.mark.parametrize("host", [by_address("127.0.0.1"), by_name("localhost")])
async def test_the_server_refuses_private_networks_by_address_and_by_name(
    tmp_path: Path, site: Site, web: Site, host: bytes
) -> None:
    async with Tunnel(tmp_path, site, blocked=("127.0.0.0/8", "::1/128")).up() as tunnel:
        assert await tunnel.get(host, web.port, timeout_s=1.0) == b""
    assert web.requests == 0
