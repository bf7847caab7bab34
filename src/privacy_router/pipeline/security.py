"""Drop what no honest host sends, and limit how much of the rest a port may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privacy_router.openflow.constants import IpProtocol
from privacy_router.openflow.instructions import Meter
from privacy_router.pipeline.allocation import Layer, Rate, meter_id
from privacy_router.pipeline.classify import SECURITY_KEY
from privacy_router.pipeline.flow import Flow, Program, RateLimit
from privacy_router.pipeline.terms import DROP, VERSIONS, goto, icmp, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.openflow.match import Match

# name → (flags that are set, flags that are looked at); RFC 9293 section 3.1 has no use for these.
# What several of them describe is counted by the first.
_HOSTILE_TCP_FLAGS = {
    "SYN and FIN": (0x003, 0x003),
    "SYN and RST": (0x006, 0x006),
    "Xmas scan": (0x029, 0x029),
    "NULL scan": (0x000, 0x03F),
    "FIN without ACK": (0x001, 0x011),
}
# RFC 6890: no host on another link can have these, or answer at them
_NOBODY = {
    4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    6: ("::/128", "::1/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
}
# version → (the server's port, the client's port); RFC 2131, RFC 8415
_DHCP = {4: (67, 68), 6: (547, 546)}
_ROUTER_ADVERTISEMENT, _REDIRECT6, _REDIRECT4 = 134, 137, 5

# fragments first: the later ones show no flags
_FRAGMENTS, _FLAGS, _ROGUES, _SOURCES, _DESTINATIONS = 210, 200, 190, 180, 170
_RATE_PRIORITY = 100


def hostile(config: PrivacyRouterConfig) -> Iterator[Flow]:
    """The drops of the security table, the same for every port."""
    for version in VERSIONS:
        for place, (name, flags) in enumerate(_HOSTILE_TCP_FLAGS.items()):
            tcp: dict[str, Any] = {"ip_proto": IpProtocol.TCP, "ip_frag": "not_later"}
            match = ip(version, tcp_flags=flags, **tcp)
            yield _drop(_FLAGS - place, match, name)
        if config.openflow.fragments == "drop":
            match = ip(version, ip_frag="yes")
            yield _drop(_FRAGMENTS, match, "a fragment", "openflow.fragments")
        for network in _NOBODY[version]:
            yield _drop(_SOURCES, ip(version, source=network), f"bad source {network}")
            where = f"reserved destination {network}"
            yield _drop(_DESTINATIONS, ip(version, destination=network), where)
        yield from _rogues(version)


def _rogues(version: int) -> Iterator[Flow]:
    server, client = _DHCP[version]
    answer = ip(version, ip_proto=IpProtocol.UDP, udp_src=server, udp_dst=client)
    yield _drop(_ROGUES, answer, "rogue DHCP: no port here gives out addresses")
    if version == 4:
        yield _drop(_ROGUES, icmp(4, icmpv4_type=_REDIRECT4), "ICMP redirect")
        return
    advertisement = icmp(6, icmpv6_type=_ROUTER_ADVERTISEMENT)
    yield _drop(_ROGUES, advertisement, "rogue router advertisement")
    yield _drop(_ROGUES, icmp(6, icmpv6_type=_REDIRECT6), "ICMPv6 redirect")


def _drop(priority: int, match: Match, reason: str, origin: str = SECURITY_KEY) -> Flow:
    return Flow("security", priority, match, DROP, Layer.SECURITY, origin, reason)


def rates(config: PrivacyRouterConfig, name: str, ofport: int, *, neighbours: bool) -> Program:
    """The meters of one port and what goes through them; `neighbours`: whether it speaks ARP."""
    limits = {
        Rate.ARP: config.openflow.rates.arp if neighbours else None,
        Rate.ICMP: config.openflow.rates.icmp,
        Rate.SYN: config.openflow.rates.syn,
        Rate.DNS: config.openflow.rates.dns,
    }
    meters = tuple(
        RateLimit(meter_id(rate, ofport), limit, f"{name}: {rate.name} at most {limit}/s")
        for rate, limit in limits.items()
        if limit is not None
    )
    flows = tuple(
        _through_meter(rate, match, name, ofport)
        for version in VERSIONS
        for rate, match in _metered(version, ofport).items()
        if limits[rate] is not None
    )
    return Program(flows, meters)


def _metered(version: int, ofport: int) -> dict[Rate, Match]:
    tcp: dict[str, Any] = {"ip_proto": IpProtocol.TCP, "tcp_flags": "+syn-ack"}
    return {
        Rate.ICMP: icmp(version, in_port=ofport),
        Rate.SYN: ip(version, in_port=ofport, **tcp),
        Rate.DNS: ip(version, in_port=ofport, ip_proto=IpProtocol.UDP, udp_dst=53),
    }


def _through_meter(rate: Rate, match: Match, name: str, ofport: int) -> Flow:
    return Flow(
        "rates",
        _RATE_PRIORITY,
        match,
        (Meter(meter_id(rate, ofport)), *goto("conntrack")),
        Layer.SECURITY,
        f"openflow.rates.{rate.name.lower()}",
        f"{name}: {rate.name} limited",
        ofport,
    )
