"""The API's client against the stand-in on the loopback, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import stat
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import ConflictError, ExitCode, RemoteServiceError, StorageError
from privacy_router.hops.warp.api import ANSWER_LIMIT_BYTES, ApiSettings, WarpApi
from privacy_router.hops.warp.credentials import Credentials
from privacy_router.hops.warp.profile import ProfileError
from privacy_router.hops.warp.refusals import RevokedError
from privacy_router.hops.warp.registration import register_and_store, restore_profile
from privacy_router.hops.warp.store import load_credentials, load_profile, save_credentials
from privacy_router.host.files import write_private
from privacy_router.lab.standins.warp_accounts import TunnelOffer
from privacy_router.lab.standins.warp_api import Fault, WarpApiStandIn
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from privacy_router.lab.standins.certificates import Authority

LOOPBACK = IPv4Address("127.0.0.1")
PEER = public_key_of(generate_private_key())
OFFER = TunnelOffer(PEER, IPv4Address("198.18.0.1"), IPv6Address("2001:db8::1"), 2408)
TOS = datetime(2026, 1, 2, tzinfo=UTC)
NOBODY = Credentials("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "not-a-token", generate_private_key())


class Service:
    """The stand-in with its port, and clients for it."""

    def __init__(self, authority: Authority) -> None:
        self.peers: list[str] = []
        self.stand_in = WarpApiStandIn(OFFER, [], self._add_peer)
        self.port = 0
        self.trusting = ssl.create_default_context(cadata=authority.certificate_pem.decode())

    def _add_peer(self, key: str) -> tuple[IPv4Address, IPv6Address]:
        self.peers.append(key)
        return IPv4Address("172.16.0.2"), IPv6Address("2001:db8:1::2")

    def client(self, *, timeout_s: float = 10.0) -> WarpApi:
        settings = ApiSettings(base_url=f"https://localhost:{self.port}/", timeout_s=timeout_s)
        return WarpApi(settings, self.trusting)


def files_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
async def service(authority: Authority, server_tls: ssl.SSLContext) -> AsyncIterator[Service]:
    service = Service(authority)
    service.port = await service.stand_in.listen([LOOPBACK], 0, server_tls)
    yield service
    await service.stand_in.close()


async def test_the_life_of_a_device(service: Service) -> None:
    key, next_key = generate_private_key(), generate_private_key()
    async with service.client() as api:
        device = await api.register(public_key_of(key), tos=TOS)
        assert device.token is not None
        credentials = Credentials(device.id, device.token, key)
        assert (device.peer_public_key, device.reserved) == (PEER, (0x55, 0x85, 0xFB))
        assert device.endpoints[:2] == (("198.18.0.1", 2408), ("2001:db8::1", 2408))
        assert (await api.device(credentials)).token is None
        assert (await api.account(credentials)).account_type == "free"
        await api.bind_license(credentials, "AAAA1111-BBBB2222-CCCC3333")
        assert (await api.account(credentials)).license_key == "AAAA1111-BBBB2222-CCCC3333"
        await api.rotate_key(credentials, public_key_of(next_key))
        assert service.peers == [public_key_of(key), public_key_of(next_key)]
        await api.delete(credentials)
        with pytest.raises(RevokedError):
            await api.device(credentials)


async def test_requests_look_as_the_service_expects(service: Service) -> None:
    async with service.client() as api:
        await api.register(public_key_of(generate_private_key()), tos=TOS)
    (visit,) = service.stand_in.visits
    assert (visit.method, visit.path) == ("POST", "/v0a5641/reg")
    assert visit.user_agent == ApiSettings().user_agent


async def test_by_default_tls_is_1_2_and_the_trust_store_of_the_environment(
    service: Service, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_private(tmp_path / "ca.pem", authority.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with WarpApi(ApiSettings(base_url=f"https://localhost:{service.port}")) as api:
        await api.register(public_key_of(generate_private_key()), tos=TOS)
    assert [visit.tls_version for visit in service.stand_in.visits] == ["TLSv1.2"]


@pytest.mark.parametrize(
    ("fault", "said", "retryable", "wait_s"),
    [
        (Fault(429, retry_after="120"), "no more requests", True, 120.0),
        (Fault(429), "no more requests", True, 900.0),
        (Fault(403, code=1020), "does not talk to this address", False, None),
        (Fault(500), "failed (HTTP 500)", True, None),
        (Fault(400, code=1056), "too many devices", False, None),
    ],
)
async def test_refusals(
    service: Service, fault: Fault, said: str, retryable: bool, wait_s: float | None
) -> None:
    service.stand_in.misbehave(fault)
    async with service.client() as api:
        with pytest.raises(RemoteServiceError) as caught:
            await api.register(public_key_of(generate_private_key()), tos=TOS)
    assert said in caught.value.message
    assert (caught.value.retryable, caught.value.retry_after_s) == (retryable, wait_s)
    assert caught.value.remedy
    assert caught.value.exit_code is ExitCode.REMOTE
    assert len(service.stand_in.visits) == 1


async def test_a_service_that_hangs_is_given_up(service: Service) -> None:
    service.stand_in.misbehave(Fault(hang=True))
    async with service.client(timeout_s=0.2) as api:
        with pytest.raises(RemoteServiceError, match="does not answer") as caught:
            await api.account(NOBODY)
    assert caught.value.retryable


async def test_an_unknown_device_is_revoked(service: Service) -> None:
    async with service.client() as api:
        with pytest.raises(RevokedError, match="404"):
            await api.account(NOBODY)
        device = await api.register(public_key_of(generate_private_key()), tos=TOS)
        wrong = Credentials(device.id, "another-token", NOBODY.private_key)
        with pytest.raises(RevokedError, match="401"):
            await api.account(wrong)


async def test_a_certificate_of_a_stranger_is_refused(service: Service) -> None:
    async with WarpApi(ApiSettings(base_url=f"https://localhost:{service.port}")) as api:
        with pytest.raises(RemoteServiceError, match="certificate") as caught:
            await api.account(NOBODY)
    assert "clock" in caught.value.remedy
    assert caught.value.retryable, "the clock may be set later, as after the first start"


async def test_a_server_of_another_tls_version_is_named(
    authority: Authority, server_tls: ssl.SSLContext
) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    service = Service(authority)
    service.port = await service.stand_in.listen([LOOPBACK], 0, server_tls)
    service.trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    async with service.client() as api:
        with pytest.raises(RemoteServiceError, match="cannot be reached"):
            await api.account(NOBODY)
    await service.stand_in.close()


async def test_nobody_listening(service: Service) -> None:
    await service.stand_in.close()
    async with service.client() as api:
        with pytest.raises(RemoteServiceError, match="cannot be reached") as caught:
            await api.account(NOBODY)
    assert caught.value.retryable


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def server_that_says(answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, str(LOOPBACK), 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEAD + b"Content-Length: 9\r\n\r\n<garbage>", "cannot be used"),
        (HEAD + b"Content-Length: 2\r\n\r\n[]", "cannot be used"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "cannot be used"),
        (HEAD + b"Content-Length: 99\r\n\r\n{}", "cannot be reached"),
        (HEAD + b"\r\n" + b"x" * (ANSWER_LIMIT_BYTES + 1), f"over {ANSWER_LIMIT_BYTES} bytes"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "cannot be reached"),
        (b"", "cannot be reached"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
    ],
)
async def test_servers_that_are_something_else(answer: bytes, said: str) -> None:
    async with server_that_says(answer) as url, WarpApi(ApiSettings(base_url=url)) as api:
        with pytest.raises(RemoteServiceError) as caught:
            await api.device(NOBODY)
    assert said in caught.value.message


async def test_an_account_is_kept_in_two_private_files(service: Service, tmp_path: Path) -> None:
    account, profile = tmp_path / "state" / "wgcf-account.toml", tmp_path / "state" / "wgcf.conf"
    async with service.client() as api:
        made = await register_and_store(api, tos=TOS, account_file=account, profile_file=profile)
        assert load_profile(profile) == made.profile
        assert service.peers == [public_key_of(made.profile.private_key)]
        assert made.endpoints.addresses == ((OFFER.v4, 2408), (OFFER.v6, 2408))
        assert made.endpoints.name == (OFFER.host, 2408)
        for file in (account, profile):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with pytest.raises(ConflictError, match="already"):
            await register_and_store(api, tos=TOS, account_file=account, profile_file=profile)
        profile.unlink()
        assert await restore_profile(api, account_file=account, profile_file=profile) == made
        await api.delete(load_credentials(account))


async def test_a_refused_registration_leaves_no_file(service: Service, tmp_path: Path) -> None:
    service.stand_in.misbehave(Fault(429))
    async with service.client() as api:
        with pytest.raises(RemoteServiceError):
            await register_and_store(
                api, tos=TOS, account_file=tmp_path / "a", profile_file=tmp_path / "b"
            )
    assert files_in(tmp_path) == {"server.pem"}


@pytest.mark.parametrize("unwritable", ["account", "profile"])
async def test_an_account_that_cannot_be_kept_is_given_back(
    service: Service, tmp_path: Path, unwritable: str
) -> None:
    write_private(tmp_path / "file", b"")
    files = {"account": tmp_path / "account", "profile": tmp_path / "profile"}
    files[unwritable] = tmp_path / "file" / "below"
    async with service.client() as api:
        with pytest.raises(StorageError):
            await register_and_store(
                api, tos=TOS, account_file=files["account"], profile_file=files["profile"]
            )
    assert service.stand_in.device_keys == {}
    assert files_in(tmp_path) == {"file", "server.pem"}


async def test_no_secret_reaches_a_log_or_an_error(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with service.client() as api:
        await register_and_store(
            api, tos=TOS, account_file=tmp_path / "a", profile_file=tmp_path / "b"
        )
        kept = load_credentials(tmp_path / "a")
        service.stand_in.misbehave(Fault(500))
        with pytest.raises(RemoteServiceError) as caught:
            await api.account(kept)
    shown = caplog.text + repr(caught.value) + caught.value.remedy + repr(kept)
    assert caplog.records
    for secret in (kept.access_token, kept.private_key, kept.license_key):
        assert secret is not None
        assert secret not in shown


def test_a_file_that_is_not_text_is_a_broken_profile(tmp_path: Path) -> None:
    write_private(tmp_path / "profile", b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="UTF-8"):
        load_profile(tmp_path / "profile")
    save_credentials(tmp_path / "account", NOBODY)
    assert load_credentials(tmp_path / "account") == NOBODY
