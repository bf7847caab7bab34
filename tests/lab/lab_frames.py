"""Frames made by hand, as a capture would see them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_MACS = b"\x02\x00\x00\x00\x00\x01" + b"\x02\x00\x00\x00\x00\x02"
SYN, ACK = 0x02, 0x10


def udp(source_port: int, destination_port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def tcp(source_port: int, destination_port: int, flags: int = ACK, payload: bytes = b"") -> bytes:
    head = struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 5 << 4, flags, 1000, 0, 0)
    return head + payload


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | (5 + len(options) // 4),
        0,
        20 + len(options) + len(payload),
        7,
        fragment,
        64,
        protocol,
        0,
    )
    addresses = ip_address(source).packed + ip_address(destination).packed
    return head + addresses + options + payload


def ipv6(source: str, destination: str, following: int, payload: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def ethernet(kind: int, payload: bytes, *tags: int) -> bytes:
    return (
        _MACS
        + b"".join(struct.pack("!HH", tag, 5) for tag in tags)
        + struct.pack("!H", kind)
        + payload
    )


def frame(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """An untagged frame of either IP version."""
    if ":" in source:
        return ethernet(0x86DD, ipv6(source, destination, protocol, payload))
    return ethernet(0x0800, ipv4(source, destination, protocol, payload))
