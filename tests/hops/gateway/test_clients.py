"""What a client is told, and what the gateway lets it send."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from privacy_router.hops.gateway.clients import Client, ClientSettings, device_config, render_client
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

PHONE = Client(
    *("phone", "cGhvbmU=", "c2hhcmVk", 2),
    *(IPv4Address("10.101.0.2"), IPv6Address("fd70::2"), "2026-01-01"),
)
FILE = """[Interface]
PrivateKey = cHJpdmF0ZQ==
Address = 10.101.0.2/32, fd70::2/128
DNS = 1.1.1.1, 2606:4700:4700::1111
MTU = 1200

[Peer]
PublicKey = Z2F0ZXdheQ==
PresharedKey = c2hhcmVk
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = node.example:51820
PersistentKeepalive = 25
"""


def test_the_file_of_a_client() -> None:
    settings = ClientSettings(
        "Z2F0ZXdheQ==", "node.example:51820", ("1.1.1.1", "2606:4700:4700::1111"), 1200
    )
    assert render_client(PHONE, "cHJpdmF0ZQ==", settings) == FILE


def test_a_client_has_its_own_two_addresses_and_no_others() -> None:
    allowed = (IPv4Network("10.101.0.2/32"), IPv6Network("fd70::2/128"))
    peer = WireGuardPeer("cGhvbmU=", preshared_key="c2hhcmVk", allowed_ips=allowed)
    wanted = WireGuardConfig("cHJpdmF0ZQ==", listen_port=51820, peers=(peer,))
    assert device_config("cHJpdmF0ZQ==", 51820, (PHONE,)) == wanted
