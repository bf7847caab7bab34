"""What proves that a WARP device is ours, as wgcf's `wgcf-account.toml` holds it (pure)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

from privacy_router.hops.warp.profile import TEXT_LIMIT_CHARS, ProfileError, decode_key

_SUBJECT = "the WARP account file"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}\Z")
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_REQUIRED = ("access_token", "device_id", "private_key")


@dataclass(frozen=True)
class Credentials:
    """A registered device: `access_token` speaks to the API, `private_key` to the tunnel.

    `client_id` is Cloudflare's base64 of the reserved bytes; wgcf does not keep it.
    """

    device_id: str
    access_token: str = field(repr=False)
    private_key: str = field(repr=False)
    license_key: str | None = field(default=None, repr=False)
    client_id: str | None = None


def is_token(text: str) -> bool:
    """Whether `text` may go into a header and into the account file as it is."""
    return _TOKEN.match(text) is not None


def is_device_id(text: str) -> bool:
    """Whether `text` may go into the path of a request as it is."""
    return _DEVICE_ID.match(text) is not None


def render_credentials(credentials: Credentials) -> str:
    """The account file: flat TOML, sorted, literal strings. Keep it private (0600)."""
    values = {
        "access_token": credentials.access_token,
        "client_id": credentials.client_id,
        "device_id": credentials.device_id,
        "license_key": credentials.license_key,
        "private_key": credentials.private_key,
    }
    return "".join(f"{key} = '{value}'\n" for key, value in values.items() if value is not None)


def parse_credentials_untrusted(text: str) -> Credentials:
    """Read an account file. Raises ProfileError, which quotes no values."""
    document = _document(text)
    problems = [f"{key} is missing" for key in _REQUIRED if not document.get(key)]
    problems += [
        f"{key} is not {expected}"
        for key, (is_valid, expected) in _CHECKS.items()
        if document.get(key) and not is_valid(document[key])
    ]
    if problems:
        raise ProfileError(_SUBJECT, tuple(problems))
    return Credentials(
        device_id=document["device_id"],
        access_token=document["access_token"],
        private_key=document["private_key"],
        license_key=document.get("license_key") or None,
        client_id=document.get("client_id") or None,
    )


def _document(text: str) -> dict[str, str]:
    if len(text) > TEXT_LIMIT_CHARS:
        raise ProfileError(_SUBJECT, (f"over {TEXT_LIMIT_CHARS} characters",))
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ProfileError(_SUBJECT, ("it is not TOML",)) from error
    known = {key: document[key] for key in _CHECKS if key in document}
    problems = tuple(
        f"{key} is not a string" for key, value in known.items() if not isinstance(value, str)
    )
    if problems:
        raise ProfileError(_SUBJECT, problems)
    return known


def _is_key(text: str) -> bool:
    try:
        decode_key(text)
    except ValueError:
        return False
    return True


_CHECKS = {
    "access_token": (is_token, "an access token"),
    "client_id": (is_token, "base64"),
    "device_id": (is_device_id, "a device id"),
    "license_key": (is_token, "a licence key"),
    "private_key": (_is_key, "32 bytes in base64"),
}
