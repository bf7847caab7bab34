"""Frames made by hand (pure)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

TCP, UDP, ICMP = 6, 17, 1


def frame(
    source: str,
    destination: str,
    protocol: int,
    port: int = 0,
    payload: bytes = b"",
    flags: int = 16,
) -> bytes:
    """An Ethernet frame with a packet from port 40000; checksums and MACs are left zero."""
    ends = ip_address(source).packed + ip_address(destination).packed
    head = struct.pack("!HH", 40000, port)
    if protocol == TCP:
        head += bytes(9) + bytes([flags]) + bytes(6)
    elif protocol == UDP:
        head += struct.pack("!HH", 8 + len(payload), 0)
    body = head + payload
    if ip_address(source).version == 4:
        length = 20 + len(body)
        ip = struct.pack("!BBHIBBH", 0x45, 0, length, 0, 64, protocol, 0) + ends
        return bytes(12) + b"\x08\x00" + ip + body
    ip = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends
    return bytes(12) + b"\x86\xdd" + ip + body
