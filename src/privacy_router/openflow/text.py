"""Matches, actions and flows in the words of ovs-ofctl, with names for ports and tables.

A namer turns a number into a name, or into None where the number has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.openflow.action_text import Names, format_action
from privacy_router.openflow.constants import VLAN_PRESENT, EtherType, FlowModFlag, IpProtocol
from privacy_router.openflow.fields import FIELDS, Form
from privacy_router.openflow.instructions import (
    ApplyActions,
    ClearActions,
    ExperimenterInstruction,
    GotoTable,
    Instruction,
    Meter,
    RawInstruction,
    WriteActions,
    WriteMetadata,
    canonical_instructions,
)
from privacy_router.openflow.notation import format_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.action_text import Namer
    from privacy_router.openflow.entries import FlowStats
    from privacy_router.openflow.flows import FlowMod
    from privacy_router.openflow.match import Match, MatchItem

_ETHERTYPES: Final = {
    EtherType.IPV4: "ip",
    EtherType.IPV6: "ipv6",
    EtherType.ARP: "arp",
    EtherType.RARP: "rarp",
    EtherType.MPLS: "mpls",
    EtherType.MPLS_MULTICAST: "mplsm",
}
_PROTOCOLS: Final = {
    (EtherType.IPV4, IpProtocol.ICMP): "icmp",
    (EtherType.IPV4, IpProtocol.TCP): "tcp",
    (EtherType.IPV4, IpProtocol.UDP): "udp",
    (EtherType.IPV4, IpProtocol.SCTP): "sctp",
    (EtherType.IPV6, IpProtocol.ICMPV6): "icmp6",
    (EtherType.IPV6, IpProtocol.TCP): "tcp6",
    (EtherType.IPV6, IpProtocol.UDP): "udp6",
    (EtherType.IPV6, IpProtocol.SCTP): "sctp6",
}
_WORDS: Final = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
    "vlan_pcp": "dl_vlan_pcp",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ipv6_flabel": "ipv6_label",
    "ip_proto": "nw_proto",
    "ip_ecn": "nw_ecn",
    "ip_frag": "nw_frag",
    "tcp_src": "tp_src",
    "tcp_dst": "tp_dst",
    "udp_src": "tp_src",
    "udp_dst": "tp_dst",
    "sctp_src": "tp_src",
    "sctp_dst": "tp_dst",
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
    "icmpv6_type": "icmp_type",
    "icmpv6_code": "icmp_code",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_sll": "nd_sll",
    "ipv6_nd_tll": "nd_tll",
}
# ovs-ofctl's order, as far as it differs from the wire's; the protocol stands after the first row.
_ORDER: Final = (
    *("conj_id", "pkt_mark", "actset_output", "ct_state", "ct_zone", "ct_mark", "ct_label"),
    "",
    *(f"reg{n}" for n in range(16)),
    *("tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "metadata"),
    *("in_port", "in_phy_port", "vlan_vid", "vlan_pcp", "eth_src", "eth_dst", "eth_type"),
    *("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "arp_spa", "arp_tpa", "ipv6_flabel"),
    *("ip_proto", "arp_op", "arp_sha", "arp_tha", "ip_dscp", "ip_ecn", "nw_ttl"),
    *("mpls_label", "mpls_tc", "mpls_ttl", "mpls_bos", "ip_frag"),
)
_RANK: Final = {name: rank for rank, name in enumerate(_ORDER)}
_TCP_FLAGS_LAST = 1
_ANY_TAG: Final = (FIELDS["vlan_vid"], VLAN_PRESENT, VLAN_PRESENT)
_ALL_METADATA = 0xFFFFFFFFFFFFFFFF
_FLAG_WORDS: Final = {
    FlowModFlag.SEND_FLOW_REM: "send_flow_rem",
    FlowModFlag.CHECK_OVERLAP: "check_overlap",
    FlowModFlag.RESET_COUNTS: "reset_counts",
    FlowModFlag.NO_PKT_COUNTS: "no_packet_counts",
    FlowModFlag.NO_BYT_COUNTS: "no_byte_counts",
}


def format_match(match: Match, port_name: Namer | None = None) -> str:
    """A match, e.g. "tcp,in_port=internal_100,nw_dst=10.0.0.0/24"; "" for every packet."""
    names = Names(port=port_name)
    return ",".join(_match_words(match, names))


def _match_words(match: Match, names: Names) -> list[str]:
    protocol, spoken = _protocol(match)
    if "vlan_pcp" in match and match.get("vlan_vid") == _ANY_TAG:
        spoken += ("vlan_vid",)
    items = [item for item in match if item.field.name not in spoken]
    ordered: list[tuple[tuple[int, int], str]] = [(_rank(i), _word(i, names)) for i in items]
    if protocol:
        ordered.append(((_RANK[""], 0), protocol))
    return [word for _, word in sorted(ordered, key=lambda pair: pair[0])]


def _rank(item: MatchItem) -> tuple[int, int]:
    last = _TCP_FLAGS_LAST if item.field.name == "tcp_flags" else 0
    return _RANK.get(item.field.name, len(_ORDER)), last


def _protocol(match: Match) -> tuple[str, tuple[str, ...]]:
    """The one word for the protocol, and the fields that it stands for."""
    ethertype, protocol = match.value("eth_type"), match.value("ip_proto")
    if ethertype is None:
        return "", ()
    if protocol is not None:
        both = _PROTOCOLS.get((EtherType(ethertype), IpProtocol(protocol)))
        if both is not None:
            return both, ("eth_type", "ip_proto")
    word = _ETHERTYPES.get(EtherType(ethertype), "")
    return word, ("eth_type",) if word else ()


def _word(item: MatchItem, names: Names) -> str:
    name = item.field.name
    if name == "vlan_vid":
        return _vlan(item)
    if name == "ip_dscp":
        return f"nw_tos={item.value << 2}"
    if name == "eth_type":
        return f"dl_type=0x{item.value:04x}"
    if item.field.form is Form.PORT:
        return f"{name}={names.of_port(item.value)}"
    return f"{_WORDS.get(name, name)}={format_value(item.field, item.value, item.mask)}"


def _vlan(item: MatchItem) -> str:
    if item.mask is None and item.value & VLAN_PRESENT:
        return f"dl_vlan={item.value & ~VLAN_PRESENT}"
    mask = item.field.full_mask if item.mask is None else item.mask
    return f"vlan_tci=0x{item.value:04x}/0x{mask:04x}"


# --- instructions -------------------------------------------------------------------------------


def format_actions(
    actions: Iterable[Action],
    port_name: Namer | None = None,
    table_name: Namer | None = None,
) -> str:
    """A list of actions, e.g. "dec_ttl,output:warp0"; "drop" for none."""
    names = Names(port=port_name, table=table_name)
    return ",".join(format_action(action, names) for action in actions) or "drop"


def format_instructions(
    instructions: Iterable[Instruction],
    port_name: Namer | None = None,
    table_name: Namer | None = None,
) -> str:
    """What a flow does, e.g. "dec_ttl,output:warp0" or "goto_table:privacy"; "drop" for nothing."""
    names = Names(port=port_name, table=table_name)
    return _instruction_words(instructions, names)


def _instruction_words(instructions: Iterable[Instruction], names: Names) -> str:
    ordered = canonical_instructions(tuple(instructions))
    words = [word for item in ordered for word in _instruction(item, names)]
    return ",".join(words) or "drop"


def _instruction(item: Instruction, names: Names) -> list[str]:
    match item:
        case ApplyActions(actions):
            return [format_action(action, names) for action in actions]
        case WriteActions(actions):
            return [f"write_actions({','.join(format_action(a, names) for a in actions)})"]
        case GotoTable(table_id):
            return [f"goto_table:{names.of_table(table_id)}"]
        case Meter(meter_id):
            return [f"meter:{meter_id}"]
        case ClearActions():
            return ["clear_actions"]
        case WriteMetadata(metadata, mask):
            suffix = "" if mask == _ALL_METADATA else f"/{mask:#x}"
            return [f"write_metadata:{metadata:#x}{suffix}"]
        case ExperimenterInstruction(experimenter, data):
            return [f"experimenter_{experimenter:#x}({data.hex()})"]
        case RawInstruction(kind, body):
            return [f"instruction_{kind}({body.hex()})"]
    return [repr(item)]


# --- flows --------------------------------------------------------------------------------------


def format_flow(
    flow: FlowMod | FlowStats,
    port_name: Namer | None = None,
    table_name: Namer | None = None,
) -> str:
    """A whole flow, without its counters.

    E.g. "cookie=0x5, table=privacy, priority=100,ip,in_port=warp0 actions=output:internal_100".
    """
    names = Names(port=port_name, table=table_name)
    head = [f"cookie={flow.cookie:#x}", f"table={names.of_table(flow.table_id)}"]
    content = flow.content()
    if content.idle_timeout_s:
        head.append(f"idle_timeout={content.idle_timeout_s}")
    if content.hard_timeout_s:
        head.append(f"hard_timeout={content.hard_timeout_s}")
    head += [_FLAG_WORDS[flag] for flag in _FLAG_WORDS if content.flags & flag]
    words = [f"priority={flow.priority}", *_match_words(flow.match, names)]
    actions = _instruction_words(flow.instructions, names)
    return f"{', '.join(head)}, {','.join(words)} actions={actions}"
