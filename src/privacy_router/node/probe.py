"""Ask the outside, through the chain, which address it sees.

Every question leaves from inside a hop namespace: it takes the clients' own way or none at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import httpx

from privacy_router.errors import RemoteServiceError
from privacy_router.host import namespaces
from privacy_router.host.netlink import Netlink
from privacy_router.plan import chain as chains
from privacy_router.plan.chain import WARP_TUNNEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.host.wireguard import WireGuardBackend
    from privacy_router.plan.chain import Station

_TIMEOUT_S = 3.0
_QUICK_TIMEOUT_S = 1.0
_DNS_TIMEOUT_S = 2.0
_DNS_PORT = 53


@dataclass(frozen=True)
class Trace:
    """What Cloudflare's trace page says of a request, and how long it took."""

    address: str
    warp: str
    rtt_ms: float


def chain_answers(config: PrivacyRouterConfig, wireguard: WireGuardBackend) -> bool:
    """Whether a request through the whole chain comes back, at once or within a second."""
    station = chains.build(config).warp
    if station is not None:
        device = wireguard.read(WARP_TUNNEL, namespaces.path_of(f"{station.namespace}"))
        if device is None or not any(peer.last_handshake for peer in device.peers):
            return False  # whatever is sent now is lost, and its repetition comes late
    try:
        exit_trace(config, _QUICK_TIMEOUT_S)
    except RemoteServiceError:
        return False
    return True


def exit_trace(config: PrivacyRouterConfig, timeout_s: float = _TIMEOUT_S) -> Trace:
    """The trace page as a client would see it. Raises RemoteServiceError."""
    chain = chains.build(config)
    if chain.xray is not None:
        return _through_xray(config, chain.xray, timeout_s)
    return warp_trace(config, timeout_s)


def warp_trace(config: PrivacyRouterConfig, timeout_s: float = _TIMEOUT_S) -> Trace:
    """The trace page as seen from the WARP hop. Raises RemoteServiceError."""
    station = chains.build(config).warp
    if station is None:
        raise RemoteServiceError("there is no WARP hop in this chain")
    path = namespaces.path_of(f"{station.namespace}")
    url = urlsplit(config.warp.trace_url)
    host = url.hostname or ""

    def work() -> Trace:
        own = _tunnel_address(path)
        address = _resolve(host, str(config.xray.dns[0]), own)
        literal = f"[{address}]" if ":" in address else address
        target = url._replace(netloc=literal + (f":{url.port}" if url.port else "")).geturl()
        transport = httpx.HTTPTransport(local_address=own, trust_env=True)
        with httpx.Client(transport=transport, timeout=timeout_s) as client:
            return _ask(client, target, {"Host": host}, {"sni_hostname": host})

    return _guarded(lambda: namespaces.run_in(path, work))


def _through_xray(config: PrivacyRouterConfig, station: Station, timeout_s: float) -> Trace:
    path = namespaces.path_of(f"{station.namespace}")
    proxy = f"socks5://{station.v4.ip}:{config.xray.socks_port}"

    def work() -> Trace:
        with httpx.Client(proxy=proxy, timeout=timeout_s, trust_env=True) as client:
            return _ask(client, config.warp.trace_url, {}, {})

    return _guarded(lambda: namespaces.run_in(path, work))


def _guarded(work: Callable[[], Trace]) -> Trace:
    try:
        return work()
    except (httpx.HTTPError, dns.exception.DNSException, OSError, ValueError) as error:
        raise RemoteServiceError(
            f"the trace page did not answer ({type(error).__name__})", retryable=True
        ) from error


def _ask(
    client: httpx.Client, url: str, headers: dict[str, str], extensions: dict[str, str]
) -> Trace:
    started = time.monotonic()
    answer = client.get(url, headers=headers, extensions=extensions)
    answer.raise_for_status()
    rtt_ms = (time.monotonic() - started) * 1000
    fields = dict(line.split("=", 1) for line in answer.text.splitlines() if "=" in line)
    return Trace(
        address=str(ip_address(fields.get("ip", ""))),
        warp=fields.get("warp", "off"),
        rtt_ms=round(rtt_ms, 1),
    )


def _tunnel_address(namespace: Path) -> str:
    """The WARP tunnel's own IPv4 address; packets from it are routed into the tunnel."""
    with Netlink(namespace) as netlink:
        addresses = netlink.addresses(WARP_TUNNEL)
    found = [str(address.ip) for address in addresses if address.version == 4]
    if not found:
        raise ValueError("the WARP tunnel has no IPv4 address")
    return found[0]


def _resolve(host: str, server: str, own: str) -> str:
    """The host's IPv4 address, asked through the tunnel: the node's own resolver learns nothing."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    question = dns.message.make_query(host, "A")
    answer = dns.query.udp(question, server, timeout=_DNS_TIMEOUT_S, port=_DNS_PORT, source=own)
    for record in answer.answer:
        if record.rdtype == dns.rdatatype.A:
            return str(next(iter(record)))
    raise ValueError(f"{host} has no IPv4 address")
