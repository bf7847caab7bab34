"""Refusals: each says what it means, what to do, and whether and when to try again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.warp.refusals import (
    Refusal,
    RevokedError,
    explain,
    parse_retry_after_untrusted,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("refusal", "known", "said", "advised", "retryable", "wait_s"),
    [
        (Refusal(429), False, "429", "wait 900 s", True, 900.0),
        (Refusal(429, "30"), False, "429", "wait 30 s", True, 30.0),
        (Refusal(429, "Fri, 02 Jan 2026 03:05:05 GMT"), True, "429", "wait 60 s", True, 60.0),
        (Refusal(403), False, "403", "another network", False, None),
        (Refusal(403), True, "403", "wgcf", False, None),
        (Refusal(401), False, "401", "another network", False, None),
        (Refusal(401), True, "does not know this device", "register again", False, None),
        (Refusal(404), True, "does not know this device", "register again", False, None),
        (Refusal(404), False, "404", "wgcf", False, None),
        (Refusal(400, codes=(1056,)), True, "too many devices", "remove a device", False, None),
        (Refusal(400, codes=(1001,)), False, "public key", "register again", False, None),
        (Refusal(400, codes=(1000, 7)), True, "(HTTP 400, code 1000, 7)", "licence", False, None),
        (Refusal(400), True, "rejected the request (HTTP 400)", "licence", False, None),
        (Refusal(500), False, "HTTP 500", "later", True, None),
        (Refusal(503, "7"), False, "HTTP 503", "later", True, 7.0),
        (Refusal(302), False, "HTTP 302", "later", True, None),
    ],
)
def test_refusals(
    refusal: Refusal, known: bool, said: str, advised: str, retryable: bool, wait_s: float | None
) -> None:
    error = explain(refusal, now=NOW, known_device=known)
    assert said in error.message
    assert advised in error.remedy
    assert (error.retryable, error.retry_after_s) == (retryable, wait_s)


@pytest.mark.parametrize("status", [401, 404])
def test_a_device_that_is_gone_is_told_apart(status: int) -> None:
    assert isinstance(explain(Refusal(status), now=NOW, known_device=True), RevokedError)
    assert not isinstance(explain(Refusal(status), now=NOW, known_device=False), RevokedError)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        ("99999999999999999999", 86400.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("Fri, 02 Jan 2099 03:04:00 GMT", 86400.0),
        ("Fri, 02 Jan 2026 03:04:00", None),
    ],
)
def test_retry_after(value: str | None, wait_s: float | None) -> None:
    assert parse_retry_after_untrusted(value, NOW) == wait_s


@given(st.text())
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    wait_s = parse_retry_after_untrusted(value, NOW)
    assert wait_s is None or 0 <= wait_s <= 86400
