"""Account files: wgcf's are read, ours are read by wgcf, and no token is shown."""

from __future__ import annotations

import base64
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.warp.credentials import (
    Credentials,
    parse_credentials_untrusted,
    render_credentials,
)
from privacy_router.hops.warp.profile import ProfileError

PRIVATE = base64.b64encode(b"private key of the test, 32 byte").decode()
TOKEN = "11111111-2222-4333-8444-555555555555"
DEVICE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
LICENSE = "AAAA1111-BBBB2222-CCCC3333"
WGCF = f"""access_token = '{TOKEN}'
device_id = '{DEVICE}'
license_key = '{LICENSE}'
private_key = '{PRIVATE}'
"""
CREDENTIALS = Credentials(DEVICE, TOKEN, PRIVATE, LICENSE)


def test_wgcf_account_is_read_and_written_byte_for_byte() -> None:
    assert parse_credentials_untrusted(WGCF) == CREDENTIALS
    assert render_credentials(CREDENTIALS) == WGCF


def test_what_wgcf_does_not_keep_goes_with_it_and_comes_back() -> None:
    ours = Credentials(DEVICE, TOKEN, PRIVATE, client_id="VYX7")
    assert parse_credentials_untrusted(render_credentials(ours)) == ours
    assert list(tomllib.loads(render_credentials(ours))) == sorted(
        ["access_token", "client_id", "device_id", "private_key"]
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "access_token is missing"),
        (WGCF.replace("device_id", "other"), "device_id is missing"),
        (WGCF.replace(PRIVATE, "short"), "private_key is not 32 bytes in base64"),
        (WGCF.replace(f"'{TOKEN}'", "7"), "access_token is not a string"),
        (WGCF.replace(TOKEN, "with space"), "access_token is not an access token"),
        (WGCF.replace(f"'{TOKEN}'", '"line\\nfeed"'), "access_token is not an access token"),
        (WGCF.replace(DEVICE, "../../etc"), "device_id is not a device id"),
        (WGCF + "=", "it is not TOML"),
        ("#" * 70_000, "over 65536 characters"),
    ],
)
def test_a_broken_account_is_explained(text: str, problem: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_credentials_untrusted(text)
    assert problem in caught.value.problems
    for secret in (TOKEN, PRIVATE, LICENSE):
        assert secret not in str(caught.value)


def test_nothing_secret_is_shown() -> None:
    shown = f"{CREDENTIALS!r} {CREDENTIALS!s}"
    assert DEVICE in shown
    for secret in (TOKEN, PRIVATE, LICENSE):
        assert secret not in shown


@given(st.text())
def test_any_text_is_an_account_or_one_kind_of_error(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_credentials_untrusted(text)
