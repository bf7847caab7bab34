"""Which packets a match is for, in words: "TCP packets over IPv4 from warp0 with SYN"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from privacy_router.openflow.constants import EtherType, IpProtocol, PortNumber, TcpFlag
from privacy_router.openflow.fields import Form
from privacy_router.openflow.notation import format_value
from privacy_router.pipeline.allocation import ZONE_REGISTER, Zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privacy_router.openflow.fields import Field
    from privacy_router.openflow.match import Match, MatchItem

_VERSIONS: Final = {EtherType.IPV4: 4, EtherType.IPV6: 6}
_NOUNS: Final = {
    EtherType.IPV4: "IPv4 packets",
    EtherType.IPV6: "IPv6 packets",
    EtherType.ARP: "ARP packets",
    EtherType.RARP: "RARP packets",
    EtherType.MPLS: "MPLS packets",
}
_PROTOCOLS: Final = {
    IpProtocol.ICMP: "ICMP packets",
    IpProtocol.ICMPV6: "ICMPv6 packets",
    IpProtocol.TCP: "TCP packets",
    IpProtocol.UDP: "UDP packets",
    IpProtocol.SCTP: "SCTP packets",
}
_ICMP: Final = (IpProtocol.ICMP, IpProtocol.ICMPV6)
_ARP_KINDS: Final = {1: "ARP requests", 2: "ARP answers"}
# RFC 792; RFC 4443 and RFC 4861
_ICMP_KINDS: Final = {
    ("icmpv4_type", 0): "ICMP echo answers",
    ("icmpv4_type", 3): "ICMP errors (unreachable)",
    ("icmpv4_type", 5): "ICMP redirects",
    ("icmpv4_type", 8): "ICMP echo requests",
    ("icmpv4_type", 11): "ICMP errors (time exceeded)",
    ("icmpv6_type", 1): "ICMPv6 errors (unreachable)",
    ("icmpv6_type", 2): "ICMPv6 errors (too big)",
    ("icmpv6_type", 3): "ICMPv6 errors (time exceeded)",
    ("icmpv6_type", 128): "ICMPv6 echo requests",
    ("icmpv6_type", 129): "ICMPv6 echo answers",
    ("icmpv6_type", 133): "IPv6 router solicitations",
    ("icmpv6_type", 134): "IPv6 router advertisements",
    ("icmpv6_type", 135): "IPv6 neighbour solicitations",
    ("icmpv6_type", 136): "IPv6 neighbour advertisements",
    ("icmpv6_type", 137): "ICMPv6 redirects",
}
_STATES: Final = {
    "+new+trk": "of a new connection",
    "-new+trk": "of a known connection",
    "+est+trk": "of an established connection",
    "+rel+trk": "related to a known connection",
    "+inv+trk": "that fit no connection",
}
_FRAGMENTS: Final = {
    "yes": "that are fragments",
    "no": "that are no fragments",
    "first": "that are first fragments",
    "later": "that are fragments after the first",
    "not_later": "that are whole or a first fragment",
}
_ZONES: Final = {Zone.PRIVACY: "on the privacy segment", Zone.MESH: "on the mesh"}
_GROUP_BIT: Final = (1 << 40, 1 << 40)
_OPTIONS: Final = ("ipv6_nd_sll", "ipv6_nd_tll")  # zero where the packet has no such option
_EVERY_TCP_FLAG: Final = 0x3F  # the six of RFC 793

_NAMES: Final = {
    "eth_src": "source MAC",
    "eth_dst": "destination MAC",
    "eth_type": "EtherType",
    "vlan_vid": "VLAN tag",
    "vlan_pcp": "VLAN priority",
    "mpls_label": "MPLS label",
    "mpls_tc": "MPLS traffic class",
    "mpls_bos": "MPLS bottom-of-stack bit",
    "mpls_ttl": "MPLS TTL",
    "ipv4_src": "source address",
    "ipv4_dst": "destination address",
    "ipv6_src": "source address",
    "ipv6_dst": "destination address",
    "ipv6_flabel": "flow label",
    "ipv6_exthdr": "extension headers",
    "ip_proto": "IP protocol",
    "ip_dscp": "DSCP",
    "ip_ecn": "ECN",
    "nw_ttl": "TTL",
    **{f"{name}_src": "source port" for name in ("tcp", "udp", "sctp")},
    **{f"{name}_dst": "destination port" for name in ("tcp", "udp", "sctp")},
    "icmpv4_type": "ICMP type",
    "icmpv4_code": "ICMP code",
    "icmpv6_type": "ICMPv6 type",
    "icmpv6_code": "ICMPv6 code",
    "ipv6_nd_target": "neighbour address",
    "ipv6_nd_sll": "sender's MAC",
    "ipv6_nd_tll": "neighbour's MAC",
    "arp_op": "ARP operation",
    "arp_spa": "sender's address",
    "arp_sha": "sender's MAC",
    "arp_tpa": "wanted address",
    "arp_tha": "wanted MAC",
    "tun_id": "tunnel number",
    "pbb_isid": "service number",
    "pkt_mark": "packet mark",
    "ct_zone": "tracking zone",
    "ct_mark": "connection's mark",
    "ct_label": "connection's label",
}


def field_words(name: str) -> str:
    """What people call a field; its own name without underscores where they have no word."""
    return _NAMES.get(name, name.replace("_", " "))


def in_words(field: Field, value: int, mask: int | None = None) -> str:
    """A value as people write it."""
    return format_value(field, value, mask)


def port_words(number: int, port_names: Mapping[int, str]) -> str:
    """A port's name, or its number."""
    reserved = PortNumber(number).name
    words = f"port {number}" if reserved.startswith("UNKNOWN") else reserved
    return port_names.get(number, words)


