"""WireGuard's cross-platform configuration protocol, as text (pure).

Source: wireguard.com/xplatform. Keys are base64 in this program and hexadecimal on the wire.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from privacy_router.errors import MachineError

if TYPE_CHECKING:
    from privacy_router.values.wireguard import Endpoint, WireGuardConfig, WireGuardPeer

_KEY_BYTES = 32
_LAST_PORT = 65535
NO_KEY = base64.b64encode(bytes(_KEY_BYTES)).decode()
"""What the protocol writes for "no pre-shared key"."""


class UapiError(MachineError):
    """The WireGuard process does not answer in time, sent something that is not its protocol, or
    refused a request."""


@dataclass(frozen=True)
class PeerStatus:
    """A peer as the device sees it; `last_handshake` in seconds since the epoch, 0 for never.

    The pre-shared key is read for comparison only and never shown.
    """

    public_key: str
    endpoint: Endpoint | None
    allowed_ips: frozenset[IPv4Network | IPv6Network]
    keepalive_s: int
    last_handshake: float
    rx_bytes: int
    tx_bytes: int
    preshared_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DeviceStatus:
    """A device as it is; its private key is read for comparison only and never shown."""

    private_key: str = field(repr=False)
    listen_port: int
    peers: tuple[PeerStatus, ...]
    firewall_mark: int = 0

    def peer(self, public_key: str) -> PeerStatus | None:
        """The peer of that key."""
        return next((peer for peer in self.peers if peer.public_key == public_key), None)


def encode_set(config: WireGuardConfig) -> bytes:
    """The request that makes a device's whole configuration be `config`."""
    lines = [
        "set=1",
        f"private_key={_to_hex(config.private_key)}",
        f"listen_port={config.listen_port}",
        f"fwmark={config.firewall_mark}",
        "replace_peers=true",
    ]
    for peer in config.peers:
        lines += _peer_lines(peer)
    return ("\n".join(lines) + "\n\n").encode()


def _peer_lines(peer: WireGuardPeer) -> list[str]:
    lines = [
        f"public_key={_to_hex(peer.public_key)}",
        f"preshared_key={_to_hex(peer.preshared_key or NO_KEY)}",
    ]
    if peer.endpoint is not None:
        lines.append(f"endpoint={format_endpoint(peer.endpoint)}")
    lines += [
        f"persistent_keepalive_interval={peer.keepalive_s}",
        "replace_allowed_ips=true",
        *(f"allowed_ip={network}" for network in peer.allowed_ips),
    ]
    return lines


def encode_update_peer(peer: WireGuardPeer) -> bytes:
    """The request that adds or changes one peer and leaves the others as they are."""
    return ("\n".join(["set=1", *_peer_lines(peer)]) + "\n\n").encode()


def encode_set_mark(mark: int) -> bytes:
    """The request that changes the mark on the device's packets and nothing else."""
    return f"set=1\nfwmark={mark}\n\n".encode()


def encode_remove_peer(public_key: str) -> bytes:
    """The request that takes one peer away."""
    return f"set=1\npublic_key={_to_hex(public_key)}\nremove=true\n\n".encode()


def encode_get() -> bytes:
    """The request for a device's status."""
    return b"get=1\n\n"


def decode_untrusted(answer: bytes) -> DeviceStatus:
    """Read the answer to `encode_get` (or to a set, which has no fields). Raises UapiError."""
    try:
        return _decode(answer.decode())
    except (ValueError, KeyError, binascii.Error) as error:
        raise UapiError(
            f"unreadable answer of a WireGuard device: {type(error).__name__}"
        ) from None


def _decode(text: str) -> DeviceStatus:
    device: dict[str, str] = {}
    peers: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if not line:
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise ValueError("no '=' in a line")
        if key == "public_key":
            peers.append([(key, value)])
        elif key == "errno":
            if int(value) != 0:
                raise UapiError(f"the WireGuard device refused the request (errno {int(value)})")
        elif peers:
            peers[-1].append((key, value))
        else:
            device[key] = value
    return DeviceStatus(
        private_key=_to_base64(device["private_key"]) if "private_key" in device else "",
        listen_port=int(device.get("listen_port", "0")),
        peers=tuple(_decode_peer(fields) for fields in peers),
        firewall_mark=int(device.get("fwmark", "0")),
    )


def _decode_peer(fields: list[tuple[str, str]]) -> PeerStatus:
    single = dict(fields)
    seconds = int(single.get("last_handshake_time_sec", "0"))
    nanoseconds = int(single.get("last_handshake_time_nsec", "0"))
    return PeerStatus(
        public_key=_to_base64(single["public_key"]),
        endpoint=parse_endpoint(single["endpoint"]) if "endpoint" in single else None,
        allowed_ips=frozenset(ip_network(value) for key, value in fields if key == "allowed_ip"),
        keepalive_s=int(single.get("persistent_keepalive_interval", "0")),
        last_handshake=seconds + nanoseconds / 1e9,
        rx_bytes=int(single.get("rx_bytes", "0")),
        tx_bytes=int(single.get("tx_bytes", "0")),
        preshared_key=known_key(_to_base64(single.get("preshared_key", ""))),
    )


def known_key(key: str) -> str | None:
    """A pre-shared key as it was read; the one of zeros, and an empty one, are none."""
    return None if key in ("", NO_KEY) else key


def format_endpoint(endpoint: Endpoint) -> str:
    """An endpoint as WireGuard writes it: `192.0.2.1:51820`, `[2001:db8::1]:51820`."""
    address, port = endpoint
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def parse_endpoint(text: str) -> Endpoint:
    """The opposite of `format_endpoint`. Raises ValueError."""
    host, _, digits = text.rpartition(":")
    port = int(digits)
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"{port} is no port")
    return ip_address(host.strip("[]")), port


def _to_hex(key: str) -> str:
    raw = base64.b64decode(key, validate=True)
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"a WireGuard key has {_KEY_BYTES} bytes, this one has {len(raw)}")
    return raw.hex()


def _to_base64(key: str) -> str:
    return base64.b64encode(bytes.fromhex(key)).decode()
