"""The kernel's WireGuard in bytes: what it is told, and what it says (pure); linux/wireguard.h."""

from __future__ import annotations

import struct
import sys
from base64 import b64decode, b64encode
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from privacy_router.host.generic_netlink import HEADER
from privacy_router.host.rtnetlink import decode_attributes, encode_attributes, nested, u32
from privacy_router.host.wireguard_uapi import NO_KEY, DeviceStatus, PeerStatus, known_key
from privacy_router.values.network import FAMILY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.values.network import Network
    from privacy_router.values.wireguard import Endpoint, WireGuardPeer

FAMILY_NAME: Final = "wireguard"
_GET_DEVICE, _SET_DEVICE = 0, 1  # WG_CMD_…
_VERSION: Final = 1
_NAME, _PRIVATE_KEY, _LISTEN_PORT, _MARK, _PEERS = 2, 3, 6, 7, 8  # WGDEVICE_A_…
_KEY, _PRESHARED_KEY, _FLAGS, _ENDPOINT, _KEEPALIVE = 1, 2, 3, 4, 5  # WGPEER_A_…
_HANDSHAKE, _RX_BYTES, _TX_BYTES, _ALLOWED_IPS = 6, 7, 8, 9
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_LENGTH = 1, 2, 3  # WGALLOWEDIP_A_…
_REMOVE, _REPLACE_ALLOWED_IPS = 1, 2  # WGPEER_F_…
_IPV4_ENDPOINT: Final = struct.Struct("!H4s8x")  # sockaddr_in behind its family
_IPV6_ENDPOINT: Final = struct.Struct("!HI16sI")  # sockaddr_in6
_TIME: Final = struct.Struct("=qq")  # struct __kernel_timespec

Attributes = tuple[tuple[int, bytes], ...]


# --- what it is told ------------------------------------------------------------------------------


def get_device(name: str) -> bytes:
    """The question for all of a device."""
    return _content(_GET_DEVICE, ((_NAME, _text(name)),))


def set_device(
    name: str,
    *,
    private_key: str | None = None,
    listen_port: int | None = None,
    mark: int | None = None,
) -> bytes:
    """The order to set what is not None. Keys are base64."""
    attributes = [(_NAME, _text(name))]
    if private_key is not None:
        attributes.append((_PRIVATE_KEY, b64decode(private_key)))
    if listen_port is not None:
        attributes.append((_LISTEN_PORT, _u16(listen_port)))
    if mark is not None:
        attributes.append((_MARK, u32(mark)))
    return _content(_SET_DEVICE, tuple(attributes))


def set_peer(name: str, peer: WireGuardPeer) -> bytes:
    """The order to have a peer, with these allowed addresses and no others."""
    attributes = [
        (_KEY, b64decode(peer.public_key)),
        (_PRESHARED_KEY, b64decode(peer.preshared_key or NO_KEY)),
        (_FLAGS, u32(_REPLACE_ALLOWED_IPS)),
        (_KEEPALIVE, _u16(peer.keepalive_s)),
    ]
    if peer.endpoint is not None:
        attributes.append((_ENDPOINT, _endpoint_bytes(peer.endpoint)))
    allowed = (nested(0, *_allowed_bytes(network)) for network in peer.allowed_ips)
    attributes.append(nested(_ALLOWED_IPS, *allowed))
    return _with_peer(name, tuple(attributes))


def remove_peer(name: str, public_key: str) -> bytes:
    """The order to forget a peer."""
    return _with_peer(name, ((_KEY, b64decode(public_key)), (_FLAGS, u32(_REMOVE))))


def _with_peer(name: str, peer: Attributes) -> bytes:
    peers = nested(_PEERS, nested(0, *peer))
    return _content(_SET_DEVICE, ((_NAME, _text(name)), peers))


def _content(command: int, attributes: Attributes) -> bytes:
    return HEADER.pack(command, _VERSION, 0) + encode_attributes(attributes)


def _endpoint_bytes(endpoint: Endpoint) -> bytes:
    address, port = endpoint
    family = _u16(FAMILY[address.version])
    if address.version == 4:
        return family + _IPV4_ENDPOINT.pack(port, address.packed)
    return family + _IPV6_ENDPOINT.pack(port, 0, address.packed, 0)


def _allowed_bytes(network: Network) -> Attributes:
    return (
        (_ALLOWED_FAMILY, _u16(FAMILY[network.version])),
        (_ALLOWED_ADDRESS, network.network_address.packed),
        (_ALLOWED_LENGTH, bytes([network.prefixlen])),
    )


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _u16(value: int) -> bytes:
    return value.to_bytes(2, sys.byteorder)


# --- what it says ---------------------------------------------------------------------------------


def device_status(contents: Iterable[bytes]) -> DeviceStatus:
    """What the answers to `get_device` say. There are several of a long one, cut even within a
    peer's networks; the next one then begins with the same peer's key and the rest of them."""
    answers = [dict(decode_attributes(content[HEADER.size :])) for content in contents]
    peers: dict[str, PeerStatus] = {}
    for answer in answers:
        for _, part in decode_attributes(answer.get(_PEERS, b"")):
            peer = _peer_status(dict(decode_attributes(part)))
            known = peers.get(peer.public_key)
            peers[peer.public_key] = (
                replace(known, allowed_ips=known.allowed_ips | peer.allowed_ips) if known else peer
            )
    first = answers[0]
    return DeviceStatus(
        private_key=_key(first, _PRIVATE_KEY),
        listen_port=_number(first, _LISTEN_PORT),
        peers=tuple(peers.values()),
        firewall_mark=_number(first, _MARK),
    )


def _peer_status(found: Mapping[int, bytes]) -> PeerStatus:
    seconds, nanoseconds = _TIME.unpack(found.get(_HANDSHAKE, bytes(_TIME.size)))
    allowed = decode_attributes(found.get(_ALLOWED_IPS, b""))
    return PeerStatus(
        public_key=_key(found, _KEY),
        endpoint=_endpoint(found.get(_ENDPOINT, b"")),
        allowed_ips=frozenset(_allowed(dict(decode_attributes(one))) for _, one in allowed),
        keepalive_s=_number(found, _KEEPALIVE),
        last_handshake=seconds + nanoseconds / 1e9,
        rx_bytes=_number(found, _RX_BYTES),
        tx_bytes=_number(found, _TX_BYTES),
        preshared_key=known_key(_key(found, _PRESHARED_KEY)),
    )


def _endpoint(value: bytes) -> Endpoint | None:
    family, rest = value[:2], value[2:]
    if family == _u16(FAMILY[4]):
        port, address = _IPV4_ENDPOINT.unpack(rest)
    elif family == _u16(FAMILY[6]):
        port, _, address, _ = _IPV6_ENDPOINT.unpack(rest)
    else:
        return None
    return ip_address(address), port


def _allowed(found: Mapping[int, bytes]) -> Network:
    return ip_network((found[_ALLOWED_ADDRESS], found[_ALLOWED_LENGTH][0]))


def _key(found: Mapping[int, bytes], kind: int) -> str:
    return b64encode(found.get(kind, b"")).decode()


def _number(found: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), sys.byteorder)