def enumerate_words(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def packets_in_words(match: Match, port_names: Mapping[int, str]) -> str:
    """Which packets, e.g. "TCP packets over IPv4 from internal_100 with SYN and without ACK"."""
    fields = {item.field.name: item for item in match}
    noun, said = _noun(fields)
    seen = _Seen(port_names, 6 if _plain(fields.get("eth_type")) == EtherType.IPV6 else 4)
    left = [item for name, item in fields.items() if name not in said]
    phrases = {item.field.name: _phrase(item, seen) for item in left if _has_phrase(item)}
    plain = [_named(item, seen) for item in left if not _has_phrase(item)]
    if plain:
        phrases[""] = f"with {enumerate_words(plain)}"
    return " ".join([noun, *(phrases[name] for name in _ORDER if name in phrases)])


class _Seen(NamedTuple):
    """What phrases need to know besides their field."""

    port_names: Mapping[int, str]
    version: int


def _plain(item: MatchItem | None) -> EtherType | None:
    return None if item is None or item.mask is not None else EtherType(item.value)


def _noun(fields: Mapping[str, MatchItem]) -> tuple[str, tuple[str, ...]]:
    """What the packets are called, and the fields that this says."""
    ethertype = _plain(fields.get("eth_type"))
    if ethertype is None:
        return "packets", ()
    if ethertype == EtherType.ARP and "arp_op" in fields:
        kind = _ARP_KINDS.get(fields["arp_op"].value)
        if kind is not None:
            return kind, ("eth_type", "arp_op")
    protocol = fields.get("ip_proto")
    if protocol is not None and IpProtocol(protocol.value) in _PROTOCOLS:
        return _transport(fields, ethertype, IpProtocol(protocol.value))
    if ethertype in _NOUNS:
        return _NOUNS[ethertype], ("eth_type",)
    return f"packets with EtherType {ethertype:#06x}", ("eth_type",)


def _transport(
    fields: Mapping[str, MatchItem], ethertype: EtherType, protocol: IpProtocol
) -> tuple[str, tuple[str, ...]]:
    said = ("eth_type", "ip_proto")
    if protocol not in _ICMP:
        return f"{_PROTOCOLS[protocol]} over IPv{_VERSIONS[ethertype]}", said
    for name in ("icmpv4_type", "icmpv6_type"):
        kind = _ICMP_KINDS.get((name, fields[name].value)) if name in fields else None
        if kind is not None:
            return kind, (*said, name)
    return _PROTOCOLS[protocol], said


# --- one field ----------------------------------------------------------------------------------


def _named(item: MatchItem, seen: _Seen) -> str:
    """A field that a packet has "with" others, e.g. "the source port 67"."""
    value = in_words(*item)
    if item.field.name == "nw_ttl":
        return f"{ttl_words(seen.version)} {value}"
    what = field_words(item.field.name)
    if item.field.name in _OPTIONS and not item.value:
        return f"no {what}"
    if item.field.form in (Form.IPV4, Form.IPV6) and item.mask is not None:
        return f"a {what} in {value}"
    return f"{what} {value}" if what.isupper() else f"the {what} {value}"


def ttl_words(version: int) -> str:
    """What that version of IP calls it."""
    return "hop limit" if version == 6 else "TTL"


def _has_phrase(item: MatchItem) -> bool:
    if item.field.name == "eth_src":
        return (item.value, item.mask) == _GROUP_BIT
    return item.field.name in _PHRASES


def _phrase(item: MatchItem, seen: _Seen) -> str:
    return _PHRASES[item.field.name](item, seen)


def _in_port(item: MatchItem, seen: _Seen) -> str:
    return f"from {port_words(item.value, seen.port_names)}"


def _zone(item: MatchItem, _seen: _Seen) -> str:
    if item.mask is None and item.value in _ZONES:
        return _ZONES[Zone(item.value)]
    return f"of the zone {in_words(*item)}"


def _group_sender(_item: MatchItem, _seen: _Seen) -> str:
    return "whose source MAC is a group's"


def _to_mac(item: MatchItem, _seen: _Seen) -> str:
    to_group = (item.value, item.mask) == _GROUP_BIT
    return "to the MAC of a group" if to_group else f"to the MAC {in_words(*item)}"


def _state(item: MatchItem, _seen: _Seen) -> str:
    words = in_words(*item)
    return _STATES.get(words, f"with the connection state {words}")


def _flags(item: MatchItem, _seen: _Seen) -> str:
    tested = TcpFlag(item.field.full_mask if item.mask is None else item.mask)
    present = [str(flag.name) for flag in TcpFlag if flag & tested & item.value]
    absent = [str(flag.name) for flag in TcpFlag if flag & tested & ~item.value]
    if not present and tested & _EVERY_TCP_FLAG == _EVERY_TCP_FLAG:
        return "without any flag"
    if item.mask is None:
        return f"with {enumerate_words(present)} alone"
    parts = [f"with {enumerate_words(present)}"] if present else []
    return enumerate_words([*parts, f"without {enumerate_words(absent)}"] if absent else parts)


def _fragment(item: MatchItem, _seen: _Seen) -> str:
    words = in_words(*item)
    return _FRAGMENTS.get(words, f"with the fragment bits {words}")


def _destination(item: MatchItem, _seen: _Seen) -> str:
    return f"to {in_words(*item)}"


def _destination_port(item: MatchItem, _seen: _Seen) -> str:
    return f"to port {in_words(*item)}"


def _wanted(item: MatchItem, _seen: _Seen) -> str:
    return f"about {in_words(*item)}"


_PHRASES: Final[dict[str, Callable[[MatchItem, _Seen], str]]] = {
    "in_port": _in_port,
    ZONE_REGISTER: _zone,
    "eth_src": _group_sender,
    "eth_dst": _to_mac,
    **dict.fromkeys(("ipv4_dst", "ipv6_dst"), _destination),
    **dict.fromkeys(("arp_tpa", "ipv6_nd_target"), _wanted),
    **dict.fromkeys(("tcp_dst", "udp_dst", "sctp_dst"), _destination_port),
    "tcp_flags": _flags,
    "ct_state": _state,
    "ip_frag": _fragment,
}
_AFTER_OTHERS: Final = ("tcp_flags", "ct_state", "ip_frag")
_ORDER: Final = (*(n for n in _PHRASES if n not in _AFTER_OTHERS), "", *_AFTER_OTHERS)
