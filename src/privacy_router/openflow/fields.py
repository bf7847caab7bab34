"""The match fields of OpenFlow 1.3 (7.2.3.7) and those that Open vSwitch adds (ovs-fields(7))."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Final

from privacy_router.openflow.constants import (
    ONF_EXPERIMENTER,
    VLAN_PRESENT,
    EtherType,
    IpProtocol,
)


class OxmClass(IntEnum):
    """OpenFlow 1.3.5, 7.2.3.3 (ofp_oxm_class), and the registers of OpenFlow 1.5."""

    NXM_0 = 0x0000
    NXM_1 = 0x0001
    BASIC = 0x8000
    PACKET_REGISTERS = 0x8001
    EXPERIMENTER = 0xFFFF


class Form(IntEnum):
    """How people write the values of a field."""

    DECIMAL = 0
    HEX = 1
    PORT = 2
    MAC = 3
    IPV4 = 4
    IPV6 = 5
    FLAGS = 6
    FRAGMENT = 7


Prerequisites = tuple[tuple[str, tuple[int, ...]], ...]  # (field, values that will do), all needed


@dataclass(frozen=True, eq=False)
class Field:
    """One kind of match field. Two fields are the same only when they are the same object.

    `bits` is how many low bits of its `byte_count` bytes carry a value. `rank` is its place in a
    canonical match.
    """

    name: str
    oxm_class: int
    number: int
    bits: int
    form: Form = Form.DECIMAL
    maskable: bool = False
    needs: Prerequisites = ()
    experimenter: int | None = None
    rank: int = 0
    byte_count: int = 0
    known: bool = True
    full_mask: int = field(init=False, repr=False)
    header: bytes = field(init=False, repr=False)
    masked_header: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        byte_count = self.byte_count or (self.bits + 7) // 8
        put = object.__setattr__
        put(self, "byte_count", byte_count)
        put(self, "full_mask", (1 << self.bits) - 1)
        put(self, "header", self._header(0, byte_count))
        put(self, "masked_header", self._header(1, 2 * byte_count))

    def _header(self, masked: int, payload_bytes: int) -> bytes:
        prefix = b"" if self.experimenter is None else struct.pack("!I", self.experimenter)
        length = payload_bytes + len(prefix)
        if length > _MAX_OXM_BYTES:
            return b""
        return struct.pack("!HBB", self.oxm_class, self.number << 1 | masked, length) + prefix

    def __repr__(self) -> str:
        return f"<Field {self.name}>"


_MAX_OXM_BYTES = 0xFF
_UNKNOWN_NAME: Final = re.compile(r"oxm_([0-9a-f]{4})(?:_([0-9a-f]{8}))?_(\d{1,3})_(\d{1,3})")

_IPV4: Prerequisites = (("eth_type", (EtherType.IPV4,)),)
_IPV6: Prerequisites = (("eth_type", (EtherType.IPV6,)),)
_IP: Prerequisites = (("eth_type", (EtherType.IPV4, EtherType.IPV6)),)
_ARP: Prerequisites = (("eth_type", (EtherType.ARP,)),)
_MPLS: Prerequisites = (("eth_type", (EtherType.MPLS, EtherType.MPLS_MULTICAST)),)
_PBB: Prerequisites = (("eth_type", (EtherType.PBB,)),)
_TCP: Prerequisites = (("ip_proto", (IpProtocol.TCP,)), *_IP)
_UDP: Prerequisites = (("ip_proto", (IpProtocol.UDP,)), *_IP)
_SCTP: Prerequisites = (("ip_proto", (IpProtocol.SCTP,)), *_IP)
_ICMP: Prerequisites = (("ip_proto", (IpProtocol.ICMP,)), *_IPV4)
_ICMPV6: Prerequisites = (("ip_proto", (IpProtocol.ICMPV6,)), *_IPV6)
_ND: Prerequisites = (("icmpv6_type", (135, 136)), *_ICMPV6)
_ND_SOLICIT: Prerequisites = (("icmpv6_type", (135,)), *_ICMPV6)
_ND_ADVERT: Prerequisites = (("icmpv6_type", (136,)), *_ICMPV6)

_BASIC, _NXM = OxmClass.BASIC, OxmClass.NXM_1


def _registers() -> list[Field]:
    return [Field(f"reg{n}", _NXM, n, 32, Form.HEX, True) for n in range(16)]


# In the order in which Open vSwitch writes them: what is read back is then already canonical.
_DECLARED: Final = (
    Field("conj_id", _NXM, 37, 32),
    Field("in_port", _BASIC, 0, 32, Form.PORT),
    Field("in_phy_port", _BASIC, 1, 32, Form.PORT, needs=(("in_port", ()),)),
    Field("actset_output", OxmClass.EXPERIMENTER, 43, 32, Form.PORT, experimenter=ONF_EXPERIMENTER),
    Field("eth_src", _BASIC, 4, 48, Form.MAC, True),
    Field("eth_dst", _BASIC, 3, 48, Form.MAC, True),
    Field("eth_type", _BASIC, 5, 16, Form.HEX),
    Field("vlan_vid", _BASIC, 6, 13, Form.HEX, True),
    Field("vlan_pcp", _BASIC, 7, 3, needs=(("vlan_vid", (VLAN_PRESENT,)),)),
    Field("mpls_label", _BASIC, 34, 20, needs=_MPLS, byte_count=4),
    Field("mpls_tc", _BASIC, 35, 3, needs=_MPLS),
    Field("mpls_bos", _BASIC, 36, 1, needs=_MPLS),
    Field("mpls_ttl", _NXM, 30, 8, needs=_MPLS),
    Field("ipv4_src", _BASIC, 11, 32, Form.IPV4, True, _IPV4),
    Field("ipv4_dst", _BASIC, 12, 32, Form.IPV4, True, _IPV4),
    Field("ipv6_src", _BASIC, 26, 128, Form.IPV6, True, _IPV6),
    Field("ipv6_dst", _BASIC, 27, 128, Form.IPV6, True, _IPV6),
    Field("ipv6_flabel", _BASIC, 28, 20, Form.HEX, True, _IPV6, byte_count=4),
    Field("ip_frag", _NXM, 26, 2, Form.FRAGMENT, True, _IP),
    Field("ip_dscp", _BASIC, 8, 6, needs=_IP),
    Field("ip_ecn", _BASIC, 9, 2, needs=_IP),
    Field("nw_ttl", _NXM, 29, 8, needs=_IP),
    Field("ip_proto", _BASIC, 10, 8, needs=_IP),
    Field("tcp_src", _BASIC, 13, 16, maskable=True, needs=_TCP),
    Field("tcp_dst", _BASIC, 14, 16, maskable=True, needs=_TCP),
    Field(
        *("tcp_flags", OxmClass.EXPERIMENTER, 42, 12, Form.FLAGS, True, _TCP),
        experimenter=ONF_EXPERIMENTER,
    ),
    Field("udp_src", _BASIC, 15, 16, maskable=True, needs=_UDP),
    Field("udp_dst", _BASIC, 16, 16, maskable=True, needs=_UDP),
    Field("sctp_src", _BASIC, 17, 16, maskable=True, needs=_SCTP),
    Field("sctp_dst", _BASIC, 18, 16, maskable=True, needs=_SCTP),
    Field("icmpv4_type", _BASIC, 19, 8, needs=_ICMP),
    Field("icmpv4_code", _BASIC, 20, 8, needs=_ICMP),
    Field("icmpv6_type", _BASIC, 29, 8, needs=_ICMPV6),
    Field("icmpv6_code", _BASIC, 30, 8, needs=_ICMPV6),
    Field("ipv6_nd_target", _BASIC, 31, 128, Form.IPV6, True, _ND),
    Field("ipv6_nd_sll", _BASIC, 32, 48, Form.MAC, True, _ND_SOLICIT),
    Field("ipv6_nd_tll", _BASIC, 33, 48, Form.MAC, True, _ND_ADVERT),
    Field("ipv6_exthdr", _BASIC, 39, 9, Form.HEX, True, _IPV6),
    Field("arp_op", _BASIC, 21, 16, needs=_ARP),
    Field("arp_spa", _BASIC, 22, 32, Form.IPV4, True, _ARP),
    Field("arp_tpa", _BASIC, 23, 32, Form.IPV4, True, _ARP),
    Field("arp_sha", _BASIC, 24, 48, Form.MAC, True, _ARP),
    Field("arp_tha", _BASIC, 25, 48, Form.MAC, True, _ARP),
    Field("pbb_isid", _BASIC, 37, 24, Form.HEX, True, _PBB),
    Field("tun_id", _BASIC, 38, 64, Form.HEX, True),
    Field("tun_src", _NXM, 31, 32, Form.IPV4, True),
    Field("tun_dst", _NXM, 32, 32, Form.IPV4, True),
    Field("tun_ipv6_src", _NXM, 109, 128, Form.IPV6, True),
    Field("tun_ipv6_dst", _NXM, 110, 128, Form.IPV6, True),
    *_registers(),
    Field("pkt_mark", _NXM, 33, 32, Form.HEX, True),
    Field("ct_state", _NXM, 105, 8, Form.FLAGS, True, byte_count=4),
    Field("ct_zone", _NXM, 106, 16),
    Field("ct_mark", _NXM, 107, 32, Form.HEX, True),
    Field("ct_label", _NXM, 108, 128, Form.HEX, True),
    Field("metadata", _BASIC, 2, 64, Form.HEX, True),
)

# Other ways to say the same field on the wire: (class, number, experimenter) -> name. Open
# vSwitch gives NXM headers for fields that it also has as OXM, in actions above all.
_ALSO_ON_WIRE: Final = {
    (OxmClass.NXM_0, 1, None): "eth_dst",
    (OxmClass.NXM_0, 2, None): "eth_src",
    (OxmClass.NXM_0, 3, None): "eth_type",
    (OxmClass.NXM_0, 6, None): "ip_proto",
    (OxmClass.NXM_0, 7, None): "ipv4_src",
    (OxmClass.NXM_0, 8, None): "ipv4_dst",
    (OxmClass.NXM_0, 9, None): "tcp_src",
    (OxmClass.NXM_0, 10, None): "tcp_dst",
    (OxmClass.NXM_0, 11, None): "udp_src",
    (OxmClass.NXM_0, 12, None): "udp_dst",
    (OxmClass.NXM_0, 13, None): "icmpv4_type",
    (OxmClass.NXM_0, 14, None): "icmpv4_code",
    (OxmClass.NXM_0, 15, None): "arp_op",
    (OxmClass.NXM_0, 16, None): "arp_spa",
    (OxmClass.NXM_0, 17, None): "arp_tpa",
    (OxmClass.NXM_1, 16, None): "tun_id",
    (OxmClass.NXM_1, 17, None): "arp_sha",
    (OxmClass.NXM_1, 18, None): "arp_tha",
    (OxmClass.NXM_1, 19, None): "ipv6_src",
    (OxmClass.NXM_1, 20, None): "ipv6_dst",
    (OxmClass.NXM_1, 21, None): "icmpv6_type",
    (OxmClass.NXM_1, 22, None): "icmpv6_code",
    (OxmClass.NXM_1, 23, None): "ipv6_nd_target",
    (OxmClass.NXM_1, 24, None): "ipv6_nd_sll",
    (OxmClass.NXM_1, 25, None): "ipv6_nd_tll",
    (OxmClass.NXM_1, 27, None): "ipv6_flabel",
    (OxmClass.NXM_1, 28, None): "ip_ecn",
    (OxmClass.NXM_1, 34, None): "tcp_flags",
    (OxmClass.BASIC, 42, None): "tcp_flags",
    (OxmClass.BASIC, 43, None): "actset_output",
}

ALIASES: Final = {
    "tunnel_id": "tun_id",
    "nw_frag": "ip_frag",
    "ip_ttl": "nw_ttl",
}

# Wide registers overlap the plain ones, and Open vSwitch reads them back as plain ones.
WIDE_REGISTERS: Final = {
    **{f"xreg{n}": tuple(f"reg{2 * n + i}" for i in range(2)) for n in range(8)},
    **{f"xxreg{n}": tuple(f"reg{4 * n + i}" for i in range(4)) for n in range(4)},
}

FIELDS: Final[dict[str, Field]] = {}
_BY_HEADER: Final[dict[tuple[int, int, int | None], Field]] = {}

_NXM_HEADERS: Final[dict[str, bytes]] = {}


def _register_all() -> None:
    for rank, declared in enumerate(_DECLARED):
        object.__setattr__(declared, "rank", rank)
        FIELDS[declared.name] = declared
        _BY_HEADER[declared.oxm_class, declared.number, declared.experimenter] = declared
    for key, name in _ALSO_ON_WIRE.items():
        _BY_HEADER[key] = FIELDS[name]
        if key[0] in (OxmClass.NXM_0, OxmClass.NXM_1):
            header = struct.pack("!HBB", key[0], key[1] << 1, FIELDS[name].byte_count)
            _NXM_HEADERS.setdefault(name, header)
    _register_wide()


def _register_wide() -> None:
    for n in range(8):
        wide = Field(f"xreg{n}", OxmClass.PACKET_REGISTERS, n, 64, Form.HEX, True, rank=1000 + n)
        _BY_HEADER[OxmClass.PACKET_REGISTERS, n, None] = wide
        FIELDS[wide.name] = wide
    for n in range(4):
        wide = Field(f"xxreg{n}", _NXM, 111 + n, 128, Form.HEX, True, rank=1010 + n)
        _BY_HEADER[_NXM, 111 + n, None] = wide
        FIELDS[wide.name] = wide


_register_all()


def field_named(name: str) -> Field:
    """The field of that name or alias. Raises ValueError for a name that nothing has."""
    found = FIELDS.get(name) or FIELDS.get(ALIASES.get(name, ""))
    if found is not None:
        return found
    parts = _UNKNOWN_NAME.fullmatch(name)
    if parts is None:
        raise ValueError(f"there is no match field {name!r}")
    whose = int(parts[2], 16) if parts[2] else None
    return _unknown(int(parts[1], 16), int(parts[3]), whose, int(parts[4]))


def nxm_header(field: Field) -> bytes:
    """The header in Nicira's own form where there is one: what Open vSwitch writes in `learn`."""
    return _NXM_HEADERS.get(field.name, field.header)


def known_field(oxm_class: int, number: int, experimenter: int | None) -> Field | None:
    """The field of those numbers, when it is declared above."""
    return _BY_HEADER.get((oxm_class, number, experimenter))


def field_on_wire(oxm_class: int, number: int, experimenter: int | None, byte_count: int) -> Field:
    """The field of an OXM header, made up on the spot when it is not declared above."""
    known = known_field(oxm_class, number, experimenter)
    if known is not None and known.byte_count == byte_count:
        return known
    return _unknown(oxm_class, number, experimenter, byte_count)


@lru_cache(maxsize=1024)
def _unknown(oxm_class: int, number: int, experimenter: int | None, byte_count: int) -> Field:
    whose = "" if experimenter is None else f"_{experimenter:08x}"
    return Field(
        f"oxm_{oxm_class:04x}{whose}_{number}_{byte_count}",
        *(oxm_class, number, byte_count * 8, Form.HEX, True),
        experimenter=experimenter,
        rank=2000 + number,
        byte_count=byte_count,
        known=False,
    )
