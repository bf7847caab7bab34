"""What an Ethernet frame says about who talks to whom (pure).

Sources: IEEE 802.1Q, RFC 791, RFC 8200 (section 4: extension headers), RFC 9293, RFC 768.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address

from privacy_router.errors import PrivacyRouterError

Address = IPv4Address | IPv6Address

_ETHERNET_BYTES = 14
_VLAN_TAG_BYTES = 4
_IPV4_BYTES = 20
_IPV6_BYTES = 40
_FRAGMENT_OFFSET_MASK = 0x1FFF
_IPV4_WITHOUT_OPTIONS = 0x45
_IPV4_TYPE, _IPV6_TYPE = b"\x08\x00", b"\x86\xdd"
_TCP, _UDP = b"\x06", b"\x11"
_CONVERSATION_BYTES = _ETHERNET_BYTES + _IPV6_BYTES + 14  # up to the TCP flags


class EtherType(IntEnum):
    """Ethernet payload types; IEEE 802 numbers."""

    IPV4 = 0x0800
    ARP = 0x0806
    VLAN = 0x8100
    IPV6 = 0x86DD
    SERVICE_VLAN = 0x88A8


class Protocol(IntEnum):
    """Internet protocol numbers; RFC 5237."""

    HOP_BY_HOP = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    ICMPV6 = 58
    DESTINATION_OPTIONS = 60
    MOBILITY = 135


class TcpFlag(IntFlag):
    """TCP control bits; RFC 9293, section 3.1."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10


_EXTENSIONS = frozenset(
    {
        Protocol.HOP_BY_HOP,
        Protocol.ROUTING,
        Protocol.AUTHENTICATION,
        Protocol.DESTINATION_OPTIONS,
        Protocol.MOBILITY,
    }
)
_TAGS = frozenset({EtherType.VLAN, EtherType.SERVICE_VLAN})


class FrameError(PrivacyRouterError):
    """The frame ends before what it announces, or contradicts itself."""


_NO_FLAGS = TcpFlag(0)


@dataclass(frozen=True)
class Packet:
    """An IP packet's outermost headers.

    Ports are None where there are none: another protocol, or a fragment that is not the first.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    tcp_flags: TcpFlag = _NO_FLAGS

    @property
    def opens_connection(self) -> bool:
        """Whether this is the first packet of a TCP connection."""
        return bool(self.tcp_flags & TcpFlag.SYN) and not self.tcp_flags & TcpFlag.ACK

    def __str__(self) -> str:
        name = Protocol(self.protocol).name if self.protocol in set(Protocol) else self.protocol
        return (
            f"{_end(self.source, self.source_port)} → "
            f"{_end(self.destination, self.destination_port)} {name}"
        )


def _end(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def decode_frame_untrusted(frame: bytes) -> Packet | None:
    """The IP packet in an Ethernet frame; None when it is not IP. Raises FrameError."""
    kind, start = _ether_type(frame)
    if kind == EtherType.IPV4:
        return _decode_ipv4(frame[start:])
    if kind == EtherType.IPV6:
        return _decode_ipv6(frame[start:])
    return None


def conversation_of(frame: bytes) -> bytes | None:
    """Protocol, addresses and ports of a plain TCP or UDP packet, as they are in the frame.

    Two frames with the same answer decode to the same `Packet`, TCP flags apart. None where there
    is more to it: tags, options, extension headers, fragments, the opening of a connection.
    """
    if len(frame) < _CONVERSATION_BYTES:
        return None
    start, key = _plain_ipv4(frame) if frame[12:14] == _IPV4_TYPE else _plain_ipv6(frame)
    if key[:1] == _TCP and not frame[start + 13] & TcpFlag.SYN:
        return key
    return key if key[:1] == _UDP else None


def _plain_ipv4(frame: bytes) -> tuple[int, bytes]:
    is_plain = frame[14] == _IPV4_WITHOUT_OPTIONS and not (frame[20] & 0x3F or frame[21])
    return 34, frame[23:24] + frame[26:38] if is_plain else b""


def _plain_ipv6(frame: bytes) -> tuple[int, bytes]:
    is_plain = frame[12:14] == _IPV6_TYPE and frame[14] >> 4 == 6
    return 54, frame[20:21] + frame[22:58] if is_plain else b""


def ether_type_untrusted(frame: bytes) -> int:
    """The type of what a frame carries, behind any VLAN tags. Raises FrameError."""
    return _ether_type(frame)[0]


def _ether_type(frame: bytes) -> tuple[int, int]:
    start = _ETHERNET_BYTES
    while True:
        _require(frame, start)
        kind = int.from_bytes(frame[start - 2 : start], "big")
        if kind not in _TAGS:
            return kind, start
        start += _VLAN_TAG_BYTES


def _require(data: bytes, length: int) -> None:
    if len(data) < length:
        raise FrameError(f"the frame ends after {len(data)} of {length} bytes")


def _decode_ipv4(data: bytes) -> Packet:
    _require(data, _IPV4_BYTES)
    length = (data[0] & 0x0F) * 4
    if data[0] >> 4 != 4 or length < _IPV4_BYTES:
        raise FrameError("this is not an IPv4 header")
    _require(data, length)
    source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    if int.from_bytes(data[6:8], "big") & _FRAGMENT_OFFSET_MASK:
        return Packet(source, destination, data[9])
    return _with_transport(source, destination, data[9], data[length:])


def _decode_ipv6(data: bytes) -> Packet:
    _require(data, _IPV6_BYTES)
    if data[0] >> 4 != 6:
        raise FrameError("this is not an IPv6 header")
    source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    following, rest = data[6], data[_IPV6_BYTES:]
    while following in _EXTENSIONS or following == Protocol.FRAGMENT:
        _require(rest, 8)
        if following == Protocol.FRAGMENT and int.from_bytes(rest[2:4], "big") >> 3:
            return Packet(source, destination, rest[0])
        length = _extension_bytes(following, rest)
        _require(rest, length)
        following, rest = rest[0], rest[length:]
    return _with_transport(source, destination, following, rest)


def _extension_bytes(kind: int, header: bytes) -> int:
    if kind == Protocol.FRAGMENT:
        return 8
    if kind == Protocol.AUTHENTICATION:
        return (header[1] + 2) * 4
    return (header[1] + 1) * 8


def _with_transport(source: Address, destination: Address, protocol: int, data: bytes) -> Packet:
    if protocol not in {Protocol.TCP, Protocol.UDP}:
        return Packet(source, destination, protocol)
    _require(data, 14 if protocol == Protocol.TCP else 8)
    flags = TcpFlag(data[13] & 0x1F) if protocol == Protocol.TCP else _NO_FLAGS
    return Packet(
        source,
        destination,
        protocol,
        int.from_bytes(data[0:2], "big"),
        int.from_bytes(data[2:4], "big"),
        flags,
    )
