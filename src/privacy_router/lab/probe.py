"""The program with which the client tries the chain: every protocol once, all at the same time.

    python -m privacy_router.lab.probe TOKEN MTU

Prints a JSON list of probes. Every request carries TOKEN, so that a capture can find it; MTU is
the size in bytes up to which every packet has to pass.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.resolver

from privacy_router.lab import internet
from privacy_router.lab.sizes import tcp_of_full_segments, udp_of_each_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.lab.internet import Address

_TIMEOUT_S = 4.0
_UDP_TRIES = 3
_UDP_WAIT_S = 1.3
_ECHO_PORT = 7
_QUIC_PORT = 443


@dataclass(frozen=True)
class Probe:
    """One thing tried. `seen_as` is the address from which it reached the other side."""

    name: str
    version: int
    ok: bool
    seen_as: str
    detail: str
    rtt_ms: float


def main(token: str, mtu_bytes: int) -> None:
    """Try everything."""
    tries: list[tuple[str, int, Callable[[], str]]] = [("system-dns", 4, _system_dns)]
    for name, work in _WORKS.items():
        for address in internet.DNS if name.startswith("dns") else internet.WEB:
            version = address.version
            tries.append((f"{name}{version}", version, partial(work, address, token)))
    for name, sized in _OF_SIZE.items():
        for address in internet.WEB:
            version = address.version
            tries.append((f"{name}{version}", version, partial(sized, address, token, mtu_bytes)))
    with ThreadPoolExecutor(len(tries)) as pool:
        probes = list(pool.map(lambda entry: _attempt(*entry), tries))
    print(json.dumps([asdict(probe) for probe in probes]))


def _attempt(name: str, version: int, work: Callable[[], str]) -> Probe:
    started = time.monotonic()
    try:
        seen_as, detail = work(), ""
    except (OSError, http.client.HTTPException, dns.exception.DNSException, ValueError) as error:
        seen_as, detail = "", f"{type(error).__name__}: {error}"
    rtt_ms = round((time.monotonic() - started) * 1000, 1)
    return Probe(name, version, not detail, seen_as, detail, rtt_ms)


def _http(address: Address, token: str) -> str:
    return _ask(http.client.HTTPConnection(str(address), 80, timeout=_TIMEOUT_S), token)


def _https(address: Address, token: str) -> str:
    context = ssl.create_default_context()
    connection = http.client.HTTPSConnection(str(address), 443, timeout=_TIMEOUT_S, context=context)
    return _ask(connection, token)


def _ask(connection: http.client.HTTPConnection, token: str) -> str:
    try:
        connection.request("GET", f"/echo?x={token}")
        answer = connection.getresponse().read(1024).decode()
    finally:
        connection.close()
    return _echoed(answer, token)


def _echoed(answer: str, token: str) -> str:
    seen_as, _, payload = answer.strip().partition(" ")
    if payload != token:
        raise ValueError("the answer is not the echo of the question")
    return seen_as


def _udp(address: Address, token: str) -> str:
    return _udp_echo(address, _ECHO_PORT, token)


def _udp_quic(address: Address, token: str) -> str:
    return _udp_echo(address, _QUIC_PORT, token)


def _udp_echo(address: Address, port: int, token: str) -> str:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as question:
        question.settimeout(_UDP_WAIT_S)
        question.connect((str(address), port))
        for _ in range(_UDP_TRIES):
            question.send(token.encode())
            try:
                return _echoed(question.recv(1024).decode(), token)
            except TimeoutError:
                continue
    raise TimeoutError(f"no echo in {_UDP_TRIES * _UDP_WAIT_S:g} s")


def _dns_udp(address: Address, token: str) -> str:
    query = _whoami(token)
    for _ in range(_UDP_TRIES):
        try:
            return _text_of(dns.query.udp(query, str(address), timeout=_UDP_WAIT_S))
        except dns.exception.Timeout:
            continue
    raise TimeoutError("no answer of the DNS server")


def _dns_tcp(address: Address, token: str) -> str:
    return _text_of(dns.query.tcp(_whoami(token), str(address), timeout=_TIMEOUT_S))


def _whoami(token: str) -> dns.message.Message:
    return dns.message.make_query(f"{token}.{internet.WHOAMI_NAME}", "TXT")


def _text_of(answer: dns.message.Message) -> str:
    for records in answer.answer:
        if records.rdtype == dns.rdatatype.TXT:
            return str(next(iter(records))).strip('"')
    raise ValueError("the answer has no text")


def _system_dns() -> str:
    """A name that only the DNS knows, asked as any program would."""
    found = {entry[4][0] for entry in socket.getaddrinfo(internet.VPS_NAME, 443)}
    if not found <= {str(address) for address in internet.VPS}:
        raise ValueError(f"{internet.VPS_NAME} has other addresses: {sorted(map(str, found))}")
    return ""


_WORKS: dict[str, Callable[[Address, str], str]] = {
    "http": _http,
    "https": _https,
    "udp": _udp,
    "udp-quic": _udp_quic,
    "dns-udp": _dns_udp,
    "dns-tcp": _dns_tcp,
}
_OF_SIZE: dict[str, Callable[[Address, str, int], str]] = {
    "udp-sizes": udp_of_each_size,
    "http-segments": tcp_of_full_segments,
}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
