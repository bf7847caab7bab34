"""The identity survives its file, and a damaged file is named without being quoted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode, StorageError
from privacy_router.hops.xray.keys import XrayIdentity


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")


def test_a_generated_identity_is_a_key_pair_and_never_twice_the_same() -> None:
    one, other = XrayIdentity.generate(), XrayIdentity.generate()
    key = X25519PrivateKey.from_private_bytes(raw(one.reality_private_key))
    assert key.public_key().public_bytes_raw() == raw(one.reality_public_key)
    assert len(bytes.fromhex(one.short_id)) == 8
    assert not {one.uuid, one.short_id, one.reality_private_key} & {
        other.uuid,
        other.short_id,
        other.reality_private_key,
    }


def test_the_state_file_gives_the_same_identity_back() -> None:
    identity = XrayIdentity.generate()
    assert XrayIdentity.from_json_untrusted(identity.to_json()) == identity


def test_repr_shows_the_public_key_only() -> None:
    identity = XrayIdentity.generate()
    shown = f"{identity!r} {identity!s}"
    assert identity.reality_public_key in shown
    for secret in (identity.uuid, identity.reality_private_key, identity.short_id):
        assert secret not in shown


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"uuid": "no"}, "uuid"),
        ({"uuid": None}, "uuid"),
        ({"short_id": "AB"}, "short_id"),
        ({"short_id": 7}, "short_id"),
        ({"reality_private_key": "c2hvcnQ"}, "reality_private_key"),
        ({"reality_private_key": None}, "reality_private_key"),
        ({"reality_private_key": "!" * 43}, "reality_private_key"),
        ({"reality_public_key": "A" * 43}, "does not belong"),
    ],
)
def test_a_damaged_file_is_named_but_not_quoted(change: dict[str, Any], named: str) -> None:
    identity = XrayIdentity.generate()
    document = json.loads(identity.to_json()) | change
    with pytest.raises(StorageError, match=named) as caught:
        XrayIdentity.from_json_untrusted(json.dumps(document))
    assert caught.value.exit_code is ExitCode.STORAGE
    assert caught.value.remedy
    assert identity.reality_private_key not in str(caught.value)


def test_a_key_with_characters_that_are_none_of_base64_is_damaged() -> None:
    document = json.loads(XrayIdentity.generate().to_json())
    key = document["reality_private_key"]
    for damaged in (f"{key[:20]} {key[20:]}", f"{key}\n", f"!{key}"):
        with pytest.raises(StorageError, match="reality_private_key"):
            XrayIdentity.from_json_untrusted(
                json.dumps({**document, "reality_private_key": damaged})
            )


@given(st.one_of(st.text(), st.builds(json.dumps, st.recursive(st.none(), st.lists))))
def test_any_other_text_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(StorageError):
        XrayIdentity.from_json_untrusted(text)
