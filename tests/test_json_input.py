"""Any text is a value or one error: no depth, number or character is a way around."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.json_input import JsonError, read_json_untrusted

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_survives(value: object) -> None:
    assert read_json_untrusted(json.dumps(value)) == value
    assert read_json_untrusted(json.dumps(value).encode()) == value


@given(st.binary(max_size=64) | st.text(max_size=64) | VALUES.map(json.dumps).map(lambda t: t[:-1]))
def test_anything_else_is_one_error(data: str | bytes) -> None:
    try:
        value = read_json_untrusted(data)
    except JsonError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 100_000, "64 levels"),
        ('{"a":' * 100_000, "64 levels"),
        ("[" * 65 + "]" * 65, "64 levels"),
        ("1" * 5000, "not JSON"),
        ("NaN", "not JSON"),
        ("-Infinity", "not JSON"),
        (r'"\ud800"', "not JSON"),
        (r'{"\uDFFF": 1}', "not JSON"),
        (b"\xff", "not JSON"),
        ("", "not JSON at offset 0"),
        (" " * 101, "over 100 bytes"),
    ],
)
def test_what_the_library_would_take_or_trip_over(text: str | bytes, complaint: str) -> None:
    limit = 100 if complaint.startswith("over") else 1_000_000
    with pytest.raises(JsonError, match=complaint):
        read_json_untrusted(text, limit_bytes=limit)


def test_what_is_just_allowed() -> None:
    assert read_json_untrusted("[" * 64 + "]" * 64)
    assert read_json_untrusted(r'"\ud83d\ude00"') == "😀"
