"""The documents of Cloudflare's WARP account API (pure).

The API is undocumented; the shapes are those that its clients rely on. Only fields that are used
are required, and a `result` envelope is taken off where there is one.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.errors import RemoteServiceError
from privacy_router.hops.warp.credentials import Credentials, is_device_id, is_token
from privacy_router.hops.warp.profile import Reserved, WarpProfile, decode_key, decode_reserved

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

DEFAULT_PORT = 2408
TERMS_URL = "https://www.cloudflare.com/application/terms/"

Endpoint = tuple[str, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """What a device belongs to; `account_type` is `free`, `limited`, `unlimited` or new to us."""

    id: str | None
    account_type: str | None
    warp_plus: bool
    license_key: str | None = field(repr=False)


@dataclass(frozen=True)
class Device:
    """A registered device with its tunnel.

    `endpoints` are in order of preference: addresses (no DNS needed) first, then the name.
    `token` is shown by the API once, when the device is registered. `client_id` is the base64 of
    the reserved bytes.
    """

    id: str
    token: str | None = field(repr=False)
    account: Account | None
    v4: IPv4Interface | None
    v6: IPv6Interface | None
    peer_public_key: str
    endpoints: tuple[Endpoint, ...]
    client_id: str | None

    @property
    def reserved(self) -> Reserved | None:
        """The reserved bytes that Cloudflare gave to this device."""
        return decode_reserved(self.client_id) if self.client_id else None


def registration_body(public_key: str, tos: datetime, model: str) -> dict[str, str]:
    """The body of POST /reg; `tos` (aware) is when the user accepted Cloudflare's terms."""
    if tos.tzinfo is None:
        raise ValueError("the time of acceptance needs a time zone")
    return {
        "key": public_key,
        "install_id": "",
        "fcm_token": "",
        "tos": tos.isoformat(timespec="milliseconds"),
        "model": model,
        "serial_number": "",
        "os_version": "16.0.0",
        "key_type": "curve25519",
        "tunnel_type": "wireguard",
        "locale": "en_US",
    }


def credentials_of(device: Device, private_key: str) -> Credentials:
    """What to keep of a device that has just been registered; raises ValueError without a token."""
    if device.token is None:
        raise ValueError("only the answer to a registration holds the token")
    return Credentials(
        device_id=device.id,
        access_token=device.token,
        private_key=private_key,
        license_key=device.account.license_key if device.account else None,
        client_id=device.client_id,
    )


def profile_of(
    device: Device, private_key: str, *, endpoint: Endpoint | None = None, reserve: bool = False
) -> WarpProfile:
    """The tunnel of a device, to the endpoint that is preferred or given.

    `reserve` puts the reserved bytes in; most of Cloudflare's sites take zeros as well.
    """
    host, port = endpoint or device.endpoints[0]
    return WarpProfile(
        private_key=private_key,
        v4=device.v4,
        v6=device.v6,
        peer_public_key=device.peer_public_key,
        endpoint_host=host,
        endpoint_port=port,
        reserved=device.reserved if reserve else None,
    )


def decode_device_untrusted(body: bytes) -> Device:
    """A Device. Raises RemoteServiceError, which quotes nothing of the answer."""
    document = _Part(_result(body), "")
    config = document.part("config")
    interface = config.part("interface").part("addresses")
    peer = config.first("peers")
    account = document.optional("account", _part)
    device = Device(
        id=document.required("id", _device_id),
        token=document.optional("token", _token),
        account=_account(account) if account else None,
        v4=interface.optional("v4", _v4),
        v6=interface.optional("v6", _v6),
        peer_public_key=peer.required("public_key", _public_key),
        endpoints=_endpoints(peer.part("endpoint")),
        client_id=config.optional("client_id", _client_id),
    )
    if device.v4 is None and device.v6 is None:
        raise _unusable("config.interface.addresses")
    return device


def decode_account_untrusted(body: bytes) -> Account:
    """An Account, whole or a part of one. Raises RemoteServiceError."""
    return _account(_Part(_result(body), ""))


