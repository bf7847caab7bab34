"""One small question through the chain: who of the hops answers?

It is what clients send too: a DNS question to the resolver of the configuration. Through XRay it
goes by XRay's own SOCKS port, over TCP; without XRay, and when XRay's stays without an answer, it
goes from the WARP hop into the tunnel, over UDP. It takes some 30 bytes, needs no library, and
never leaves by another way than the chain's: each socket is of a hop's namespace.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import struct
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from privacy_router.errors import MachineError, PrivacyRouterError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.warp.hop import WARP_ROLE, WARP_TUNNEL
from privacy_router.hops.xray.hop import XRAY_ROLE
from privacy_router.host import namespaces
from privacy_router.host.netlink import Netlink
from privacy_router.host.threads import in_thread
from privacy_router.node.evidence import Answer
from privacy_router.node.host_firewall import forwarding_suspects

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    from privacy_router.chain.order import Segment
    from privacy_router.chain.stations import Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue

PATIENCE_S: Final = 2.0
_LOCAL_PATIENCE_S: Final = 1.0
_HEAD_START_S: Final = 0.5
_REPEAT_S: Final = 0.6
_DNS_PORT: Final = 53
_SOCKS_HELLO: Final = b"\x05\x01\x00"
_SOCKS_AGREED: Final = b"\x05\x00"
_SOCKS_CONNECT: Final = b"\x05\x01\x00"
_SOCKS_SUCCEEDED: Final = 0
_SOCKS_BOUND_BYTES: Final = {1: 6, 4: 18}
_ANSWER_LIMIT_BYTES: Final = 4096


class _NoAnswerError(PrivacyRouterError):
    """A question that stayed without an answer; the message is the reason."""


async def ask(
    config: PrivacyRouterConfig, note_packet: Callable[[], None], hops: Catalogue = CATALOGUE
) -> Answer:
    """Ask once, within two seconds; `note_packet` is told of each packet that goes into the WARP
    tunnel without having come from a hop's port.

    The questions are XRay's and WARP's own. A chain with neither is not asked: nothing is proven.
    """
    at_s = time.monotonic()
    segment = hops.segment(config)
    warp, xray = segment.station(WARP_ROLE.name), segment.station(XRAY_ROLE.name)
    through_warp = asyncio.create_task(_through_warp(config, warp, xray, note_packet))
    try:
        if xray is None:
            return _of_warp(at_s, warp, await through_warp)
        failure = await _outcome(functools.partial(_through_xray, config, xray))
        if not failure:
            return Answer(at_s, proven=_on_the_way_out(segment, xray))
        if failure == _NO_XRAY:
            return Answer(at_s, xray.hop, failure)
        if warp is None:
            return Answer(at_s, xray.hop, await in_thread(_suspecting, segment, failure))
        of_warp = _of_warp(at_s, warp, await through_warp)
    finally:
        through_warp.cancel()
        await asyncio.gather(through_warp, return_exceptions=True)
    return of_warp if of_warp.hop else Answer(at_s, xray.hop, failure, of_warp.proven)


def _of_warp(at_s: float, warp: Station | None, failure: str) -> Answer:
    """What a question by WARP alone says."""
    if warp is None:
        return Answer(at_s)
    return Answer(at_s, warp.hop, failure) if failure else Answer(at_s, proven=(warp.hop,))


def _on_the_way_out(segment: Segment, xray: Station) -> tuple[str, ...]:
    """The hops that a question from within XRay passes, in the order of the chain."""
    leg = segment.leg_from(xray)
    passed = () if leg is None else leg.stations
    return tuple(one.hop for one in segment.stations if one in passed and not one.role.in_host)


def _suspecting(segment: Segment, failure: str) -> str:
    """The same, which does not blame the VPS alone where the host may drop what it is sent."""
    suspects = forwarding_suspects(segment)
    return f"{failure}, or the host's firewall ({suspects}) drops it" if suspects else failure


async def _through_warp(
    config: PrivacyRouterConfig,
    warp: Station | None,
    xray: Station | None,
    note_packet: Callable[[], None],
) -> str:
    """Why nothing came back by WARP alone; asked after XRay had time to answer."""
    if warp is None:
        return ""
    if xray is not None:
        await asyncio.sleep(_HEAD_START_S)
    return await _outcome(lambda: _by_tunnel(config, warp, note_packet))


async def _outcome(work: Callable[[], None]) -> str:
    try:
        await in_thread(work)
    except _NoAnswerError as error:
        return error.message
    return ""


# --- through XRay --------------------------------------------------------------------------------

_NO_XRAY = "XRay does not answer in its namespace"


def _through_xray(config: PrivacyRouterConfig, station: Station) -> None:
    resolver, question = config.xray.dns[0], _question(config)
    path = namespaces.path_of(f"{station.namespace}")

    def work() -> None:
        with _to_xray(config, station) as stream:
            _ask_stream(stream, resolver, question)

    _in(path, work, _NO_XRAY)


def stream_through_xray(
    config: PrivacyRouterConfig,
    station: Station,
    address: IPv4Address | IPv6Address,
    port: int,
    timeout_s: float,
) -> socket.socket:
    """A TCP connection to the outside by XRay, as a client's would go; to be called in the hop's
    namespace. Raises OSError."""
    try:
        stream = _to_xray(config, station)
    except _NoAnswerError as error:
        raise ConnectionRefusedError(error.message) from error
    try:
        stream.settimeout(timeout_s)
        _connect(stream, address, port)
    except BaseException:
        stream.close()
        raise
    return stream


def _to_xray(config: PrivacyRouterConfig, station: Station) -> socket.socket:
    """A connection to XRay's SOCKS port, which has agreed to take a request."""
    own = (str(station.v4.ip), config.xray.socks_port)
    try:
        stream = socket.create_connection(own, _LOCAL_PATIENCE_S)
    except OSError as error:
        raise _NoAnswerError(_NO_XRAY) from error
    try:
        _greet(stream)
    except BaseException:
        stream.close()
        raise
    return stream


