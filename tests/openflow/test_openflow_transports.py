"""TCP, TLS and listening: the same channel over every transport, on the loopback."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from privacy_router.openflow import (
    ConnectionLostError,
    FlowMod,
    Hello,
    Match,
    RequestTimeoutError,
    encode,
)
from privacy_router.openflow.channel import connect_tcp, connect_unix
from privacy_router.openflow.listening import Listening, serve_tcp, serve_unix
from privacy_router.openflow.messages import BarrierReply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.openflow.conftest import FakeSwitch

FLOWS = [FlowMod(Match(in_port=n)) for n in range(5)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "switch")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path_factory.mktemp("tls") / "switch.pem"
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


# --- connecting ---------------------------------------------------------------------------------


async def test_over_tcp(switch: FakeSwitch) -> None:
    async with await connect_tcp("127.0.0.1", await switch.also_on_tcp(), 2.0) as channel:
        assert (await channel.features()).datapath_id == 0xABC
        await channel.apply_bundle(FLOWS)
    assert switch.committed == FLOWS


async def test_over_tls(switch: FakeSwitch, certificate: Path) -> None:
    port = await switch.also_on_tcp(server_side(certificate))
    async with await connect_tcp("127.0.0.1", port, 2.0, tls=trusting(certificate)) as channel:
        await channel.apply_bundle(FLOWS)
    assert switch.committed == FLOWS


async def test_a_switch_that_cannot_be_verified(switch: FakeSwitch, certificate: Path) -> None:
    port = await switch.also_on_tcp(server_side(certificate))
    with pytest.raises(ConnectionLostError, match=r"127\.0\.0\.1 port \d+: .*CERTIFICATE_VERIFY"):
        await connect_tcp("127.0.0.1", port, 2.0, tls=ssl.create_default_context())
    with pytest.raises(ConnectionLostError, match="CERTIFICATE_VERIFY"):
        await connect_tcp(
            "127.0.0.1", port, 2.0, tls=trusting(certificate), server_name="other.example"
        )
    assert switch.received == []


async def test_a_port_where_nobody_listens() -> None:
    listening = await serve_tcp(port=0)
    (address,) = listening.addresses
    await listening.close()
    with pytest.raises(ConnectionLostError, match=r"cannot connect to 127\.0\.0\.1 port"):
        await connect_tcp("127.0.0.1", int(address[1]), 2.0)


# --- listening ----------------------------------------------------------------------------------


class CallingSwitch:
    """A switch that connects to us by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def greet(self) -> None:
        self._writer.write(encode(Hello(), 0))

    async def answer_barrier(self) -> None:
        head = b"\4\x14"
        seen = b""
        while head not in seen:
            seen += await self._reader.read(1000)
        at = seen.index(head)
        xid = int.from_bytes(seen[at + 4 : at + 8], "big")
        self._writer.write(encode(BarrierReply(), xid))

    async def hello(self) -> None:
        """Wait for the other side's greeting."""
        await self._reader.readexactly(8)

    async def ended(self) -> None:
        """Wait until the other side has hung up."""
        try:
            while await self._reader.read(1000):
                pass
        except ConnectionError:
            return

    async def hang_up(self) -> None:
        """Leave, and wait until the other side has noticed."""
        self._writer.write_eof()
        await self.ended()
        self.leave()

    def leave(self) -> None:
        self._writer.close()


PATIENCE_S = 30.0  # for what comes, however busy the machine is


async def call(listening: Listening, tls: ssl.SSLContext | None = None) -> CallingSwitch:
    (address,) = listening.addresses
    if isinstance(address, str):
        return CallingSwitch(*await asyncio.open_unix_connection(address))
    return CallingSwitch(*await asyncio.open_connection(*address, ssl=tls))


async def barrier_over(listening: Listening, tls: ssl.SSLContext | None = None) -> None:
    async with listening, asyncio.timeout(PATIENCE_S):
        switch = await call(listening, tls)
        switch.greet()
        async with await listening.accept() as channel:
            await asyncio.gather(channel.barrier(), switch.answer_barrier())
        await switch.ended()
        switch.leave()


async def test_a_switch_calls_over_tcp() -> None:
    await barrier_over(await serve_tcp(port=0, timeout_s=PATIENCE_S))


async def test_a_switch_calls_over_tls(certificate: Path) -> None:
    listening = await serve_tcp(port=0, timeout_s=PATIENCE_S, tls=server_side(certificate))
    await barrier_over(listening, trusting(certificate))


async def test_a_switch_calls_over_a_socket_that_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "controller.sock"
    listening = await serve_unix(path, PATIENCE_S)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await barrier_over(listening)


async def test_who_does_not_greet_is_let_go() -> None:
    async with await serve_tcp(port=0, timeout_s=1.0) as listening, asyncio.timeout(PATIENCE_S):
        silent, polite = await call(listening), await call(listening)
        polite.greet()
        channel = await listening.accept()
        await silent.ended()
        assert not channel.closed
        await channel.close()
        for switch in (silent, polite):
            switch.leave()


async def test_a_switch_that_left_before_it_was_accepted_is_passed_over() -> None:
    async with (
        await serve_tcp(port=0, timeout_s=PATIENCE_S) as listening,
        asyncio.timeout(PATIENCE_S),
    ):
        hasty = await call(listening)
        hasty.greet()
        await hasty.hello()
        await hasty.hang_up()
        switch = await call(listening)
        switch.greet()
        async with await listening.accept() as channel:
            await asyncio.gather(channel.barrier(), switch.answer_barrier())
        switch.leave()


async def test_a_crowd_that_does_not_greet_is_bounded() -> None:
    async with (
        await serve_tcp(port=0, timeout_s=PATIENCE_S) as listening,
        asyncio.timeout(PATIENCE_S),
    ):
        crowd = [await call(listening) for _ in range(64)]
        one_more = await call(listening)
        await one_more.ended()
        for switch in (*crowd, one_more):
            switch.leave()


async def test_closing_lets_those_go_that_wait(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        listening = await serve_unix(tmp_path / "controller.sock", PATIENCE_S)
        greeted, silent = await call(listening), await call(listening)
        greeted.greet()
        await greeted.hello()
        await listening.close()
        for switch in (greeted, silent):
            await switch.ended()
            switch.leave()
    with pytest.raises((ConnectionLostError, RequestTimeoutError)):
        await connect_unix(tmp_path / "controller.sock", 0.1)


async def test_a_place_that_is_taken(tmp_path: Path) -> None:
    async with await serve_tcp(port=0) as listening:
        port = int(listening.addresses[0][1])
        with pytest.raises(ConnectionLostError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await serve_tcp(port=port)
    (tmp_path / "taken").touch()
    with pytest.raises(ConnectionLostError, match=r"cannot listen on .*taken"):
        await serve_unix(tmp_path / "taken")
