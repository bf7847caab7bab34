"""The secrets that both ends of the XRay hop share, and their one state file (pure)."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import uuid
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy_router.errors import StorageError

FORMAT_VERSION = 1
SHORT_ID_BYTES = 8
_KEY_BYTES = 32
_SHORT_ID = re.compile(rf"[0-9a-f]{{{2 * SHORT_ID_BYTES}}}\Z")
_REMEDY = (
    "restore the file from a backup; or delete it, start again, and give the VPS the new "
    "configuration (privacy-router vps export)"
)


@dataclass(frozen=True)
class XrayIdentity:
    """Who the client is (VLESS), and how both ends know each other (REALITY).

    Keys are X25519, base64url without padding, as XRay writes them; `uuid` is the VLESS user and
    `short_id` 8 bytes in lower-case hexadecimal. `uuid` and `short_id` are secrets as well: who has
    them and the public key can use the server.
    """

    uuid: str = field(repr=False)
    reality_private_key: str = field(repr=False)
    reality_public_key: str
    short_id: str = field(repr=False)

    @classmethod
    def generate(cls) -> XrayIdentity:
        """A new identity from the system's random source."""
        key = X25519PrivateKey.generate()
        return cls(
            uuid=str(uuid.uuid4()),
            reality_private_key=_encode(key.private_bytes_raw()),
            reality_public_key=_encode(key.public_key().public_bytes_raw()),
            short_id=secrets.token_hex(SHORT_ID_BYTES),
        )

    def to_json(self) -> str:
        """The content of the state file; it holds secrets, so the file must be private (0600)."""
        document = {
            "version": FORMAT_VERSION,
            "uuid": self.uuid,
            "reality_private_key": self.reality_private_key,
            "reality_public_key": self.reality_public_key,
            "short_id": self.short_id,
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json_untrusted(cls, text: str) -> XrayIdentity:
        """Read what `to_json` wrote. Raises StorageError, which never quotes the content."""
        document = _object(text)
        private = _decode(document.get("reality_private_key"), "reality_private_key")
        public = _encode(
            X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        )
        if document.get("reality_public_key") != public:
            raise _broken("reality_public_key does not belong to reality_private_key")
        return cls(
            uuid=_uuid(document.get("uuid")),
            reality_private_key=_encode(private),
            reality_public_key=public,
            short_id=_short_id(document.get("short_id")),
        )


def _object(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken("it is not JSON") from error
    if not isinstance(document, dict):
        raise _broken("it is not a JSON object")
    if document.get("version") != FORMAT_VERSION:
        raise _broken(f"its version is not {FORMAT_VERSION}")
    return document


def _uuid(value: object) -> str:
    try:
        found = uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        raise _broken("uuid is not a UUID")
    return str(found)


def _short_id(value: object) -> str:
    if not isinstance(value, str) or not _SHORT_ID.match(value):
        raise _broken(f"short_id is not {SHORT_ID_BYTES} bytes in hexadecimal")
    return value


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(value: object, name: str) -> bytes:
    try:
        raw = base64.b64decode(f"{value}=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if not isinstance(value, str) or len(raw) != _KEY_BYTES:
        raise _broken(f"{name} is not {_KEY_BYTES} bytes in base64url")
    return raw


def _broken(why: str) -> StorageError:
    return StorageError(f"the file with the XRay identity is damaged: {why}", remedy=_REMEDY)
