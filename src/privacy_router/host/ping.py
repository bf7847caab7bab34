"""One ICMP echo, to learn how long an answer takes; RFC 792."""

from __future__ import annotations

import os
import socket
import struct
import time

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_HEADER = struct.Struct("!BBHHH")


def echo_rtt_ms(address: str, timeout_s: float) -> float | None:
    """Milliseconds until `address` (IPv4) answered from the caller's network namespace.

    None when it did not within `timeout_s`, or there is no way to it. Needs root.
    """
    identifier = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
        line.settimeout(timeout_s)
        started = time.monotonic()
        try:
            line.sendto(_request(identifier), (address, 0))
            while not _is_answer_untrusted(line.recv(1500), identifier):
                line.settimeout(max(0.001, started + timeout_s - time.monotonic()))
        except OSError:
            return None
        return (time.monotonic() - started) * 1000


def _request(identifier: int) -> bytes:
    draft = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, 1)
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(draft), identifier, 1)


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes; RFC 1071."""
    total = sum(int(word) for (word,) in struct.iter_unpack("!H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total + (total >> 16)) & 0xFFFF)


def _is_answer_untrusted(packet: bytes, identifier: int) -> bool:
    start = (packet[0] & 0x0F) * 4 if packet else 0
    header = packet[start : start + _HEADER.size]
    if len(header) < _HEADER.size:
        return False
    kind, _, _, found, _ = _HEADER.unpack(header)
    return bool(kind == _ECHO_REPLY and found == identifier)