def decode_problems_untrusted(body: bytes) -> tuple[int, ...]:
    """The codes in an error's envelope; empty when the answer is something else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ()
    found = [entry.get("code") for entry in errors if isinstance(entry, dict)]
    return tuple(code for code in found if isinstance(code, int))


class _Part:
    """A JSON object, and where in the answer it stands."""

    def __init__(self, content: object, path: str) -> None:
        if not isinstance(content, dict):
            raise _unusable(path.rstrip(".") or "the answer")
        self._content: dict[str, Any] = content
        self._path = path

    def part(self, key: str) -> _Part:
        return _Part(self._content.get(key), f"{self._path}{key}.")

    def first(self, key: str) -> _Part:
        entries = self._content.get(key)
        if not isinstance(entries, list) or not entries:
            raise _unusable(f"{self._path}{key}")
        return _Part(entries[0], f"{self._path}{key}[0].")

    def required(self, key: str, parse: Callable[[Any], T]) -> T:
        value = self.optional(key, parse)
        if value is None:
            raise _unusable(f"{self._path}{key}")
        return value

    def optional(self, key: str, parse: Callable[[Any], T]) -> T | None:
        value = self._content.get(key)
        if value in (None, ""):
            return None
        try:
            return parse(value)
        except (ValueError, TypeError) as error:
            raise _unusable(f"{self._path}{key}") from error


def _part(value: object) -> _Part:
    return _Part(value, "account.")


def _account(part: _Part) -> Account:
    return Account(
        id=part.optional("id", _text),
        account_type=part.optional("account_type", _text),
        warp_plus=part.optional("warp_plus", bool) or False,
        license_key=part.optional("license", _token),
    )


def _endpoints(part: _Part) -> tuple[Endpoint, ...]:
    """Addresses first, then the name; a port of 0 in an address means that it is told elsewhere."""
    name = part.optional("host", _host_port)
    ports = part.optional("ports", _ports) or ()
    port = (name[1] if name else 0) or next(iter(ports), DEFAULT_PORT)
    addresses = (part.optional("v4", _address), part.optional("v6", _address))
    found = [(str(address), port) for address in addresses if address is not None]
    if name:
        found.append((name[0], name[1] or port))
    if not found:
        raise _unusable("config.peers[0].endpoint")
    return tuple(dict.fromkeys(found))


def _v4(value: Any) -> IPv4Interface:
    return IPv4Interface(_text(value))


def _v6(value: Any) -> IPv6Interface:
    return IPv6Interface(_text(value))


def _host_port(value: Any) -> Endpoint:
    text = _text(value)
    host, colon, port = text.rpartition(":")
    if not colon or ("]" not in host and ":" in host):
        return (_host(text), 0)
    return (_host(host), _port(int(port)))


def _host(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    if not bare or not all(char.isascii() and (char.isalnum() or char in ".-:") for char in bare):
        raise ValueError("not a host")
    return bare


def _address(value: Any) -> IPv4Address | IPv6Address:
    text = _text(value)
    bare = text.partition("]")[0].removeprefix("[") if "[" in text else text
    if "." in bare:
        bare = bare.partition(":")[0]
    return ip_address(bare)


def _ports(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(_port(entry) for entry in value if entry)


def _port(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError("not a port")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1024:
        raise ValueError("not a short text")
    return value


def _token(value: Any) -> str:
    text = _text(value)
    if not is_token(text):
        raise ValueError("not a token")
    return text


def _device_id(value: Any) -> str:
    text = _text(value)
    if not is_device_id(text):
        raise ValueError("not an id")
    return text


def _public_key(value: Any) -> str:
    decode_key(_text(value))
    return str(value)


def _client_id(value: Any) -> str:
    raw = bytes(decode_reserved(_text(value)))
    return base64.b64encode(raw).decode()


def _result(body: bytes) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unusable("the answer") from error
    enveloped = isinstance(document, dict) and isinstance(document.get("result"), dict)
    return document["result"] if enveloped else document


def _unusable(path: str) -> RemoteServiceError:
    return RemoteServiceError(
        f"the WARP account service sent an answer that cannot be used: {path}",
        remedy="try again later, or import a wgcf profile (warp.wgcf_config)",
        retryable=True,
    )
