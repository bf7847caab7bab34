"""Ask the outside, through the chain, which address it sees.

Every question leaves from inside a hop namespace: it takes the clients' own way or none at all.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from privacy_router.errors import FAILURES, RemoteServiceError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.hops.xray.hop import XRAY_ROLE
from privacy_router.host import namespaces
from privacy_router.node.question import stream_through_xray, tunnel_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from urllib.parse import SplitResult

    from privacy_router.chain.stations import Station
    from privacy_router.config.models import PrivacyRouterConfig

    Address = IPv4Address | IPv6Address
    Connect = Callable[[Address, int], socket.socket]
    Resolve = Callable[[dns.message.Message], dns.message.Message]

Family = Literal[4, 6]
_TIMEOUT_S: Final = 3.0
_DNS_TIMEOUT_S: Final = 2.0
_DNS_PORT: Final = 53
_PORTS: Final = {"https": 443, "http": 80}
_ANSWER_LIMIT_BYTES: Final = 4096
_FAILURES: Final = (
    *(*FAILURES, ValueError),
    *(http.client.HTTPException, dns.exception.DNSException),
)


@dataclass(frozen=True)
class Trace:
    """What Cloudflare's trace page says of a request, and how long it took."""

    address: str
    warp: str
    rtt_ms: float


def exit_trace(config: PrivacyRouterConfig, family: Family) -> Trace:
    """The trace page as a client would see it that asks by IPv4 or IPv6. Raises
    RemoteServiceError."""
    station = CATALOGUE.segment(config).station(XRAY_ROLE.name)
    if station is None:
        return warp_trace(config, family)

    def connect(address: Address, port: int) -> socket.socket:
        return stream_through_xray(config, station, address, port, _TIMEOUT_S)

    def resolve(question: dns.message.Message) -> dns.message.Message:
        with connect(config.xray.dns[0], _DNS_PORT) as stream:
            stream.setblocking(False)  # dnspython waits by itself
            return dns.query.tcp(question, "", timeout=_DNS_TIMEOUT_S, sock=stream)

    return _traced(config, station, family, resolve, connect)


def warp_trace(config: PrivacyRouterConfig, family: Family = 4) -> Trace:
    """The trace page as seen from the WARP hop. Raises RemoteServiceError."""
    station = CATALOGUE.segment(config).station(WARP_ROLE.name)
    if station is None:
        raise RemoteServiceError("there is no WARP hop in this chain")
    path = namespaces.path_of(f"{station.namespace}")

    def connect(address: Address, port: int) -> socket.socket:
        own = tunnel_address(path, address.version)
        return socket.create_connection((str(address), port), _TIMEOUT_S, (own, 0))

    def resolve(question: dns.message.Message) -> dns.message.Message:
        server = config.xray.dns[0]
        own = tunnel_address(path, server.version)
        return dns.query.udp(question, str(server), _DNS_TIMEOUT_S, _DNS_PORT, own)

    return _traced(config, station, family, resolve, connect)


def _traced(
    config: PrivacyRouterConfig,
    station: Station,
    family: Family,
    resolve: Resolve,
    connect: Connect,
) -> Trace:
    """Ask the trace page from within a hop's namespace. The node's own resolver learns nothing."""
    url = urlsplit(config.warp.trace_url)
    path: Path = namespaces.path_of(f"{station.namespace}")

    def work() -> Trace:
        address = _address(url.hostname or "", family, resolve)
        started_s = time.monotonic()
        with connect(address, url.port or _PORTS[url.scheme]) as stream:
            text = _page(stream, url)
        return trace_untrusted(text, (time.monotonic() - started_s) * 1000)

    try:
        return namespaces.run_in(path, work)
    except _FAILURES as error:
        raise RemoteServiceError(
            f"the trace page did not answer ({type(error).__name__})", retryable=True
        ) from error


def _address(host: str, family: Family, resolve: Resolve) -> Address:
    """The host's address of that family. Raises ValueError where it has none, and what asking for
    it does."""
    try:
        address = ip_address(host)
    except ValueError:
        return _looked_up(host, family, resolve)
    if address.version != family:
        raise ValueError(f"{host} is no IPv{family} address")
    return address


def _looked_up(host: str, family: Family, resolve: Resolve) -> Address:
    kind = dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA
    answer = resolve(dns.message.make_query(host, kind))
    for record in answer.answer:
        if record.rdtype == kind:
            return ip_address(str(next(iter(record))))
    raise ValueError(f"{host} has no IPv{family} address")


def _page(stream: socket.socket, url: SplitResult) -> str:
    """The page at that URL; `stream` leads to its server."""
    host = url.hostname or ""
    if url.scheme == "https":
        stream = ssl.create_default_context().wrap_socket(stream, server_hostname=host)
    with stream:
        client = http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_S)
        client.sock = stream
        client.request("GET", url.path or "/", headers={"Connection": "close"})
        answer = client.getresponse()
        if answer.status != http.client.OK:
            raise ValueError(f"status {answer.status}")
        return answer.read(_ANSWER_LIMIT_BYTES).decode("utf-8", "replace")


def trace_untrusted(text: str, rtt_ms: float) -> Trace:
    """What a trace page says: a key and a value each line. Raises ValueError."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    warp = fields.get("warp", "off")
    return Trace(
        address=str(ip_address(fields.get("ip", ""))),
        warp=warp if warp in ("on", "plus") else "off",
        rtt_ms=round(rtt_ms, 1),
    )
