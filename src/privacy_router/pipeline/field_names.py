"""Names and values of match fields as people write them: `nw_dst`, `dl_type=ip`, `tp_dst="8080"`.

One name may have several meanings; which it has, the other fields of the flow say (`notation`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.config.problems import nearest_of
from privacy_router.errors import InvalidError
from privacy_router.openflow.constants import VLAN_PRESENT, EtherType, IpProtocol
from privacy_router.openflow.fields import ALIASES, FIELDS, Form, field_named
from privacy_router.openflow.notation import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.fields import Field


class FieldRefusedError(InvalidError):
    """A name or a value that cannot be matched, and what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)


@dataclass(frozen=True)
class FieldValue:
    """A field with its value and mask, and the words of the flow that say so."""

    field: Field
    value: int
    mask: int
    words: str


# --- names --------------------------------------------------------------------------------------

# What one name may stand for, the likeliest first; which it is, the other fields and the value say.
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    **{alias: (name,) for alias, name in ALIASES.items()},
    "dl_src": ("eth_src",),
    "dl_dst": ("eth_dst",),
    "dl_type": ("eth_type",),
    "dl_vlan": ("vlan_vid",),
    "dl_vlan_pcp": ("vlan_pcp",),
    "nw_src": ("ipv4_src", "ipv6_src"),
    "nw_dst": ("ipv4_dst", "ipv6_dst"),
    "ip_src": ("ipv4_src", "ipv6_src"),
    "ip_dst": ("ipv4_dst", "ipv6_dst"),
    "nw_proto": ("ip_proto",),
    "nw_tos": ("ip_dscp",),
    "nw_ecn": ("ip_ecn",),
    "ipv6_label": ("ipv6_flabel",),
    "tp_src": ("tcp_src", "udp_src", "sctp_src"),
    "tp_dst": ("tcp_dst", "udp_dst", "sctp_dst"),
    "icmp_type": ("icmpv4_type", "icmpv6_type"),
    "icmp_code": ("icmpv4_code", "icmpv6_code"),
    "nd_target": ("ipv6_nd_target",),
    "nd_sll": ("ipv6_nd_sll",),
    "nd_tll": ("ipv6_nd_tll",),
}

# Names that ovs-ofctl takes without a value.
_PROTOCOL_WORDS: Final = {
    **dict.fromkeys(("ip", "ipv6", "arp"), "dl_type"),
    **dict.fromkeys(("tcp", "udp", "sctp", "icmp", "icmp6"), "nw_proto"),
}
_OWN_USE = "it is the pipeline's own and no part of the packet"
_NOT_FOR_USERS: Final = (
    (re.compile(r"x{0,2}reg\d+|metadata|pkt_mark|conj_id|actset_output"), _OWN_USE),
    (re.compile(r"ct_(?:zone|mark|label)"), _OWN_USE),
    (re.compile(r"tun(?:nel)?_\w+"), "no port of this bridge is a tunnel of Open vSwitch"),
    (re.compile(r"in_phy_port"), "in_port says the same"),
    (re.compile(r"ipv6_exthdr|pbb_isid"), "Open vSwitch does not know this field"),
)


def _reason_against(name: str) -> str | None:
    return next((why for names, why in _NOT_FOR_USERS if names.fullmatch(name)), None)


_USABLE: Final = sorted(name for name in {*FIELDS, *_ALIASES} if _reason_against(name) is None)


def _fields_of(name: str) -> list[Field]:
    """What the name may stand for."""
    if reason := _reason_against(name):
        raise FieldRefusedError(f"{name} cannot be matched: {reason}", f"Take {name} out.")
    if name in _ALIASES:
        return [field_named(one) for one in _ALIASES[name]]
    if name in FIELDS:
        return [FIELDS[name]]
    if name in _PROTOCOL_WORDS:
        hint = f'Write "{_PROTOCOL_WORDS[name]}": "{name}".'
    else:
        nearest = nearest_of(name, _USABLE)
        hint = f"Did you mean {nearest}?" if nearest else "Name a field such as nw_dst or tcp_dst."
    raise FieldRefusedError(f"there is no match field {name}", hint)


# --- values -------------------------------------------------------------------------------------

_NO_TAG = 0xFFFF  # `dl_vlan` of a packet without a tag, ovs-fields(7)
_TOS_SHIFT = 2  # DSCP is the upper six bits of the TOS octet (RFC 2474)
_ARP_OP_MAX = 0xFF

