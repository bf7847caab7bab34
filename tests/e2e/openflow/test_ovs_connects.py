"""Open vSwitch and this library over every transport, either of them calling the other.

TCP and TLS run on the loopback of the switch's own network namespace.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from privacy_router.openflow import (
    ConnectionLostError,
    FlowMod,
    GotoTable,
    Match,
    OpenFlowError,
    Role,
    SwitchError,
)
from privacy_router.openflow.channel import Channel, connect_tcp, connect_unix
from privacy_router.openflow.listening import serve_tcp, serve_unix
from tests.e2e.openflow.private_ovs import DELETE_ALL, TCP, Ovs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

HERE = "127.0.0.1"
TCP_PORT, TLS_PORT, OUR_PORT = 6653, 6654, 6655
CERTIFICATE_LIFE = datetime.timedelta(hours=1)


async def assert_usable(channel: Channel) -> None:
    """A bundle of some size goes there, and comes back the same."""
    assert (await channel.features()).tables == 254
    flows = [FlowMod(Match(**TCP, tcp_dst=n), (GotoTable(1),), cookie=n) for n in range(2000)]
    await channel.apply_bundle([DELETE_ALL, *flows])
    assert not await channel.compare_flows(flows)


@pytest.fixture
def controller(ovs: Ovs, request: pytest.FixtureRequest) -> Iterator[str]:
    """The switch with the controller that the test names."""
    ovs.vsctl("set-controller", "br0", request.param)
    yield request.param
    ovs.vsctl("del-controller", "br0")


# --- a unix socket ------------------------------------------------------------------------------


async def test_a_switch_connects_to_our_unix_socket(ovs: Ovs) -> None:
    path = ovs.directory / "controller.sock"
    async with await serve_unix(path) as listening, asyncio.timeout(20):
        ovs.vsctl("set-controller", "br0", f"unix:{path}")
        try:
            async with await listening.accept() as channel:
                await assert_usable(channel)
        finally:
            ovs.vsctl("del-controller", "br0")


async def test_a_switch_that_is_killed_ends_the_channel(tmp_path: Path) -> None:
    switch = Ovs(tmp_path)
    try:
        switch.start()
        async with await connect_unix(switch.mgmt) as channel:
            switch.kill_vswitchd()
            assert isinstance(await channel.wait_closed(), ConnectionLostError)
            with pytest.raises(ConnectionLostError):
                await channel.dump_flows()
    finally:
        switch.stop()


# --- TCP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("controller", [f"ptcp:{TCP_PORT}:{HERE}"], indirect=True)
async def test_we_connect_to_a_switch_over_tcp(ovs: Ovs, controller: str) -> None:
    with ovs.namespace():
        async with await connected(TCP_PORT) as channel:
            await assert_usable(channel)


async def test_a_switch_connects_to_us_over_tcp(ovs: Ovs) -> None:
    with ovs.namespace():
        listening = await serve_tcp(HERE, OUR_PORT)
    async with listening, asyncio.timeout(20):
        ovs.vsctl("set-controller", "br0", f"tcp:{HERE}:{OUR_PORT}")
        try:
            async with await listening.accept() as channel:
                await assert_usable(channel)
        finally:
            ovs.vsctl("del-controller", "br0")


@pytest.mark.parametrize("controller", [f"ptcp:{TCP_PORT}:{HERE}"], indirect=True)
async def test_two_controllers_agree_on_who_leads(ovs: Ovs, controller: str) -> None:
    """The one that was elected later leads; the other may only look."""
    with ovs.namespace():
        async with await connected(TCP_PORT) as first, await connected(TCP_PORT) as second:
            await first.take_role(Role.MASTER, 1)
            await second.take_role(Role.MASTER, 2)
            assert (await first.take_role(Role.NOCHANGE)).role == Role.SLAVE
            with pytest.raises(SwitchError, match=r"BAD_REQUEST\.IS_SLAVE"):
                await first.apply([DELETE_ALL])
            with pytest.raises(SwitchError, match=r"ROLE_REQUEST_FAILED\.STALE"):
                await first.take_role(Role.MASTER, 1)
            await second.apply([DELETE_ALL])
            assert await first.dump_flows() == []


async def connected(port: int, tls: ssl.SSLContext | None = None) -> Channel:
    """Once the switch listens, which is soon after it was told to."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await connect_tcp(HERE, port, tls=tls)
            except ConnectionLostError as error:
                if not isinstance(error.__cause__, ConnectionRefusedError):
                    raise
                await asyncio.sleep(0.02)