def _greet(stream: socket.socket) -> None:
    try:
        stream.sendall(_SOCKS_HELLO)
        agreed = _exactly(stream, len(_SOCKS_AGREED))
    except OSError as error:
        raise _NoAnswerError(_NO_XRAY) from error
    if agreed != _SOCKS_AGREED:
        raise _NoAnswerError(_NO_XRAY)


def _connect(stream: socket.socket, address: IPv4Address | IPv6Address, port: int) -> None:
    """RFC 1928, sections 4 and 6. Raises OSError."""
    kind = b"\x01" if address.version == 4 else b"\x04"
    stream.sendall(_SOCKS_CONNECT + kind + address.packed + port.to_bytes(2, "big"))
    head = _exactly(stream, 4)
    if head[1] != _SOCKS_SUCCEEDED:
        raise ConnectionRefusedError("XRay does not connect there")
    _exactly(stream, _SOCKS_BOUND_BYTES.get(head[3], 0))


def _ask_stream(
    stream: socket.socket, resolver: IPv4Address | IPv6Address, question: bytes
) -> None:
    """RFC 1928, then RFC 7766; the whole within the patience."""
    deadline_s = time.monotonic() + PATIENCE_S
    stream.settimeout(PATIENCE_S)
    try:
        _connect(stream, resolver, _DNS_PORT)
        stream.settimeout(max(deadline_s - time.monotonic(), 0.1))
        stream.sendall(len(question).to_bytes(2, "big") + question)
        size = int.from_bytes(_exactly(stream, 2), "big")
        answer = _exactly(stream, min(size, 12))
    except OSError as error:
        raise _NoAnswerError("the VPS does not answer") from error
    if not _answers(answer, question):
        raise _NoAnswerError("what came back through the VPS is not the answer")


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = stream.recv(size - len(found))
        if not piece:
            raise ConnectionResetError("the connection was closed")
        found += piece
    return bytes(found)


# --- through WARP --------------------------------------------------------------------------------


def _by_tunnel(
    config: PrivacyRouterConfig, station: Station, note_packet: Callable[[], None]
) -> None:
    resolver, question = config.xray.dns[0], _question(config)
    path = namespaces.path_of(f"{station.namespace}")
    reason = "nothing comes back through WARP"

    def work() -> None:
        family = socket.AF_INET if resolver.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as asker:
            asker.bind((tunnel_address(path, resolver.version), 0))
            asker.connect((str(resolver), _DNS_PORT))
            for patience_s in (_REPEAT_S, PATIENCE_S - _REPEAT_S - _HEAD_START_S):
                note_packet()
                asker.send(question)
                if _is_answered(asker, question, patience_s):
                    return
        raise _NoAnswerError(reason)

    _in(path, work, reason)


def _is_answered(asker: socket.socket, question: bytes, patience_s: float) -> bool:
    asker.settimeout(patience_s)
    try:
        return _answers(asker.recv(_ANSWER_LIMIT_BYTES), question)
    except TimeoutError:
        return False


def tunnel_address(namespace: Path, version: int) -> str:
    """The WARP tunnel's own address; packets from it are routed into the tunnel. Raises OSError."""
    with Netlink(namespace) as netlink:
        addresses = netlink.addresses(WARP_TUNNEL)
    for address in addresses:
        if address.version == version:
            return str(address.ip)
    raise OSError(f"the WARP tunnel has no IPv{version} address")


def _in(path: Path, work: Callable[[], None], reason: str) -> None:
    try:
        namespaces.run_in(path, work)
    except (OSError, MachineError) as error:
        raise _NoAnswerError(reason) from error


# --- DNS -----------------------------------------------------------------------------------------


def _question(config: PrivacyRouterConfig) -> bytes:
    """For the address of the trace page's host, which is Cloudflare's own; RFC 1035, section 4."""
    labels = (urlsplit(config.warp.trace_url).hostname or "").encode("ascii").split(b".")
    name = b"".join(bytes([len(label)]) + label for label in labels if label)
    header = struct.pack("!HHHHHH", secrets.randbits(16), 0x0100, 1, 0, 0, 0)
    return header + name + b"\0" + struct.pack("!HH", 1, 1)


def _answers(answer: bytes, question: bytes) -> bool:
    """Whether it is a response to that question, an error too."""
    return len(answer) >= 12 and answer[:2] == question[:2] and bool(answer[2] & 0x80)
