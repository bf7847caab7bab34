"""WireGuard: what a device is told, and its keys (base64)."""

from __future__ import annotations

import base64
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
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy_router.values import programs

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
