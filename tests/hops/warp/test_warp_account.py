"""The API's documents: the values of a tunnel are found where the service has put them."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode, RemoteServiceError
from privacy_router.hops.warp.account import (
    Account,
    credentials_of,
    decode_account_untrusted,
    decode_device_untrusted,
    decode_problems_untrusted,
    profile_of,
    registration_body,
)

PEER = base64.b64encode(b"public key of the peer, 32 bytes").decode()
PRIVATE = base64.b64encode(b"private key of the test, 32 byte").decode()
TOKEN = "11111111-2222-4333-8444-555555555555"
LICENSE = "AAAA1111-BBBB2222-CCCC3333"
DEVICE: dict[str, Any] = {
    "id": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
    "token": TOKEN,
    "account": {"account_type": "free", "license": LICENSE, "warp_plus": True},
    "config": {
        "client_id": "VYX7",
        "interface": {"addresses": {"v4": "172.16.0.2", "v6": "2606:4700:110::2"}},
        "peers": [
            {
                "public_key": PEER,
                "endpoint": {
                    "v4": "162.159.192.6:0",
                    "v6": "[2606:4700:d0::a29f:c006]:0",
                    "host": "engage.cloudflareclient.com:2408",
                    "ports": [2408, 500, 1701, 4500],
                },
            }
        ],
    },
}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def changed(path: str, value: object) -> dict[str, Any]:
    """DEVICE with another value, or, for None, without one; numbers in the path are indexes."""
    document = copy.deepcopy(DEVICE)
    *parents, last = path.split(".")
    place: Any = document
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def test_the_tunnel_of_a_device() -> None:
    device = decode_device_untrusted(encode(DEVICE))
    profile = profile_of(device, PRIVATE)
    assert (str(profile.v4), str(profile.v6)) == ("172.16.0.2/32", "2606:4700:110::2/128")
    assert profile.peer_public_key == PEER
    assert profile.endpoint == "162.159.192.6:2408"
    assert profile.reserved is None
    assert profile_of(device, PRIVATE, reserve=True).reserved == (85, 133, 251)
    chosen = profile_of(device, PRIVATE, endpoint=device.endpoints[-1])
    assert chosen.endpoint == "engage.cloudflareclient.com:2408"


def test_what_is_kept_of_a_registration() -> None:
    kept = credentials_of(decode_device_untrusted(encode(DEVICE)), PRIVATE)
    assert (kept.device_id, kept.access_token) == (DEVICE["id"], TOKEN)
    assert (kept.license_key, kept.client_id) == (LICENSE, "VYX7")
    with pytest.raises(ValueError, match="token"):
        credentials_of(decode_device_untrusted(encode(changed("token", None))), PRIVATE)


NAME = ("engage.cloudflareclient.com", 2408)


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [
        (
            DEVICE["config"]["peers"][0]["endpoint"],
            (("162.159.192.6", 2408), ("2606:4700:d0::a29f:c006", 2408), NAME),
        ),
        ({"host": "engage.cloudflareclient.com:2408"}, (NAME,)),
        ({"host": "engage.cloudflareclient.com"}, (NAME,)),
        ({"host": "e.example:500", "ports": [4500]}, (("e.example", 500),)),
        ({"host": "e.example", "ports": [4500]}, (("e.example", 4500),)),
        ({"v4": "162.159.192.6", "v6": ""}, (("162.159.192.6", 2408),)),
        ({"v4": "162.159.192.6:0", "ports": [500]}, (("162.159.192.6", 500),)),
        ({"v6": "2606:4700:d0::1"}, (("2606:4700:d0::1", 2408),)),
        ({"host": "[2606:4700:d0::1]:500"}, (("2606:4700:d0::1", 500),)),
        ({"host": "[2606:4700:d0::1]"}, (("2606:4700:d0::1", 2408),)),
        ({"v6": "[2606:4700:d0::1]:0]"}, (("2606:4700:d0::1", 2408),)),
        ({"host": "162.159.192.6:2408", "v4": "162.159.192.6:0"}, (("162.159.192.6", 2408),)),
    ],
)
def test_addresses_are_preferred_and_the_name_is_kept(
    endpoint: dict[str, Any], wanted: tuple[tuple[str, int], ...]
) -> None:
    document = changed("config.peers.0.endpoint", endpoint)
    assert decode_device_untrusted(encode(document)).endpoints == wanted


@pytest.mark.parametrize(
    "document",
    [
        {"success": True, "errors": [], "messages": [], "result": DEVICE},
        {**DEVICE, "new_field": [1]},
        changed("account", None),
        changed("config.client_id", None),
        changed("config.interface.addresses.v6", None),
        changed("config.interface.addresses.v4", ""),
    ],
)
def test_only_what_is_used_is_required(document: dict[str, Any]) -> None:
    assert decode_device_untrusted(encode(document)).peer_public_key == PEER


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "the answer"),
        (b"<html>error 1020</html>", "the answer"),
        (b"[]", "the answer"),
        (b"[" * 100_000, "the answer"),
        (b"\xff\xfe{}", "the answer"),
        (encode(changed("id", None)), "id"),
        (encode(changed("id", "../account")), "id"),
        (encode(changed("token", "with\r\nline")), "token"),
        (encode(changed("config", None)), "config"),
        (encode(changed("config.peers", [])), "config.peers"),
        (encode(changed("config.peers.0.public_key", "short")), "config.peers[0].public_key"),
        (encode(changed("config.peers.0.endpoint", {})), "config.peers[0].endpoint"),
        (
            encode(changed("config.peers.0.endpoint", {"host": "a b:1"})),
            "config.peers[0].endpoint.host",
        ),
        (
            encode(changed("config.peers.0.endpoint", {"v4": "1.2.3"})),
            "config.peers[0].endpoint.v4",
        ),
        (encode(changed("config.client_id", "VYX7VYX7")), "config.client_id"),
        (encode(changed("config.interface.addresses", {})), "config.interface.addresses"),
        (
            encode(changed("config.interface.addresses.v4", 5)),
            "config.interface.addresses.v4",
        ),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_but_not_quoted(body: bytes, where: str) -> None:
    with pytest.raises(RemoteServiceError) as caught:
        decode_device_untrusted(body)
    assert caught.value.message.endswith(f": {where}")
    assert caught.value.exit_code is ExitCode.REMOTE
    assert "wgcf" in caught.value.remedy
    assert TOKEN not in str(caught.value)


def test_accounts_whole_and_in_part() -> None:
    whole = decode_account_untrusted(encode(DEVICE["account"]))
    assert (whole.account_type, whole.license_key, whole.warp_plus) == ("free", LICENSE, True)
    part = decode_account_untrusted(encode({"result": {"premium_data": 0}}))
    assert (part.account_type, part.license_key, part.warp_plus) == (None, None, False)


def test_nothing_secret_is_shown() -> None:
    shown = repr(decode_device_untrusted(encode(DEVICE)))
    assert TOKEN not in shown
    assert LICENSE not in shown


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"errors": [{"code": 1056, "message": "m"}, {"code": "x"}, 3]}', (1056,)),
        (b'{"errors": null}', ()),
        (b"[]", ()),
        (b"no", ()),
    ],
)
def test_codes_of_an_error_answer(body: bytes, codes: tuple[int, ...]) -> None:
    assert decode_problems_untrusted(body) == codes


def test_an_account_and_what_is_said_of_it() -> None:
    whole = {"id": "an-account", "account_type": "unlimited", "warp_plus": True, "license": LICENSE}
    assert decode_account_untrusted(encode(whole)) == Account(
        "an-account", "unlimited", True, LICENSE
    )
    assert decode_account_untrusted(encode({})) == Account(None, None, False, None)


def test_a_registration_says_what_the_service_asks_for() -> None:
    when = datetime(2026, 3, 4, 5, 6, 7, 8000, tzinfo=UTC)
    assert registration_body(PEER, when, "PC") == {
        "key": PEER,
        "install_id": "",
        "fcm_token": "",
        "tos": "2026-03-04T05:06:07.008+00:00",
        "model": "PC",
        "serial_number": "",
        "os_version": "16.0.0",
        "key_type": "curve25519",
        "tunnel_type": "wireguard",
        "locale": "en_US",
    }


def test_the_terms_are_accepted_at_a_time_with_a_zone() -> None:
    body = registration_body("key", datetime(2026, 3, 4, 5, 6, 7, 8000, tzinfo=UTC), "PC")
    assert body["tos"] == "2026-03-04T05:06:07.008+00:00"
    zone = timezone(timedelta(hours=2))
    assert registration_body("k", datetime(2026, 3, 4, tzinfo=zone), "PC")["tos"].endswith("+02:00")
    with pytest.raises(ValueError, match="time zone"):
        registration_body("key", datetime(2026, 3, 4), "PC")  # noqa: DTZ001


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
PATHS = (
    *("id", "token", "account", "account.license", "config", "config.client_id", "config.peers"),
    *("config.interface", "config.interface.addresses.v4", "config.interface.addresses.v6"),
    *("config.peers.0.public_key", "config.peers.0.endpoint", "config.peers.0.endpoint.host"),
    *("config.peers.0.endpoint.v4", "config.peers.0.endpoint.v6", "config.peers.0.endpoint.ports"),
)


@given(st.binary() | st.builds(changed, st.sampled_from(PATHS), json_values).map(encode))
def test_any_bytes_are_a_device_or_one_kind_of_error(body: bytes) -> None:
    try:
        device = decode_device_untrusted(body)
    except RemoteServiceError:
        return
    assert profile_of(device, PRIVATE, reserve=True).endpoint
