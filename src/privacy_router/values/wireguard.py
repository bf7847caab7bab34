"""WireGuard: what a device is told, its keys (base64), and both as items."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy_router.values import programs
from privacy_router.values.items import ItemValue, Key, Kind, Plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.values.network import Network

_TAG_KEY: Final = secrets.token_bytes(16)
_TAG_BYTES: Final = 16

PROGRAM: Final = "wireguard-go"
UAPI_DIR = Path("/var/run/wireguard")
"""Where a WireGuard process in userspace has the socket of its device."""
Endpoint = tuple[IPv4Address | IPv6Address, int]


def wireguard_go(device: str, *, is_called: bool) -> tuple[str, ...]:
    """The arguments that start the process of a device in userspace.

    `is_called`: peers call it, and it has to answer from that address of the machine at which they
    did; see host/wireguard_runner.py.
    """
    if is_called:
        return programs.command("privacy_router.host.wireguard_runner", device)
    return (PROGRAM, "--foreground", device)


@dataclass(frozen=True)
class WireGuardPeer:
    """The other end of a tunnel. Keys are base64; `keepalive_s` 0 means off."""

    public_key: str
    allowed_ips: tuple[IPv4Network | IPv6Network, ...]
    endpoint: Endpoint | None = None
    preshared_key: str | None = field(default=None, repr=False)
    keepalive_s: int = 0


@dataclass(frozen=True)
class WireGuardConfig:
    """What a device is told; `listen_port` 0 lets the kernel choose, `firewall_mark` 0 is none.

    The mark is on every packet that the device's UDP sockets send.
    """

    private_key: str = field(repr=False)
    peers: tuple[WireGuardPeer, ...]
    listen_port: int = 0
    firewall_mark: int = 0


@dataclass(frozen=True)
class WarpTunnel:
    """A WARP account's tunnel, its endpoint already an address (so that no restart needs DNS).

    `mtu_bytes` and `keepalive_s` are the profile's; None where it leaves them to the configuration.
    """

    private_key: str = field(repr=False)
    peer_public_key: str
    endpoint: Endpoint
    v4: IPv4Interface | None
    v6: IPv6Interface | None
    mtu_bytes: int | None = None
    keepalive_s: int | None = None
    preshared_key: str | None = field(default=None, repr=False)

    @property
    def ends(self) -> tuple[str, str]:
        """The keys of both ends, by which a tunnel is that tunnel, wherever its peer is."""
        return self.private_key, self.peer_public_key


def generate_private_key() -> str:
    """A new private key, base64."""
    return base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key_of(private_key: str) -> str:
    """The public half of a base64 private key."""
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


# --- as items -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TunnelKey(Key, kind=Kind.TUNNEL):
    """A WireGuard device by its name, for its keys and peers. Value: `TunnelState`; of one that
    does not answer `SilentTunnel`."""

    device: str

    @property
    def name(self) -> str:
        """The device's."""
        return self.device


@dataclass(frozen=True)
class SecretTag:
    """Tells two secrets apart and reveals neither; means nothing in another process."""

    tag: str

    @classmethod
    def of(cls, secret: str | None) -> SecretTag:
        """The tag of a secret; None is one too, that of none at all."""
        if secret is None:
            return cls("none")
        return cls(
            hashlib.blake2s(secret.encode(), key=_TAG_KEY, digest_size=_TAG_BYTES).hexdigest()
        )


@dataclass(frozen=True)
class PeerState:
    """What of a WireGuard peer is compared: not the counters.

    `endpoint` None: the peer may be anywhere, and move (WireGuard's "roaming").
    """

    allowed_ips: frozenset[Network]
    keepalive_s: int
    preshared_key: SecretTag
    endpoint: Endpoint | None = None


class TunnelValue(ItemValue):
    """What is known of a WireGuard device."""

    __slots__ = ()


@dataclass(frozen=True)
class TunnelState(TunnelValue):
    """What of a WireGuard device is compared; the private key by its public half.

    `listen_port` None: the kernel chooses. `firewall_mark` is on what the device's sockets send.
    """

    public_key: str
    listen_port: int | None
    peers: Mapping[str, PeerState]
    firewall_mark: int = 0

    def __str__(self) -> str:
        port = f"port {self.listen_port}, " if self.listen_port else ""
        return f"{port}{len(self.peers)} peer(s)"


@dataclass(frozen=True)
class SilentTunnel(TunnelValue):
    """A device that does not say what it is told; `reason` is for people."""

    reason: str

    def plain(self) -> Plain:
        """The reason."""
        return self.reason

    def __str__(self) -> str:
        return self.reason
