"""What wgcf 2.2.29 asks of the WARP API, and the fields without which it refuses an answer.

The requests were recorded of the program; the schema is that of its client. It says "no value given
for required property" for a field that is missing.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from privacy_router.lab.standins.warp_accounts import TunnelOffer
from privacy_router.lab.standins.warp_api import WarpApiStandIn
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Register = Callable[[], Awaitable["Wgcf"]]

TEXT, NUMBER, FLAG = str, (int, float), bool

ACCOUNT: dict[str, Any] = {
    **dict.fromkeys(("id", "account_type", "created", "updated", "role", "license"), TEXT),
    **dict.fromkeys(("premium_data", "quota", "usage", "referral_count"), NUMBER),
    "referral_renewal_countdown": NUMBER,
    "warp_plus": FLAG,
}
BOUND_ACCOUNT = {k: v for k, v in ACCOUNT.items() if k not in ("account_type", "license", "usage")}
DEVICE: dict[str, Any] = {
    **dict.fromkeys(("id", "type", "model", "name", "key", "created", "updated", "tos"), TEXT),
    **dict.fromkeys(("locale", "install_id", "fcm_token"), TEXT),
    **dict.fromkeys(("warp_enabled", "waitlist_enabled", "enabled"), FLAG),
    "place": NUMBER,
    "account": ACCOUNT,
    "config": {
        "client_id": TEXT,
        "interface": {"addresses": {"v4": TEXT, "v6": TEXT}},
        "peers": [{"public_key": TEXT, "endpoint": {"host": TEXT, "v4": TEXT, "v6": TEXT}}],
        "services": {"http_proxy": TEXT},
    },
}
REGISTERED = {**DEVICE, "token": TEXT}
BOUND_DEVICE: dict[str, Any] = {
    **dict.fromkeys(("id", "type", "model", "created", "activated", "role"), TEXT),
    "active": FLAG,
}

HEADERS = {
    "User-Agent": "okhttp/3.12.1",
    "Cf-Client-Version": "a-6.3-1922",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
}


def require(schema: Any, found: Any, path: str = "") -> None:
    """Refuse what wgcf refuses."""
    if isinstance(schema, dict):
        for key, inner in schema.items():
            assert key in found, f"no value given for required property {path}{key}"
            require(inner, found[key], f"{path}{key}.")
    elif isinstance(schema, list):
        assert isinstance(found, list), path
        for each in found:
            require(schema[0], each, path)
    else:
        assert isinstance(found, schema), path
        assert schema is FLAG or not isinstance(found, bool), path


@dataclass
class Wgcf:
    """The program's requests, on one connection."""

    client: httpx.AsyncClient
    device: str = ""
    seen: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, schema: Any, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body, sort_keys=True) + "\n"
        kind = {} if body is None else {"Content-Type": "application/json"}
        answer = await self.client.request(
            method, f"/v0a1922/{path}", content=content, headers=kind
        )
        assert answer.status_code in (200, 204), (method, path, answer.text)
        if schema is None:
            assert answer.status_code == 204
            return None
        found = answer.json()
        require(schema, found)
        return found

    async def register(self, key: str) -> dict[str, Any]:
        """`wgcf register --accept-tos`."""
        body = {
            **dict.fromkeys(("fcm_token", "install_id"), ""),
            "key": key,
            "locale": "en_US",
            "model": "PC",
            "type": "Android",
            "tos": "2026-01-02T03:04:05.678901234Z",
        }
        made: dict[str, Any] = await self.ask("POST", "reg", REGISTERED, body)
        self.device = made["id"]
        self.client.headers["Authorization"] = f"Bearer {made['token']}"
        named = await self.name(self.device, "BA57DC")
        assert named == "BA57DC"
        await self.status()
        return made

    async def name(self, device: str, name: str) -> str:
        path = f"reg/{self.device}/account/reg/{device}"
        devices = await self.ask("PATCH", path, [BOUND_DEVICE], {"name": name})
        return next(str(each["name"]) for each in devices if each["id"] == device)

    async def status(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """`wgcf status`."""
        account = await self.ask("GET", f"reg/{self.device}/account", ACCOUNT)
        return account, await self.devices()

    async def devices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.ask(
            "GET", f"reg/{self.device}/account/devices", [BOUND_DEVICE]
        )
        return found

    async def update_license(self, license_key: str) -> None:
        """`wgcf update --license-key`."""
        account, _ = await self.status()
        assert account["license"] != license_key
        body = {"license": license_key}
        await self.ask("PUT", f"reg/{self.device}/account", BOUND_ACCOUNT, body)
        await self.devices()
        await self.devices()
        account, _ = await self.status()
        assert account["license"] == license_key


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The lab's API."""
    offer = TunnelOffer("PEER", IPv4Address("198.18.0.1"), IPv6Address("2001:db8::1"))
    addresses = (IPv4Address("172.16.0.2"), IPv6Address("2001:db8:1::2"))
    service = WarpApiStandIn(offer, [], lambda _: addresses)
    port = await service.listen([IPv4Address("127.0.0.1")], 0)
    yield f"http://127.0.0.1:{port}"
    await service.close()


@pytest.fixture
async def registered(url: str) -> AsyncIterator[Register]:
    """Makes programs that have registered a device each."""
    async with contextlib.AsyncExitStack() as stack:

        async def make() -> Wgcf:
            client = httpx.AsyncClient(trust_env=False, base_url=url, headers=HEADERS)
            program = Wgcf(await stack.enter_async_context(client))
            await program.register(public_key_of(generate_private_key()))
            return program

        yield make


async def test_register_and_generate(registered: Register) -> None:
    program = await registered()
    device = await program.ask("GET", f"reg/{program.device}", DEVICE)
    assert (device["name"], device["type"], device["model"]) == ("BA57DC", "Android", "PC")
    assert device["tos"] == "2026-01-02T03:04:05.678901234Z"
    assert device["account"]["id"] != device["id"]
    assert "token" not in device
    (peer,) = device["config"]["peers"]
    assert peer["endpoint"]["host"] == "engage.cloudflareclient.com:2408"


async def test_a_device_that_is_not_named_has_no_name_in_the_list(registered: Register) -> None:
    program = await registered()
    made = await program.ask("POST", "reg", REGISTERED, _registration())
    program.device = made["id"]
    program.client.headers["Authorization"] = f"Bearer {made['token']}"
    (listed,) = await program.devices()
    assert "name" not in listed


def _registration() -> Mapping[str, str]:
    key = public_key_of(generate_private_key())
    return {"key": key, "tos": "2026-01-02T03:04:05Z", "model": "PC", "type": "Android"}


async def test_devices_of_one_licence_are_bound_named_deactivated_and_removed(
    registered: Register,
) -> None:
    first, second = await registered(), await registered()
    account, devices = await first.status()
    assert [each["id"] for each in devices] == [first.device]
    await second.update_license(account["license"])
    shared, devices = await second.status()
    assert shared["id"] == account["id"]
    assert [each["id"] for each in devices] == [first.device, second.device]
    bound = f"reg/{first.device}/account/reg/{second.device}"
    devices = await first.ask("PATCH", bound, [BOUND_DEVICE], {"active": False})
    assert [each["active"] for each in devices] == [True, False]
    assert await first.name(second.device, "office") == "office"
    await first.ask("DELETE", bound, None)
    assert [each["id"] for each in await first.devices()] == [first.device]
    gone = await second.client.get(f"/v0a1922/reg/{second.device}")
    assert gone.status_code == 404


async def test_a_licence_can_be_reset(registered: Register) -> None:
    program = await registered()
    before, _ = await program.status()
    path = f"reg/{program.device}/account/license"
    made = await program.ask("POST", path, {"license": TEXT})
    after, _ = await program.status()
    assert made["license"] == after["license"] != before["license"]


@pytest.mark.parametrize("body", [{"active": "no"}, {"name": 7}, {"active": None}])
async def test_what_is_no_change_of_a_device_is_refused(
    registered: Register, body: dict[str, Any]
) -> None:
    program = await registered()
    path = f"/v0a1922/reg/{program.device}/account/reg/{program.device}"
    assert (await program.client.patch(path, json=body)).status_code == 400


async def test_another_accounts_device_is_none_of_ones_own(registered: Register) -> None:
    mine, other = await registered(), await registered()
    path = f"/v0a1922/reg/{mine.device}/account/reg/{other.device}"
    assert (await mine.client.patch(path, json={"name": "mine"})).status_code == 404
    assert (await mine.client.delete(path)).status_code == 404
    assert (await other.devices())[0]["name"] == "BA57DC"
