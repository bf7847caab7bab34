"""`plugins.dns`: how the machine resolves names."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, Strict

from privacy_router.config import values as kind
from privacy_router.config.sections import Section

_ITEMS_MAX: Final = 256  # as many as systemd-resolved takes
_NAME_MAX_CHARS: Final = 253
_DEFAULT_PORTS: Final = (53, 853)
_PORT_MAX: Final = 65535
_STUBS: Final = frozenset({IPv4Address("127.0.0.53"), IPv4Address("127.0.0.54")})
_BRACKETED: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?\Z")
_DOTTED: Final = re.compile(r"([0-9.]+)(?::([0-9]{1,5}))?\Z")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")


def _split(text: str) -> tuple[str, str | None]:
    """Address and port of what stands before `#`."""
    for pattern in (_BRACKETED, _DOTTED):
        if found := pattern.match(text):
            return found[1], found[2]
    return text, None


def server_text(address: IPv4Address | IPv6Address, port: int, name: str) -> str:
    """A server in its one spelling: ports that are meant anyhow, 53 and 853, are left out."""
    text = str(address)
    if port and port not in _DEFAULT_PORTS:
        text = f"[{text}]:{port}" if address.version == 6 else f"{text}:{port}"
    return f"{text}#{name}" if name else text


def parse_server(text: str) -> tuple[IPv4Address | IPv6Address, int, str]:
    """Address, port (0: the usual one) and name for TLS. Raises ValueError."""
    where, mark, name = text.partition("#")
    address_text, port_text = _split(where)
    address = kind.parse_address(address_text)
    port = int(port_text or 0)
    named = kind.is_host_name(name) and not name.endswith(".") if mark else True
    if address is None or getattr(address, "scope_id", None) or not named:
        raise ValueError("not a server")
    if port > _PORT_MAX or (port_text is not None and port == 0):
        raise ValueError("not a port")
    return address, port, name.lower()


def _server(text: str) -> str:
    """The one spelling of a server that a machine may ask; a loopback's is one."""
    address, port, name = parse_server(text)
    if address.is_unspecified or address.is_multicast or address in _STUBS:
        raise ValueError("nothing to ask")
    if address.is_link_local:
        raise ValueError("needs a link")
    return server_text(address, port, name)


def _link_server(text: str) -> str:
    address, port, name = parse_server(text)
    return server_text(address, port, name) if address.is_link_local else _server(text)


def _domain(text: str) -> str:
    routing, name = text.startswith("~"), text.removeprefix("~").removesuffix(".").lower()
    if routing and text == "~.":
        return text
    if not name or len(name) > _NAME_MAX_CHARS or not all(map(_LABEL.match, name.split("."))):
        raise ValueError("not a domain")
    return f"~{name}" if routing else name


def _distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


_SERVER_WORDS: Final = (
    "a DNS server: an IP address, with a port other than 53 and the name for TLS where there are "
    "such, as in 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:8853#dns.example"
)
Server = Annotated[
    str,
    Strict(),
    AfterValidator(_server),
    kind.Expected(
        f"{_SERVER_WORDS}; a link-local one belongs to a link, and systemd-resolved's own "
        "127.0.0.53 would ask itself"
    ),
]
LinkServer = Annotated[str, Strict(), AfterValidator(_link_server), kind.Expected(_SERVER_WORDS)]
Domain = Annotated[
    str,
    Strict(),
    AfterValidator(_domain),
    kind.Expected(
        "a domain such as example.net, or ~example.net to send its names to these servers without "
        "searching in it (~. for all names)"
    ),
]
Servers = Annotated[tuple[Server, ...], Field(max_length=_ITEMS_MAX), AfterValidator(_distinct)]
LinkServers = Annotated[
    tuple[LinkServer, ...], Field(max_length=_ITEMS_MAX), AfterValidator(_distinct)
]
Domains = Annotated[tuple[Domain, ...], Field(max_length=_ITEMS_MAX), AfterValidator(_distinct)]
Dnssec = Annotated[
    Literal["yes", "no", "allow-downgrade"], kind.Expected('"yes", "no" or "allow-downgrade"')
]
DnsOverTls = Annotated[
    Literal["yes", "no", "opportunistic"], kind.Expected('"yes", "no" or "opportunistic"')
]


class DnsLink(Section):
    """What one network interface's names are resolved with."""

    servers: LinkServers | None = Field(
        None, description="DNS servers of this link; null leaves them alone."
    )
    search: Domains | None = Field(
        None, description="Domains of this link, ~ before those that are only routed."
    )
    default_route: kind.Flag | None = Field(
        None, description="Whether names that fit no link's domains are asked here."
    )
    dnssec: Dnssec | None = Field(None, description="Whether answers are validated.")
    dns_over_tls: DnsOverTls | None = Field(None, description="Whether the servers speak TLS.")
    mode: kind.Mode = Field("enforce", description="Whether a difference is corrected or reported.")


class DnsConfig(Section):
    """The machine's resolver; what is null is left alone."""

    servers: Servers | None = Field(None, description="DNS servers of the machine, in order.")
    search: Domains | None = Field(
        None, description="Domains to search in, ~ before those that are only routed."
    )
    dnssec: Dnssec | None = Field(None, description="Whether answers are validated.")
    dns_over_tls: DnsOverTls | None = Field(None, description="Whether the servers speak TLS.")
    fallback: Servers | None = Field(
        None, description="Servers for when there are no others; [] for none."
    )
    links: dict[kind.InterfaceName, DnsLink] = Field(
        default_factory=dict, description="What single interfaces resolve with, by name."
    )
    backend: Annotated[
        Literal["auto", "resolved", "file"], kind.Expected('"auto", "resolved" or "file"')
    ] = Field(
        "auto",
        description="systemd-resolved, or /etc/resolv.conf as a file; auto takes the first that"
        " is there.",
    )
    mode: kind.Mode = Field(
        "enforce", description="The same for the machine's settings, not those of links."
    )
