"""The client's phone: brings up the configuration that `client add` gave out, as an app would.

python -m privacy_router.lab.device CONFIGURATION_FILE
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import InvalidError
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard_uapi import parse_endpoint
from privacy_router.lab import internet
from privacy_router.lab.tunnel import Tunnel
from privacy_router.values.network import Route
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

if TYPE_CHECKING:
    from privacy_router.values.network import Address, Interface

DEVICE = "wg0"
_RESOLVER_FILE = Path("/etc/resolv.conf")


class ConfigurationError(InvalidError):
    """The text is not a WireGuard configuration with one peer; see wg-quick(8)."""


@dataclass(frozen=True)
class DeviceConfiguration:
    """A client's configuration, read."""

    wireguard: WireGuardConfig
    interfaces: tuple[Interface, ...]
    dns: tuple[Address, ...]
    mtu_bytes: int
    endpoint: Address


def parse_untrusted(text: str) -> DeviceConfiguration:
    """Read a configuration file of one peer. Raises ConfigurationError."""
    try:
        return _read(_fields(text))
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"unreadable WireGuard configuration: {error}") from None


def _fields(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        key, separator, value = line.partition("#")[0].partition("=")
        if separator:
            found[key.strip().lower()] = value.strip()
    return found


def _read(fields: dict[str, str]) -> DeviceConfiguration:
    endpoint = parse_endpoint(fields["endpoint"])
    peer = WireGuardPeer(
        public_key=fields["publickey"],
        preshared_key=fields.get("presharedkey"),
        allowed_ips=tuple(ip_network(item) for item in _items(fields["allowedips"])),
        endpoint=endpoint,
        keepalive_s=int(fields.get("persistentkeepalive", "0")),
    )
    return DeviceConfiguration(
        wireguard=WireGuardConfig(private_key=fields["privatekey"], peers=(peer,)),
        interfaces=tuple(ip_interface(item) for item in _items(fields["address"])),
        dns=tuple(ip_address(item) for item in _items(fields.get("dns", ""))),
        mtu_bytes=int(fields.get("mtu", "1420")),
        endpoint=endpoint[0],
    )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def connect(configuration: DeviceConfiguration) -> None:
    """Bring the tunnel up: everything but its own packets goes into it, DNS too."""
    tunnel = Tunnel(DEVICE)
    tunnel.start()
    tunnel.configure(configuration.wireguard, configuration.interfaces, configuration.mtu_bytes)
    cable = internet.cable("client", "isp")
    endpoint = configuration.endpoint
    with Netlink() as netlink:
        gateway = cable.address("isp", endpoint.version)
        netlink.replace_route(Route(ip_network(endpoint), gateway, cable.device("client")))
        for peer in configuration.wireguard.peers:
            for network in peer.allowed_ips:
                netlink.replace_route(Route(network, None, DEVICE))
    lines = [f"nameserver {server}\n" for server in configuration.dns]
    _RESOLVER_FILE.write_text("".join(lines) + "options timeout:2 attempts:2\n")


if __name__ == "__main__":
    connect(parse_untrusted(Path(sys.argv[1]).read_text()))
