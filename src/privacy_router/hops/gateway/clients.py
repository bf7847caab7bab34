"""The gateway hop's clients: who they are, and the configuration that a device is given (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True)
class Client:
    """A client device. Its private key is not here: the node forgets it once it was shown."""

    name: str
    public_key: str
    preshared_key: str = field(repr=False)
    number: int
    v4: IPv4Address
    v6: IPv6Address
    created: str


def device_config(private_key: str, listen_port: int, clients: Iterable[Client]) -> WireGuardConfig:
    """The gateway's device: each client may use its own two addresses and no other."""
    return WireGuardConfig(
        private_key=private_key,
        listen_port=listen_port,
        peers=tuple(
            WireGuardPeer(
                public_key=client.public_key,
                preshared_key=client.preshared_key,
                allowed_ips=(IPv4Network(client.v4), IPv6Network(client.v6)),
            )
            for client in clients
        ),
    )


@dataclass(frozen=True)
class ClientSettings:
    """What a client is told of the node."""

    gateway_public_key: str
    endpoint: str
    dns: tuple[str, ...]
    mtu_bytes: int


def render_client(client: Client, private_key: str, settings: ClientSettings) -> str:
    """The file that a WireGuard app imports; see wg-quick(8). All traffic goes into the tunnel."""
    return "\n".join(
        [
            "[Interface]",
            f"PrivateKey = {private_key}",
            f"Address = {client.v4}/32, {client.v6}/128",
            f"DNS = {', '.join(settings.dns)}",
            f"MTU = {settings.mtu_bytes}",
            "",
            "[Peer]",
            f"PublicKey = {settings.gateway_public_key}",
            f"PresharedKey = {client.preshared_key}",
            "AllowedIPs = 0.0.0.0/0, ::/0",
            f"Endpoint = {settings.endpoint}",
            "PersistentKeepalive = 25",
            "",
        ]
    )