# --- TLS ----------------------------------------------------------------------------------------


SIGNING_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = named("authority")
        self.certificate = directory / "authority.pem"
        builder = self._builder(self._name, self._key.public_key(), is_authority=True)
        usage = builder.add_extension(SIGNING_ONLY, critical=True)
        self._write(self.certificate, usage.sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a key and of its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HERE))])
        builder = self._builder(named(name), key.public_key(), is_authority=False)
        signed = builder.add_extension(address, critical=False).sign(self._key, hashes.SHA256())
        key_file, certificate = self._directory / f"{name}.key", self._directory / f"{name}.pem"
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        self._write(certificate, signed)
        return key_file, certificate

    def context(self, purpose: ssl.Purpose, name: str | None) -> ssl.SSLContext:
        """One that demands a certificate of this authority, and shows one when it has a name."""
        context = ssl.create_default_context(purpose, cafile=str(self.certificate))
        context.verify_mode = ssl.CERT_REQUIRED
        if name is not None:
            key, certificate = self.issue(name)
            context.load_cert_chain(certificate, key)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        issuer_key = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CERTIFICATE_LIFE)
            .not_valid_after(now + CERTIFICATE_LIFE)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
            )
        )

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture(scope="module")
def authority(ovs: Ovs, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Has signed the switch's certificate, and is whom the switch trusts."""
    made = Authority(tmp_path_factory.mktemp("tls"))
    key, certificate = made.issue("switch")
    ovs.vsctl("set-ssl", str(key), str(certificate), str(made.certificate))
    return made


@pytest.mark.parametrize("controller", [f"pssl:{TLS_PORT}:{HERE}"], indirect=True)
async def test_we_connect_to_a_switch_over_tls(
    ovs: Ovs, authority: Authority, controller: str
) -> None:
    tls = authority.context(ssl.Purpose.SERVER_AUTH, "controller")
    with ovs.namespace():
        async with await connected(TLS_PORT, tls) as channel:
            await assert_usable(channel)


async def test_a_switch_connects_to_us_over_tls(ovs: Ovs, authority: Authority) -> None:
    tls = authority.context(ssl.Purpose.CLIENT_AUTH, "controller")
    with ovs.namespace():
        listening = await serve_tcp(HERE, OUR_PORT, tls=tls)
    async with listening, asyncio.timeout(20):
        ovs.vsctl("set-controller", "br0", f"ssl:{HERE}:{OUR_PORT}")
        try:
            async with await listening.accept() as channel:
                await assert_usable(channel)
        finally:
            ovs.vsctl("del-controller", "br0")


@pytest.mark.parametrize("controller", [f"pssl:{TLS_PORT}:{HERE}"], indirect=True)
async def test_a_switch_of_another_authority_is_not_spoken_to(
    ovs: Ovs, authority: Authority, controller: str, tmp_path: Path
) -> None:
    tls = Authority(tmp_path).context(ssl.Purpose.SERVER_AUTH, "controller")
    with ovs.namespace(), pytest.raises(ConnectionLostError, match="certificate"):
        await connected(TLS_PORT, tls)


@pytest.mark.parametrize("controller", [f"pssl:{TLS_PORT}:{HERE}"], indirect=True)
async def test_a_switch_refuses_a_controller_without_certificate(
    ovs: Ovs, authority: Authority, controller: str
) -> None:
    tls = authority.context(ssl.Purpose.SERVER_AUTH, None)
    with ovs.namespace(), pytest.raises(OpenFlowError):
        await connected(TLS_PORT, tls)
