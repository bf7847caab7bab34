"""What the lab's WARP API keeps: devices, the accounts that they belong to, and their documents.

The fields are those that the clients of the service insist on (wgcf 2.2.29 refuses an answer that
lacks one of its schema), with values of the kind that the service gives.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Addresses = tuple[IPv4Address, IPv6Address]
Json = dict[str, Any]

_KEY_BYTES: Final = 32
_OTHER_PORTS: Final = (500, 1701, 4500)


def _now() -> str:
    """RFC 3339, as the service writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class AccountRefusedError(PrivacyRouterError):
    """The service refuses: an HTTP status, and the code of its error."""

    def __init__(self, status: int, code: int) -> None:
        super().__init__(f"{status}, code {code}")
        self.status = status
        self.code = code


@dataclass(frozen=True)
class TunnelOffer:
    """What a registered device is told about the WireGuard peer; `client_id` are three bytes."""

    peer_public_key: str
    v4: IPv4Address
    v6: IPv6Address
    port: int = 2408
    host: str = "engage.cloudflareclient.com"
    client_id: bytes = b"\x55\x85\xfb"


@dataclass
class _Account:
    license_key: str = field(repr=False)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=_now)
    updated: str = field(default_factory=_now)


@dataclass
class _Device:
    token: str = field(repr=False)
    key: str
    addresses: Addresses
    account: _Account
    asked: Json
    name: str | None = None
    active: bool = True
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=_now)
    updated: str = field(default_factory=_now)


