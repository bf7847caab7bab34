"""The stand-in speaks to any HTTP client as Cloudflare does, and tells who came through WARP."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

import httpx
import pytest

from privacy_router.host.files import write_private
from privacy_router.lab.standins.certificates import Authority
from privacy_router.lab.standins.warp_accounts import TunnelOffer
from privacy_router.lab.standins.warp_api import Fault, WarpApiStandIn
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOPBACKS = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
OFFER = TunnelOffer("PEER", IPv4Address("198.18.0.1"), IPv6Address("2001:db8::1"))
ADDRESSES = (IPv4Address("172.16.0.2"), IPv6Address("2001:db8:1::2"))
REGISTRATION = {"key": public_key_of(generate_private_key()), "tos": "2026-01-02T00:00:00.000Z"}


@pytest.fixture
async def stand_in() -> AsyncIterator[WarpApiStandIn]:
    service = WarpApiStandIn(OFFER, [ip_network("127.0.0.0/8")], lambda _: ADDRESSES)
    yield service
    await service.close()


def lines(response: httpx.Response) -> dict[str, str]:
    return dict(line.split("=", 1) for line in response.text.splitlines())


async def test_the_trace_tells_who_came_through_warp(stand_in: WarpApiStandIn) -> None:
    port = await stand_in.listen(LOOPBACKS, 0)
    async with httpx.AsyncClient(trust_env=False) as client:
        inside = lines(await client.get(f"http://127.0.0.1:{port}/cdn-cgi/trace"))
        outside = lines(await client.get(f"http://[::1]:{port}/cdn-cgi/trace"))
    assert (inside["warp"], inside["ip"]) == ("on", "127.0.0.1")
    assert (outside["warp"], outside["ip"]) == ("off", "::1")
    assert inside["colo"] == "LAB"


async def test_https_with_a_certificate_of_the_labs_own(
    stand_in: WarpApiStandIn, tmp_path: Path
) -> None:
    authority = Authority(datetime.now(UTC))
    certificate = authority.issue(["api.example", LOOPBACKS[0]])
    write_private(tmp_path / "server.pem", certificate.key_pem + certificate.chain_pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    port = await stand_in.listen(LOOPBACKS[:1], 0, tls)
    trusting = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    async with httpx.AsyncClient(trust_env=False, verify=trusting) as client:
        page = lines(await client.get(f"https://127.0.0.1:{port}/cdn-cgi/trace"))
    assert page["visit_scheme"] == "https"
    assert certificate.key_pem.decode() not in repr(certificate)


async def test_devices_on_one_connection(stand_in: WarpApiStandIn) -> None:
    port = await stand_in.listen(LOOPBACKS[:1], 0)
    url = f"http://127.0.0.1:{port}/v0a1922"
    async with httpx.AsyncClient(trust_env=False, base_url=url) as client:
        made = (await client.post("/reg", json=REGISTRATION)).json()
        path = f"/reg/{made['id']}"
        bearer = {"Authorization": f"Bearer {made['token']}"}
        assert (await client.get(path)).status_code == 401
        read = (await client.get(path, headers=bearer)).json()
        assert read == {key: value for key, value in made.items() if key != "token"}
        devices = (await client.get(f"{path}/account/devices", headers=bearer)).json()
        assert [device["id"] for device in devices] == [made["id"]]
        assert (await client.put(path, headers=bearer)).status_code == 405
        assert (await client.delete(path, headers=bearer)).status_code == 204
        assert (await client.get(path, headers=bearer)).status_code == 404
    assert stand_in.device_keys == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 1001),
        (b"no", 1000),
        (b"[]", 1000),
        (json.dumps({**REGISTRATION, "key": "short"}).encode(), 1001),
        (json.dumps({"key": REGISTRATION["key"]}).encode(), 1000),
    ],
    ids=["empty", "no JSON", "a list", "short key", "key alone"],
)
async def test_bad_registrations(stand_in: WarpApiStandIn, body: bytes, code: int) -> None:
    port = await stand_in.listen(LOOPBACKS[:1], 0)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/v0a1922/reg", content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == code


async def test_faults_come_and_go_and_spare_the_trace(stand_in: WarpApiStandIn) -> None:
    port = await stand_in.listen(LOOPBACKS[:1], 0)
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
        stand_in.misbehave(Fault(429, retry_after="17"))
        limited = await client.post("/v0a1922/reg", json=REGISTRATION)
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "17")
        assert (await client.get("/cdn-cgi/trace")).status_code == 200
        stand_in.misbehave(None)
        assert (await client.post("/v0a1922/reg", json=REGISTRATION)).status_code == 200
