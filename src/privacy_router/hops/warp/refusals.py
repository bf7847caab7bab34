"""What the WARP account API means when it does not answer with success (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from privacy_router.errors import RemoteServiceError

if TYPE_CHECKING:
    from datetime import datetime

DEFAULT_WAIT_S = 900.0
"""How long a limited address has to wait when the service does not say: a quarter of an hour."""

_WAIT_MAX_S = 86400.0
_IMPORT = "import a profile that wgcf made elsewhere (warp.wgcf_config)"


class ApiCode(IntEnum):
    """Codes in the error envelope of the API that have a meaning of their own."""

    INVALID_REGISTRATION = 1000
    INVALID_PUBLIC_KEY = 1001
    TOO_MANY_DEVICES = 1056


class RevokedError(RemoteServiceError):
    """The service no longer knows this device; only an explicit new registration helps."""


@dataclass(frozen=True)
class Refusal:
    """An answer other than success: status (RFC 9110, section 15), Retry-After, the API's codes."""

    status: int
    retry_after: str | None = None
    codes: tuple[int, ...] = ()


def explain(refusal: Refusal, *, now: datetime, known_device: bool) -> RemoteServiceError:
    """The error for a refusal; `known_device` says whether an existing device was asked about."""
    status = refusal.status
    if status == 429:
        return _limited(refusal, now)
    if status in (401, 404) and known_device:
        return RevokedError(
            f"the WARP account service does not know this device any more (HTTP {status})",
            remedy=f"remove the account file and register again, or {_IMPORT}",
        )
    if status in (401, 403):
        return RemoteServiceError(
            f"the WARP account service does not talk to this address (HTTP {status})",
            remedy=f"try from another network, or {_IMPORT}",
        )
    if 400 <= status < 500:
        return _rejected(refusal)
    return RemoteServiceError(
        f"the WARP account service failed (HTTP {status})",
        remedy=f"try again later, or {_IMPORT}",
        retryable=True,
        retry_after_s=parse_retry_after_untrusted(refusal.retry_after, now),
    )


def _limited(refusal: Refusal, now: datetime) -> RemoteServiceError:
    told = parse_retry_after_untrusted(refusal.retry_after, now)
    wait_s = DEFAULT_WAIT_S if told is None else told
    return RemoteServiceError(
        "the WARP account service takes no more requests from this address for now (HTTP 429)",
        remedy=f"wait {wait_s:.0f} s before the next attempt, or {_IMPORT}",
        retryable=True,
        retry_after_s=wait_s,
    )


def _rejected(refusal: Refusal) -> RemoteServiceError:
    if ApiCode.TOO_MANY_DEVICES in refusal.codes:
        return RemoteServiceError(
            "the WARP account has too many devices",
            remedy="remove a device from the account, then try again",
        )
    if ApiCode.INVALID_PUBLIC_KEY in refusal.codes:
        return RemoteServiceError(
            "the WARP account service does not accept the public key",
            remedy="remove the account file and register again",
        )
    codes = ", ".join(str(code) for code in refusal.codes)
    return RemoteServiceError(
        f"the WARP account service rejected the request (HTTP {refusal.status}"
        + (f", code {codes})" if codes else ")"),
        remedy=f"check the licence key if one was given, or {_IMPORT}",
    )


def parse_retry_after_untrusted(value: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110, 10.2.3), at most a day; None when there is no sensible value."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _WAIT_MAX_S)
    try:
        wait_s = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(wait_s, 0.0), _WAIT_MAX_S)
