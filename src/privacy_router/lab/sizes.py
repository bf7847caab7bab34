"""Packets of every size that matters, from the client: UDP with answers, and TCP; none may be cut.

Sizes are those of whole IP packets.
"""

from __future__ import annotations

import http.client
import socket
import struct
import time
from typing import TYPE_CHECKING

from privacy_router.lab.standins.sizes import PORT, question

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.lab.internet import Address

SMALLEST_BYTES = 1200
"""Below every MTU of a chain: IPv6 needs 1,280 bytes on each (RFC 8200, section 5)."""

_TRIES = 4
_PACE_S = 0.002  # XRay keeps 16 KiB for a UDP port and drops what is more
_LAST_WAIT_S = 1.0
_TCP_TIMEOUT_S = 8.0
_TCP_BYTES = 200_000
_DATAGRAM_BYTES = 65535
_IP_HEADER_BYTES = {4: 20, 6: 40}
_UDP_HEADER_BYTES = 8
_TCP_HEADER_BYTES, _TCP_TIMESTAMP_BYTES = 20, 12
# linux/in.h and linux/in6.h: never send a fragment; an error for what is too large
_DO_NOT_FRAGMENT = {4: (socket.IPPROTO_IP, 10, 2), 6: (socket.IPPROTO_IPV6, 23, 2)}
_MSS_PLACE = 16  # linux/tcp.h, struct tcp_info: tcpi_snd_mss and tcpi_rcv_mss

# bytes of a question and of its answer, without headers
_Exchange = tuple[int, int]


def udp_of_each_size(address: Address, token: str, mtu_bytes: int) -> str:
    """Questions of every size up to the MTU with short answers, and the other way round.

    Returns the address that asked, as the other side saw it. Raises TimeoutError that names the
    sizes that did not arrive, OSError for a size that may not be sent.
    """
    headers = _IP_HEADER_BYTES[address.version] + _UDP_HEADER_BYTES
    sizes = [size - headers for size in _sizes(mtu_bytes)]
    short = sizes[0]
    seen_as = ""
    for exchanges in ([(size, short) for size in sizes], [(short, size) for size in sizes]):
        missing, seen_as = _exchange(address, token, exchanges)
        if missing:
            lost = sorted(headers + max(exchange) for exchange in missing)
            where = "to the site" if exchanges[-1][0] > short else "from the site"
            raise TimeoutError(
                f"{len(lost)} sizes {where} do not arrive, from {lost[0]} to {lost[-1]} bytes"
            )
    return seen_as


def _sizes(mtu_bytes: int) -> range:
    return range(min(SMALLEST_BYTES, mtu_bytes), mtu_bytes + 1)


def _exchange(
    address: Address, token: str, exchanges: Iterable[_Exchange]
) -> tuple[set[_Exchange], str]:
    """What was not answered in any try, and who the other side saw asking."""
    missing, seen_as = set(exchanges), ""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as line:
        line.setsockopt(*_DO_NOT_FRAGMENT[address.version])
        line.connect((str(address), PORT))
        for _ in range(_TRIES):
            for sent, wanted in sorted(missing):
                line.send(question(token, wanted, sent))
                seen_as = _collect(line, token, missing, _PACE_S) or seen_as
            seen_as = _collect(line, token, missing, _LAST_WAIT_S) or seen_as
            if not missing:
                break
    return missing, seen_as


def _collect(line: socket.socket, token: str, missing: set[_Exchange], within_s: float) -> str:
    """Take answers until none is missing, or the time is over; who was seen asking."""
    seen_as, deadline = "", time.monotonic() + within_s
    while missing and (left_s := deadline - time.monotonic()) > 0:
        line.settimeout(left_s)
        try:
            answer = line.recv(_DATAGRAM_BYTES)
        except TimeoutError:
            break
        address, word, received, *_ = answer.decode().split(" ")
        if word != token:
            raise ValueError("the answer is not to the question")
        missing.discard((int(received), len(answer)))
        seen_as = address
    return seen_as


def tcp_of_full_segments(address: Address, token: str, mtu_bytes: int) -> str:
    """Much TCP, which never lets itself be cut, both ways, in segments that fill the MTU.

    Returns the address that asked, as the other side saw it. Raises OSError or HTTPException when
    it does not arrive, ValueError when the segments are smaller than they could be.
    """
    connection = http.client.HTTPConnection(str(address), 80, timeout=_TCP_TIMEOUT_S)
    try:
        connection.request("POST", f"/echo?x={token}", token.encode().ljust(_TCP_BYTES))
        seen_as = connection.getresponse().read().decode().partition(" ")[0]
        connection.request("GET", f"/bytes?n={_TCP_BYTES}&x={token}")
        received = len(connection.getresponse().read())
        information = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    finally:
        connection.close()
    if received != _TCP_BYTES:
        raise ValueError(f"{received} of {_TCP_BYTES} bytes arrived")
    headers = _IP_HEADER_BYTES[address.version] + _TCP_HEADER_BYTES + _TCP_TIMESTAMP_BYTES
    for way, segment_bytes in zip(("to", "from"), _segments(information), strict=True):
        if segment_bytes < mtu_bytes - headers:
            raise ValueError(
                f"segments {way} the site have {segment_bytes} bytes, not {mtu_bytes - headers}"
            )
    return seen_as


def _segments(information: bytes) -> tuple[int, int]:
    sent, received = struct.unpack_from("=II", information, _MSS_PLACE)
    return sent, received


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
