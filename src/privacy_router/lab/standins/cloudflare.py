"""The lab's Cloudflare: WARP's WireGuard peer, its account API and its trace page.

python -m privacy_router.lab.standins.cloudflare CERTIFICATE_FILE READY_FILE
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.lab import internet
from privacy_router.lab.standins.warp_accounts import Addresses, TunnelOffer
from privacy_router.lab.standins.warp_api import WarpApiStandIn
from privacy_router.lab.tunnel import Tunnel
from privacy_router.values.wireguard import (
    WireGuardConfig,
    WireGuardPeer,
    generate_private_key,
    public_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = "warp"
_MTU_BYTES = 1420  # the other end decides; its 1280 always fit
_FIRST_NUMBER = 2


class _Devices:
    """Gives each public key its addresses inside the tunnel, and lets it in."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._keys: list[str] = []

    def register(self, public_key: str) -> Addresses:
        """The addresses of a key; the same again for one that came before."""
        if public_key not in self._keys:
            self._keys.append(public_key)
        number = self._keys.index(public_key) + _FIRST_NUMBER
        inside4, inside6 = internet.WARP_INSIDE
        v4, v6 = inside4.network_address + number, inside6.network_address + number
        allowed = (IPv4Network(v4), IPv6Network(v6))
        self._tunnel.update_peer(WireGuardPeer(public_key=public_key, allowed_ips=allowed))
        return v4, v6


def main(certificate: Path, ready: Path) -> None:
    """Bring the tunnel's end up, then serve until SIGTERM."""
    key = generate_private_key()
    tunnel = Tunnel(DEVICE)
    tunnel.start()
    inside4, inside6 = internet.WARP_INSIDE
    gateways = (
        IPv4Interface((int(inside4.network_address) + 1, inside4.prefixlen)),
        IPv6Interface((int(inside6.network_address) + 1, inside6.prefixlen)),
    )
    config = WireGuardConfig(private_key=key, peers=(), listen_port=internet.WARP_PORT)
    tunnel.configure(config, gateways, _MTU_BYTES)
    v4, v6 = internet.WARP_ENDPOINT
    offer = TunnelOffer(
        public_key_of(key), v4, v6, port=internet.WARP_PORT, host=internet.ENDPOINT_NAME
    )
    egress = [ip_network(address) for address in internet.WARP_EGRESS]
    api = WarpApiStandIn(offer, egress, _Devices(tunnel).register)
    asyncio.run(_serve(api, certificate, ready.touch))


async def _serve(api: WarpApiStandIn, certificate: Path, on_ready: Callable[[], None]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["http/1.1"])
    await api.listen(internet.WARP_API, 443, tls)
    await api.listen(internet.WARP_API, 80)
    on_ready()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
