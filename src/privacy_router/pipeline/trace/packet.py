"""A packet as people write it, in the flow syntax of ovs-ofctl, and back again."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from privacy_router.errors import InvalidError
from privacy_router.openflow.constants import EtherType, IpProtocol, PortNumber, TcpFlag
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.notation import format_value, parse_value
from privacy_router.pipeline.field_names import FieldRefusedError, meanings
from privacy_router.pipeline.notation import FlowRefusedError, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.openflow.fields import Field
    from privacy_router.openflow.match import Match

    Packet = Mapping[str, int]
    PortNumbers = Callable[[str], int | None]

EXAMPLE = "in_port=internal_100,tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443"
LATER_FRAGMENT = 3  # ip_frag of a fragment without the transport header, ovs-fields(7)
_FRAGMENTS = (0, 1, LATER_FRAGMENT)
_USUAL_TTL = 64
_NEIGHBOUR_TTL = 255  # RFC 4861, 7.1
_NEIGHBOUR_TYPES = range(133, 138)

_PROTOCOLS: Final = {
    "arp": (EtherType.ARP, None),
    "ip": (EtherType.IPV4, None),
    "icmp": (EtherType.IPV4, IpProtocol.ICMP),
    "tcp": (EtherType.IPV4, IpProtocol.TCP),
    "udp": (EtherType.IPV4, IpProtocol.UDP),
    "sctp": (EtherType.IPV4, IpProtocol.SCTP),
    "ipv6": (EtherType.IPV6, None),
    "icmp6": (EtherType.IPV6, IpProtocol.ICMPV6),
    "tcp6": (EtherType.IPV6, IpProtocol.TCP),
    "udp6": (EtherType.IPV6, IpProtocol.UDP),
    "sctp6": (EtherType.IPV6, IpProtocol.SCTP),
}
_WORDS: Final[dict[tuple[int, int | None], str]] = {pair: word for word, pair in _PROTOCOLS.items()}
# The names under which ofproto/trace takes exact values; it knows tp_dst for TCP alone.
_TRACE_NAMES: Final = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_proto": "nw_proto",
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
    "ipv6_flabel": "ipv6_label",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_sll": "nd_sll",
    "ipv6_nd_tll": "nd_tll",
}
_KEPT_BY_THE_SWITCH: Final = re.compile(r"ct_\w+|reg\d+|metadata|pkt_mark")
_TRANSPORT: Final = re.compile(r"(?:tcp|udp|sctp|icmpv[46])_\w+|ipv6_nd_\w+")


class PacketError(InvalidError):
    """The description of a packet cannot be understood, or no packet can be so."""


# --- reading ------------------------------------------------------------------------------------


def parse_packet(text: str, port_number: PortNumbers | None = None) -> Packet:
    """The fields of the packet that `text` describes, with what they imply filled in.

    E.g. "in_port=internal_100,tcp,nw_dst=198.18.0.1,tp_dst=443". `port_number` gives the OpenFlow
    number of a port's name, or None. Fields that are not said are absent, which means zero. Raises
    PacketError for unknown names, values that do not fit, masks, and contradictions.
    """
    try:
        found = matches("the packet", _fields(text), _port_numbers(port_number))
    except FlowRefusedError as error:
        raise PacketError(error.message, remedy=error.remedy) from error
    if len(found) > 1:
        raise PacketError(
            "the packet may be IPv4 or IPv6", remedy="say ip or ipv6, tcp or tcp6, udp or udp6"
        )
    packet = dict(_exact(found[0]))
    _check(packet)
    return MappingProxyType(packet)


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for word, value in _words(text):
        if value is None and word not in _PROTOCOLS:
            raise PacketError(
                f"the packet: there is no protocol {word}", remedy=f"write it like {EXAMPLE}"
            )
        said = {word: value} if value is not None else _protocol_fields(word)
        for name, one in said.items():
            if fields.setdefault(name, one) != one:
                raise PacketError(
                    f"the packet: {name} is {fields[name]} and {one}", remedy="take one of them out"
                )
    return fields


def _words(text: str) -> list[tuple[str, str | None]]:
    pairs = (word.partition("=") for word in re.split(r"[,\s]+", text) if word)
    return [(name, value if equals else None) for name, equals, value in pairs]


def _protocol_fields(word: str) -> dict[str, str]:
    ethertype, protocol = _PROTOCOLS[word]
    fields = {"dl_type": ethertype.name.lower()}
    return fields if protocol is None else {**fields, "nw_proto": protocol.name.lower()}


def _port_numbers(names: PortNumbers | None) -> PortNumbers:
    """The number of a port by name, by the word for a reserved one, or by the number itself."""

    def number(name: str) -> int | None:
        plain = name.strip('"')
        found = names(plain) if names else None
        if found is not None:
            return found
        if plain.upper() == PortNumber.LOCAL.name:
            return int(PortNumber.LOCAL)
        return int(plain) if plain.isdecimal() and int(plain) <= PortNumber.MAX else None

    return number


def _exact(match: Match) -> Iterator[tuple[str, int]]:
    for item in match:
        if item.mask is not None:
            raise PacketError(
                f"the packet: {item.field.name} is a mask, and a packet has one value",
                remedy="write the value alone",
            )
        yield item.field.name, item.value


def _check(packet: Packet) -> None:
    if "in_port" not in packet:
        raise PacketError(
            "the packet does not say which port it comes in at", remedy="add in_port=…"
        )
    if "ct_state" in packet:
        raise PacketError(
            "a packet comes in without a connection state", remedy="say it by --ct-state"
        )
    if packet.get("ip_frag", 0) not in _FRAGMENTS:
        raise PacketError("the packet: there is no such fragment", remedy="no, first or later")
    if packet.get("ip_frag") == LATER_FRAGMENT:
        beyond = [name for name in packet if is_of_transport(name)]
        if beyond:
            raise PacketError(f"a later fragment carries no {beyond[0]}", remedy="take it out")


def is_of_transport(field: str) -> bool:
    """Whether the field is beyond the IP header, where a later fragment has nothing of it."""
    return _TRANSPORT.fullmatch(field) is not None


def read_fields_untrusted(text: str, port_number: PortNumbers | None = None) -> Packet:
    """The fields in a flow that Open vSwitch prints; what is not known here is left out.

    Raises PacketError.
    """
    fields: dict[str, int] = {}
    numbers = _port_numbers(port_number)
    for word, value in _words(text):
        if value is None:
            kind = zip(("eth_type", "ip_proto"), _PROTOCOLS.get(word, ()), strict=False)
            fields.update((name, int(number)) for name, number in kind if number is not None)
        else:
            fields.update(_reading_untrusted(word, value, fields, numbers))
    return MappingProxyType(fields)


def _reading_untrusted(
    name: str, value: str, before: Mapping[str, int], port_number: PortNumbers
) -> dict[str, int]:
    """The field that is meant, going by those before it. Raises PacketError."""
    if _KEPT_BY_THE_SWITCH.fullmatch(name) and name in FIELDS:
        try:
            return {name: parse_value(FIELDS[name], value)[0]}
        except ValueError as error:
            raise PacketError(f"not a flow as Open vSwitch prints it: {error}") from error
    try:
        said = meanings(name, value, port_number)
    except FieldRefusedError:
        return {}
    for one in said:
        if all(before.get(need) in values for need, values in one.field.needs if values):
            return {one.field.name: one.value}
    return {}


# --- what is usual ------------------------------------------------------------------------------


def with_defaults(packet: Packet, *, source_mac: int | None = None, begins: bool = True) -> Packet:
    """The packet with what a caller may leave out: the sender's MAC, a TTL, TCP flags.

    `begins`: the packet opens its connection (SYN), else it belongs to one (ACK).
    """
    usual: dict[str, int] = {}
    if source_mac is not None:
        usual["eth_src"] = source_mac
    if packet.get("eth_type") in (EtherType.IPV4, EtherType.IPV6):
        neighbour = packet.get("icmpv6_type") in _NEIGHBOUR_TYPES
        usual["nw_ttl"] = _NEIGHBOUR_TTL if neighbour else _USUAL_TTL
        is_whole = packet.get("ip_frag") != LATER_FRAGMENT
        if packet.get("ip_proto") == IpProtocol.TCP and is_whole:
            usual["tcp_flags"] = int(TcpFlag.SYN if begins else TcpFlag.ACK)
    return MappingProxyType({**usual, **packet})


# --- writing ------------------------------------------------------------------------------------


def format_packet(packet: Packet) -> str:
    """The packet as ofproto/trace takes it: numbers for ports, every field under its own name.

    `parse_packet` reads it back.
    """
    spoken, protocol = _spoken(packet)
    rest = sorted(
        (FIELDS[name] for name in packet if name not in spoken), key=lambda field: field.rank
    )
    words = [_word(field, packet[field.name]) for field in rest]
    words[1:1] = [protocol] if protocol else []
    return ",".join(words)


def _spoken(packet: Packet) -> tuple[tuple[str, ...], str]:
    ethertype, protocol = packet.get("eth_type"), packet.get("ip_proto")
    if ethertype is None:
        return (), ""
    for fields in ((ethertype, protocol), (ethertype, None)):
        word = _WORDS.get(fields)
        if word is not None:
            spoken = ("eth_type",) if fields[1] is None else ("eth_type", "ip_proto")
            return spoken, word
    return (), ""


def _word(field: Field, value: int) -> str:
    return f"{_TRACE_NAMES.get(field.name, field.name)}={format_value(field, value, None)}"
