"""What a captured frame says against the promise of docs/security.md (pure).

Independent of the node, and stricter than `lab.evidence`: it knows what each state of the node
allows, port by port, and whether a packet on the uplink carries an address that is not the
uplink's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from privacy_router.lab import internet
from privacy_router.lab.frames import (
    EtherType,
    FrameError,
    Packet,
    Protocol,
    TcpFlag,
    conversation_of,
    decode_frame_untrusted,
    ether_type_untrusted,
)

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.lab.internet import Address, Cable, Network

DNS_PORT = 53
_MEMORY = 65536
_TRANSPORTS = frozenset({Protocol.TCP, Protocol.UDP})
_ICMP = frozenset({Protocol.ICMP, Protocol.ICMPV6})

Service = tuple["Address", int, int]
"""Address, protocol, port."""


class Verdict(StrEnum):
    """What is wrong with a frame."""

    CLEAR = "in clear"
    UNTRANSLATED = "untranslated"
    STRANGER = "to a stranger"


@dataclass(frozen=True)
class Allowed:
    """What the node's uplink may send in a state: to which services, and which name it may ask.

    `lookup` is a DNS name as it is in a query (RFC 1035, section 3.1), None where none may be
    asked; then it may be asked of `resolvers` only.
    """

    services: frozenset[Service]
    lookup: bytes | None = None
    resolvers: frozenset[Address] = frozenset()

    def __or__(self, other: Self) -> Allowed:
        """What either allows: a change from one to the other goes on."""
        return Allowed(
            self.services | other.services,
            self.lookup or other.lookup,
            self.resolvers | other.resolvers,
        )


@dataclass(frozen=True)
class Rules:
    """`token` is in all that the client sends, `clients` are the addresses inside its tunnel,
    `own` those of the node's uplink, `askers` those whose DNS queries may not be readable."""

    token: bytes
    clients: tuple[Network, ...]
    own: frozenset[Address]
    askers: frozenset[Address]
    allowed: Allowed

    def allowing(self, allowed: Allowed) -> Rules:
        """The same in another state."""
        return replace(self, allowed=allowed)


@dataclass(frozen=True)
class Place:
    """A link: `of_isp`, one on which nothing may be readable; `uplink`, the node's."""

    name: str
    of_isp: bool
    uplink: bool

    @classmethod
    def of(cls, cable: Cable) -> Place:
        """The place that a cable of the lab is."""
        return cls(cable.name, cable.of_isp, "node" in (cable.first, cable.second))


def wire_name(name: str) -> bytes:
    """A DNS name as it is in a query."""
    labels = [bytes([len(label)]) + label.encode() for label in name.split(".")]
    return b"".join(labels) + b"\0"


def allowed_by(config: PrivacyRouterConfig) -> Allowed:
    """What the table of docs/security.md allows a node of that configuration that is up."""
    client = {(internet.address_of("client", version), int(Protocol.UDP), 0) for version in (4, 6)}
    if config.warp.enabled:
        endpoints = {
            (address, int(Protocol.UDP), internet.WARP_PORT) for address in internet.WARP_ENDPOINT
        }
        return Allowed(frozenset(client | endpoints))
    vps = {(address, int(Protocol.TCP), config.vps_port) for address in internet.VPS}
    resolvers = frozenset(config.xray.dns)
    return Allowed(frozenset(client | vps), wire_name(internet.VPS_NAME), resolvers)


def rules_for(config: PrivacyRouterConfig, token: str) -> Rules:
    """The rules for a lab whose node has that configuration."""
    own = {internet.address_of("node", version) for version in (4, 6)}
    client = {internet.address_of("client", version) for version in (4, 6)}
    clients = (config.wireguard.client_subnet, config.wireguard.client_subnet6)
    return Rules(
        token.encode(), clients, frozenset(own), frozenset(own | client), allowed_by(config)
    )


