"""A file that is no profile is told by what it is."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.warp.file_kinds import other_kinds, undecodable
from privacy_router.hops.warp.profile import ProfileError
from privacy_router.hops.warp.store import load_profile

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"private key of the test, 32 byte").decode()
PROFILE = f"""[Interface]
PrivateKey = {KEY}
Address = 172.16.0.2/32
[Peer]
PublicKey = {KEY}
Endpoint = engage.cloudflareclient.com:2408
"""
AMNEZIA = PROFILE.replace("[Peer]", "Jc = 4\nJmin = 40\nS1 = 0\nH1 = 1\n[Peer]")
ACCOUNT = "access_token = 'a'\ndevice_id = 'b'\nlicense_key = 'c'\nprivate_key = 'd'\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (AMNEZIA.encode(), "AmneziaWG"),
        (ACCOUNT.encode(), "wgcf generate"),
        (b'{"private_key": "x"}', "JSON"),
        (PROFILE.encode("utf-16"), "UTF-16"),
        (b"\xff\x00\x80", "not UTF-8"),
    ],
)
def test_what_the_file_is(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "given.conf"
    path.write_bytes(data)
    with pytest.raises(ProfileError, match=words) as caught:
        load_profile(path)
    assert str(path) in caught.value.message
    assert KEY not in caught.value.message


def test_a_profile_is_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "wgcf-profile.conf"
    path.write_text(PROFILE)
    assert load_profile(path).private_key == KEY
    assert list(other_kinds(PROFILE)) == []


@given(st.text(), st.binary())
def test_any_file_is_judged(text: str, data: bytes) -> None:
    assert all(other_kinds(text))
    assert undecodable(data)