class Accounts:
    """All that are registered; `on_register` adds a public key to the WireGuard peer and gives its
    addresses. Each request of a device is a method that returns the answer's document.

    Every method raises AccountRefusedError.
    """

    def __init__(self, offer: TunnelOffer, on_register: Callable[[str], Addresses]) -> None:
        self._offer = offer
        self._on_register = on_register
        self._devices: dict[str, _Device] = {}

    @property
    def device_keys(self) -> dict[str, str]:
        """The WireGuard public keys of the registered devices by device id."""
        return {device.id: device.key for device in self._devices.values()}

    # --- devices ---------------------------------------------------------------------------------

    def register(self, content: Json) -> Json:
        """A new device, on an account of its own, with the token that is never shown again."""
        key = content.get("key")
        if not _is_key(key) or not isinstance(content.get("tos"), str):
            raise AccountRefusedError(400, 1001 if not _is_key(key) else 1000)
        device = _Device(
            token=str(uuid.uuid4()),
            key=str(key),
            addresses=self._on_register(str(key)),
            account=_Account(_new_license()),
            asked=content,
        )
        self._devices[device.id] = device
        return {**self._describe(device), "token": device.token}

    def require_token(self, device_id: str, authorization: str) -> None:
        """Refuse a device that is not known, and one that does not show its token."""
        token = self._device(device_id).token
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise AccountRefusedError(401, 1000)

    def device(self, device_id: str) -> Json:
        """The device."""
        return self._describe(self._device(device_id))

    def change(self, device_id: str, content: Json) -> Json:
        """Another WireGuard key."""
        device = self._device(device_id)
        key = content.get("key", device.key)
        if not _is_key(key):
            raise AccountRefusedError(400, 1001)
        if key != device.key:
            device.key, device.addresses = key, self._on_register(key)
        device.updated = _now()
        return self._describe(device)

    def delete(self, device_id: str) -> None:
        """Remove the device for good."""
        del self._devices[self._device(device_id).id]

    # --- accounts --------------------------------------------------------------------------------

    def account(self, device_id: str) -> Json:
        """The account of the device."""
        return _describe_account(self._device(device_id).account)

    def bind(self, device_id: str, content: Json) -> Json:
        """Move the device to the account of a licence key; the answer is a part of that account."""
        license_key = content.get("license")
        if not isinstance(license_key, str) or not license_key:
            raise AccountRefusedError(400, 1002)
        device = self._device(device_id)
        known = (each.account for each in self._devices.values())
        found = (account for account in known if account.license_key == license_key)
        device.account = next(found, None) or _Account(license_key)
        left_out = ("account_type", "license", "usage")
        document = _describe_account(device.account)
        return {key: value for key, value in document.items() if key not in left_out}

    def reset_license(self, device_id: str) -> Json:
        """Give the account another licence key."""
        account = self._device(device_id).account
        account.license_key, account.updated = _new_license(), _now()
        return {"license": account.license_key}

    def bound_devices(self, device_id: str) -> list[Json]:
        """The devices of the device's account."""
        return [_describe_bound(device) for device in self._bound_to(device_id)]

    def change_bound(self, device_id: str, other_id: str, content: Json) -> list[Json]:
        """Give a device of the same account another name, or (de)activate it."""
        other = self._bound(device_id, other_id)
        name, active = content.get("name", other.name), content.get("active", other.active)
        if not isinstance(name, str | None) or not isinstance(active, bool):
            raise AccountRefusedError(400, 1000)
        other.name, other.active = name, active
        return self.bound_devices(device_id)

    def delete_bound(self, device_id: str, other_id: str) -> None:
        """Remove a device of the same account."""
        del self._devices[self._bound(device_id, other_id).id]

    def _device(self, device_id: str) -> _Device:
        if device_id not in self._devices:
            raise AccountRefusedError(404, 1000)
        return self._devices[device_id]

    def _bound_to(self, device_id: str) -> Iterator[_Device]:
        account = self._device(device_id).account
        return (device for device in self._devices.values() if device.account is account)

    def _bound(self, device_id: str, other_id: str) -> _Device:
        for device in self._bound_to(device_id):
            if device.id == other_id:
                return device
        raise AccountRefusedError(404, 1000)

    # --- documents -------------------------------------------------------------------------------

    def _describe(self, device: _Device) -> Json:
        asked = device.asked
        return {
            "id": device.id,
            "type": _text(asked, "type", "a"),
            "model": _text(asked, "model", ""),
            "name": device.name or "",
            "key": device.key,
            "account": _describe_account(device.account),
            "config": self._describe_tunnel(device),
            "warp_enabled": True,
            "waitlist_enabled": False,
            "created": device.created,
            "updated": device.updated,
            "tos": asked["tos"],
            "place": 0,
            "locale": _text(asked, "locale", "en_US"),
            "enabled": True,
            "install_id": _text(asked, "install_id", ""),
            "fcm_token": _text(asked, "fcm_token", ""),
            "tunnel_type": "wireguard",
        }

    def _describe_tunnel(self, device: _Device) -> Json:
        offer = self._offer
        endpoint = {
            "v4": f"{offer.v4}:0",
            "v6": f"[{offer.v6}]:0",
            "host": f"{offer.host}:{offer.port}",
            "ports": [offer.port, *_OTHER_PORTS],
        }
        v4, v6 = device.addresses
        return {
            "client_id": base64.b64encode(offer.client_id).decode(),
            "peers": [{"public_key": offer.peer_public_key, "endpoint": endpoint}],
            "interface": {"addresses": {"v4": str(v4), "v6": str(v6)}},
            "services": {"http_proxy": f"{device.addresses[0]}:2480"},
        }


def _describe_account(account: _Account) -> Json:
    return {
        "id": account.id,
        "account_type": "free",
        "created": account.created,
        "updated": account.updated,
        "premium_data": 0,
        "quota": 0,
        "usage": 0,
        "warp_plus": True,
        "referral_count": 0,
        "referral_renewal_countdown": 0,
        "role": "child",
        "license": account.license_key,
    }


def _describe_bound(device: _Device) -> Json:
    """A device in the list of its account; one without a name has no such field."""
    document = {
        "id": device.id,
        "type": _text(device.asked, "type", "a"),
        "model": _text(device.asked, "model", ""),
        "created": device.created,
        "activated": device.created,
        "active": device.active,
        "role": "child",
    }
    return document if device.name is None else {**document, "name": device.name}


def _text(content: Json, key: str, default: str) -> str:
    value = content.get(key, default)
    return value if isinstance(value, str) else default


def _new_license() -> str:
    return "-".join(secrets.token_hex(4) for _ in range(3)).upper()


def _is_key(value: object) -> bool:
    try:
        return isinstance(value, str) and len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except ValueError:
        return False