_WORDS: Final[dict[str, dict[str, int]]] = {
    "eth_type": {
        **{kind.name.lower(): int(kind) for kind in EtherType},
        "ip": EtherType.IPV4,
        "mplsm": EtherType.MPLS_MULTICAST,
    },
    "ip_proto": {
        **{kind.name.lower(): int(kind) for kind in IpProtocol},
        "icmp6": IpProtocol.ICMPV6,
    },
}
_EXAMPLES: Final = {
    Form.PORT: "the name of a port",
    Form.MAC: "a MAC such as 02:00:00:00:00:01",
    Form.IPV4: "an address or a network without host bits, such as 10.0.0.0/24",
    Form.IPV6: "an address or a network without host bits, such as fd00::/64",
    Form.FLAGS: "flags such as +syn-ack",
    Form.FRAGMENT: "no, yes, first, later or not_later",
}


def _said(name: str, field: Field, given: str | int) -> FieldValue:
    """One field, its value read as people write it. Raises ValueError."""
    words = f"{name}={given}"
    if name == "dl_vlan":
        return FieldValue(field, _vlan(given), field.full_mask, words)
    if name == "nw_tos":
        return FieldValue(field, dscp_of_tos(given), field.full_mask, words)
    word = given.lower() if isinstance(given, str) else ""
    value, mask = parse_value(field, _WORDS.get(field.name, {}).get(word, given))
    if field.name == "vlan_vid" and value and not value & VLAN_PRESENT:
        raise ValueError("a tag without the bit that says that there is one")
    if field.name == "arp_op" and value > _ARP_OP_MAX:
        raise ValueError("more than the eight bits that Open vSwitch looks at")
    return FieldValue(field, value, mask, words)


def _vlan(given: str | int) -> int:
    number = int(str(given), 0)
    if number == _NO_TAG:
        return 0
    if number >> 12:
        raise ValueError("not the number of a VLAN")
    return number | VLAN_PRESENT


def dscp_of_tos(given: str | int) -> int:
    """The DSCP in a TOS octet. Raises ValueError when it has ECN's bits set, or is none."""
    tos = int(str(given), 0)
    if tos % (1 << _TOS_SHIFT) or not 0 <= tos <= 0xFF:
        raise ValueError("not a TOS octet without ECN")
    return tos >> _TOS_SHIFT


def meanings(
    name: str, given: str | int, port_number: Callable[[str], int | None]
) -> list[FieldValue]:
    """Every meaning of a name that the value fits, the likeliest first; at least one.

    Raises FieldRefusedError.
    """
    fields = _fields_of(name)
    if name == "in_port":
        return [_in_port(fields[0], str(given), port_number)]
    fitting = []
    for field in fields:
        try:
            fitting.append(_said(name, field, given))
        except ValueError:
            continue
    if not fitting:
        what = _expected(name, fields[0])
        raise FieldRefusedError(f"{given} is no value of {name}", f"Write {what}.")
    return fitting


def _in_port(field: Field, name: str, port_number: Callable[[str], int | None]) -> FieldValue:
    number = port_number(name)
    if number is None:
        raise FieldRefusedError(
            f"in_port={name}, but the bridge has no such port",
            "Name a port of an enabled hop or of a container.",
        )
    return FieldValue(field, number, field.full_mask, f"in_port={name}")


def _expected(name: str, field: Field) -> str:
    if name == "nw_tos":
        return "a multiple of 4 up to 252 (the other two bits are nw_ecn)"
    if field.name == "vlan_vid":
        return "dl_vlan with a number from 0 to 4095, or 0xffff for packets without a tag"
    if field.name == "arp_op":
        return f"a number from 0 to {_ARP_OP_MAX}"
    if field.name in _WORDS:
        return f"a number up to {field.full_mask:#x} or one of {', '.join(_WORDS[field.name])}"
    number = f"a number from 0 to {field.full_mask}"
    return _EXAMPLES.get(field.form, number + (", /mask after it" if field.maskable else ""))


def word_of(field_name: str, value: int) -> str:
    """A value as people say it: `tcp`, `ipv6`, or a number."""
    words = _WORDS.get(field_name, {})
    return next((word for word, number in words.items() if number == value), f"{value:#x}")
