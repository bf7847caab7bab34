"""What a captured frame proves against the tunnel (pure).

The rules are docs/security.md's, seen from outside: on a link of the ISP nothing of a client may
be readable, and from the node's uplink nothing may go to other hosts than those named there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from privacy_router.lab.frames import (
    EtherType,
    FrameError,
    Packet,
    Protocol,
    conversation_of,
    decode_frame_untrusted,
    ether_type_untrusted,
)

if TYPE_CHECKING:
    from privacy_router.lab.internet import Address, Network

DNS_PORT = 53
_EXAMPLES = 10
_MEMORY = 65536


class Finding(StrEnum):
    """What can be wrong with a frame."""

    CLIENT_ADDRESS = "carries a client's address inside the tunnel"
    PLAIN_DNS = "is a plain DNS query"
    UNTRANSLATED = "leaves the node with a source that is not the node's"
    PAYLOAD = "carries the payload of the check in clear"
    FOREIGN = "leaves the node for a stranger"
    UNREADABLE = "cannot be read"


CLEARTEXT = frozenset(
    {Finding.CLIENT_ADDRESS, Finding.PLAIN_DNS, Finding.PAYLOAD, Finding.UNTRANSLATED}
)
STRANGERS = frozenset({Finding.FOREIGN, Finding.UNREADABLE})


_NOTHING: frozenset[Finding] = frozenset()


@dataclass(frozen=True)
class Rules:
    """What to look for. `token` is a secret word that all traffic of the check carries.

    `askers` are the addresses whose DNS queries must not be readable, but for those about one of
    `open_names`; `known` are the addresses to which the node's uplink may send, `own` those that it
    may send from.
    """

    token: bytes
    clients: tuple[Network, ...]
    askers: frozenset[Address]
    known: frozenset[Address]
    own: frozenset[Address]
    open_names: tuple[str, ...] = ()


@dataclass
class LinkEvidence:
    """What was seen on one link.

    `of_isp`: a link on which nothing may be readable; `uplink`: its far end is the node.
    `openers` are the sources of TCP connections by (destination, port).
    """

    link: str
    of_isp: bool
    uplink: bool
    packets: int = 0
    bytes_seen: int = 0
    payload_packets: int = 0
    cleartext_packets: int = 0
    foreign_packets: int = 0
    findings: Counter[Finding] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    openers: dict[tuple[Address, int], set[Address]] = field(default_factory=dict)
    # what was found in order once need not be taken apart again: captures have to keep up
    _innocent: set[tuple[bytes | None, bool]] = field(default_factory=set, repr=False)

    def take(self, frame: bytes, rules: Rules, *, from_far_end: bool) -> frozenset[Finding]:
        """Count a frame and return what is wrong with it on this link. One link, one `rules`."""
        self.packets += 1
        self.bytes_seen += len(frame)
        has_payload = rules.token in frame
        self.payload_packets += has_payload
        conversation = None if has_payload else conversation_of(frame)
        if (conversation, from_far_end) in self._innocent:
            return _NOTHING
        found = self._examine(frame, rules, from_far_end=from_far_end)
        if conversation is not None and not found:
            self._remember_innocent(conversation, from_far_end=from_far_end)
        return found

    def _remember_innocent(self, conversation: bytes, *, from_far_end: bool) -> None:
        if len(self._innocent) >= _MEMORY:
            self._innocent.clear()
        self._innocent.add((conversation, from_far_end))

    def _examine(self, frame: bytes, rules: Rules, *, from_far_end: bool) -> frozenset[Finding]:
        packet: Packet | None = None
        try:
            packet = decode_frame_untrusted(frame)
            found = self._judge(frame, packet, rules, from_far_end=from_far_end)
        except FrameError:
            found = self._judge_unreadable(frame, rules, from_far_end=from_far_end)
        if packet is not None and packet.opens_connection:
            self._note_opener(packet)
        self._note(found, packet)
        return found

    def _judge(
        self, frame: bytes, packet: Packet | None, rules: Rules, *, from_far_end: bool
    ) -> frozenset[Finding]:
        found = set()
        if self.of_isp:
            if rules.token in frame:
                found.add(Finding.PAYLOAD)
            if packet is not None:
                found |= _readable(frame, packet, rules)
        if self.uplink and from_far_end:
            if _is_foreign(frame, packet, rules):
                found.add(Finding.FOREIGN)
            if packet is not None and _is_untranslated(packet, rules):
                found.add(Finding.UNTRANSLATED)
        return frozenset(found)

    def _judge_unreadable(
        self, frame: bytes, rules: Rules, *, from_far_end: bool
    ) -> frozenset[Finding]:
        found = set()
        if self.of_isp and rules.token in frame:
            found.add(Finding.PAYLOAD)
        if self.uplink and from_far_end:
            found.add(Finding.UNREADABLE)
        return frozenset(found)

    def _note_opener(self, packet: Packet) -> None:
        key = (packet.destination, packet.destination_port or 0)
        self.openers.setdefault(key, set()).add(packet.source)

    def _note(self, found: frozenset[Finding], packet: Packet | None) -> None:
        self.cleartext_packets += bool(found & CLEARTEXT)
        self.foreign_packets += bool(found & STRANGERS)
        self.findings.update(found)
        if found and len(self.examples) < _EXAMPLES:
            reasons = ", ".join(sorted(found))
            self.examples.append(f"{self.link}: {packet or 'a frame'} {reasons}")


def _readable(frame: bytes, packet: Packet, rules: Rules) -> set[Finding]:
    found = set()
    for network in rules.clients:
        if packet.source in network or packet.destination in network:
            found.add(Finding.CLIENT_ADDRESS)
    is_query = packet.destination_port == DNS_PORT and packet.protocol in {
        Protocol.UDP,
        Protocol.TCP,
    }
    is_open = any(_on_the_wire(name) in frame.lower() for name in rules.open_names)
    if is_query and packet.source in rules.askers and not is_open:
        found.add(Finding.PLAIN_DNS)
    return found


def _on_the_wire(name: str) -> bytes:
    """A name as a DNS question has it; RFC 1035, section 3.1."""
    labels = (label.encode() for label in name.lower().split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _is_untranslated(packet: Packet, rules: Rules) -> bool:
    # before it has an address, and to its link alone, a host speaks without one (RFC 4862, 5.4)
    speaks_to_its_link = packet.source.is_unspecified or packet.source.is_link_local
    return not speaks_to_its_link and packet.source not in rules.own


def _is_foreign(frame: bytes, packet: Packet | None, rules: Rules) -> bool:
    if packet is None:
        return ether_type_untrusted(frame) != EtherType.ARP
    destination = packet.destination
    # neighbour discovery and multicast listener reports stay on the link and carry no client's data
    if destination.is_multicast or destination.is_link_local:
        return packet.protocol != Protocol.ICMPV6
    return destination not in rules.known
