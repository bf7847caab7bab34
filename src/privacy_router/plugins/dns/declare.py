"""What a section asks for, and in which of the two ways it can be had. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.config.plugins.dns import parse_server
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode, Resource
from privacy_router.host.file_state import file_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privacy_router.config.plugins.dns import DnsConfig, DnsLink
    from privacy_router.engine.model import Value

RESOLVER: Final = ("resolver", "systemd-resolved")
FILE: Final = ("file", "/etc/resolv.conf")
LINK: Final = "link"
KEPT_COPY: Final = "/etc/resolv.conf.before-privacy-router"
DROP_IN: Final = "/etc/systemd/resolved.conf.d/50-privacy-router.conf"

MARK: Final = "# Written by op-dbus, which does so again: change plugins.dns of its document.\n"
_SERVERS_MAX: Final = 3  # MAXNS of <resolv.h>

Settings = dict[str, object]


@dataclass(frozen=True)
class Wanted:
    """What the section says besides its resources.

    `only_resolved` is why only systemd-resolved will do; with `either`, resources for both backends
    are declared, and those of the one that is there count.
    """

    only_resolved: str = ""
    either: bool = False


def resources(section: DnsConfig) -> Iterator[tuple[tuple[str, str], Resource]]:
    """Everything that the section may come to, on either backend. Raises RefusedError."""
    reason = only_resolved(section)
    if section.backend == "file" and reason:
        raise RefusedError(
            f"plugins.dns: {reason}, which /etc/resolv.conf cannot say",
            remedy='leave that out, or set "backend" to "resolved" and install systemd-resolved',
        )
    settings = resolver_settings(section)
    mode = Mode(section.mode)
    if settings and section.backend != "file":
        enforced = {**settings, "drop_in": drop_in_value(settings)}
        yield RESOLVER, Resource(enforced if mode is Mode.ENFORCE else settings, mode)
    if settings and section.backend != "resolved" and not reason:
        yield FILE, Resource(file_value(resolv_conf(section)), mode)
    for name, link in section.links.items():
        yield from _link(name, link)


def _link(name: str, link: DnsLink) -> Iterator[tuple[tuple[str, str], Resource]]:
    if name == "lo":
        raise RefusedError(
            "plugins.dns.links.lo: systemd-resolved takes no settings for a loopback device",
            remedy="give them in plugins.dns.servers instead",
        )
    settings = link_settings(link)
    if settings:
        yield (LINK, name), Resource(settings, Mode(link.mode))


def resolver_settings(section: DnsConfig) -> Settings:
    """The machine's own settings that the section names."""
    return _named(section, ("servers", "search", "dnssec", "dns_over_tls", "fallback"))


def link_settings(link: DnsLink) -> Settings:
    """The settings of a link that the section names."""
    return _named(link, ("servers", "search", "dnssec", "dns_over_tls", "default_route"))


def _named(section: DnsConfig | DnsLink, names: Sequence[str]) -> Settings:
    found = {name: getattr(section, name) for name in names}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value is not None
    }


def only_resolved(section: DnsConfig) -> str:
    """Why /etc/resolv.conf cannot say what the section does; empty when it can."""
    servers = section.servers or ()
    if section.links:
        return "links have servers of their own"
    for name in ("dnssec", "dns_over_tls", "fallback"):
        if getattr(section, name) is not None:
            return f"{name} is given"
    if section.servers is None and section.search is not None:
        return "search is given without servers"
    if len(servers) > _SERVERS_MAX:
        return f"there are {len(servers)} servers, more than {_SERVERS_MAX}"
    for text in servers:
        _, port, name = parse_server(text)
        if port or name:
            return f"the server {text} has a port or a name for TLS"
    for domain in section.search or ():
        if domain.startswith("~"):
            return f"the domain {domain} is one to route and not to search in"
    return ""


def resolv_conf(section: DnsConfig) -> str:
    """All of /etc/resolv.conf."""
    search = " ".join(section.search or ())
    lines = [f"search {search}"] if search else []
    lines += [f"nameserver {server}" for server in section.servers or ()]
    return MARK + "".join(f"{line}\n" for line in lines)


_NAMES: Final = {
    "servers": "DNS",
    "fallback": "FallbackDNS",
    "search": "Domains",
    "dnssec": "DNSSEC",
    "dns_over_tls": "DNSOverTLS",
}
_LISTS: Final = frozenset({"servers", "fallback", "search"})


def assignments(settings: Settings) -> dict[str, str]:
    """Settings as resolved.conf(5) names and writes them."""
    return {
        _NAMES[name]: " ".join(value) if isinstance(value, list) else str(value)
        for name, value in settings.items()
        if name in _NAMES
    }


def drop_in_value(settings: Settings) -> Value:
    """Our file among those of resolved.conf.d.

    Lists of several files add up, so each is emptied first.
    """
    lines: list[str] = []
    for name, value in assignments(settings).items():
        if name in {_NAMES[one] for one in _LISTS} and value:
            lines.append(f"{name}=\n")
        lines.append(f"{name}={value}\n")
    return file_value(f"{MARK}[Resolve]\n{''.join(lines)}")