def judge(frame: bytes, place: Place, rules: Rules, *, from_node: bool) -> frozenset[Verdict]:
    """What is wrong with a frame on that link; `from_node` where the node's uplink sent it."""
    found = set()
    leaves = place.uplink and from_node
    try:
        packet = decode_frame_untrusted(frame)
        kind = ether_type_untrusted(frame)
    except FrameError:
        packet, kind = None, -1
    if place.of_isp and _is_clear(frame, packet, rules):
        found.add(Verdict.CLEAR)
    if leaves and packet is None and kind != EtherType.ARP:
        found.add(Verdict.STRANGER)
    if leaves and packet is not None and not _stays_on_the_link(packet):
        if packet.source not in rules.own:
            found.add(Verdict.UNTRANSLATED)
        if not _is_expected(frame, packet, rules.allowed):
            found.add(Verdict.STRANGER)
    return frozenset(found)


def _stays_on_the_link(packet: Packet) -> bool:
    """Neighbour discovery and listener reports carry no data of a client."""
    local = packet.destination.is_multicast or packet.destination.is_link_local
    return packet.protocol in {Protocol.ICMPV6, Protocol.HOP_BY_HOP} and (
        local or packet.source.is_link_local
    )


def _is_clear(frame: bytes, packet: Packet | None, rules: Rules) -> bool:
    if rules.token in frame:
        return True
    if packet is None:
        return False
    ends = (packet.source, packet.destination)
    if any(end in network for end in ends for network in rules.clients):
        return True
    asks = packet.destination_port == DNS_PORT and packet.protocol in _TRANSPORTS
    return asks and packet.source in rules.askers and not _is_lookup(frame, packet, rules.allowed)


def _is_lookup(frame: bytes, packet: Packet, allowed: Allowed) -> bool:
    """Whether this asks for the one name that may be asked for."""
    return (
        allowed.lookup is not None
        and packet.protocol == Protocol.UDP
        and packet.destination_port == DNS_PORT
        and packet.destination in allowed.resolvers
        and allowed.lookup in frame.lower()
    )


def _is_expected(frame: bytes, packet: Packet, allowed: Allowed) -> bool:
    address, protocol, port = packet.destination, packet.protocol, packet.destination_port or 0
    if (address, protocol, port) in allowed.services or (address, protocol, 0) in allowed.services:
        return True
    return _is_lookup(frame, packet, allowed) or _is_refusal(packet)


def _is_refusal(packet: Packet) -> bool:
    """The kernel's answer to what came for a socket that is gone: says no more than that.

    Only to hosts that the node speaks with in one state or another.
    """
    speaks_with = {
        *internet.WARP_ENDPOINT,
        *internet.VPS,
        # wireguard-go at Cloudflare lets go of the address that it answered from when a session
        # has ended, and calls the node from its host's own
        *(internet.address_of(host, v) for host in ("client", "cloudflare") for v in (4, 6)),
    }
    refuses = packet.protocol in _ICMP or bool(packet.tcp_flags & TcpFlag.RST)
    return refuses and packet.destination in speaks_with


class Bench:
    """Judges the frames of one link; what was in order once is not taken apart again."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._innocent: set[tuple[bytes, bool]] = set()
        self._rules: Rules | None = None

    def take(self, frame: bytes, rules: Rules, *, from_node: bool) -> frozenset[Verdict]:
        """Judge a frame."""
        if rules is not self._rules or len(self._innocent) > _MEMORY:
            self._rules = rules
            self._innocent.clear()
        key = None if rules.token in frame else _same_again(frame)
        if key is not None and (key, from_node) in self._innocent:
            return frozenset()
        found = judge(frame, self.place, rules, from_node=from_node)
        if key is not None and not found:
            self._innocent.add((key, from_node))
        return found


def _same_again(frame: bytes) -> bytes | None:
    """What frames with the same answer have in common; None for DNS, whose names differ."""
    key = conversation_of(frame)
    return None if key is None or key[-2:] == DNS_PORT.to_bytes(2, "big") else key
