"""Actions in the words of ovs-ofctl."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.actions import (
    DecNwTtl,
    Group,
    Output,
    PopVlan,
    PushVlan,
    RawAction,
    SetField,
    SetNwTtl,
    SetQueue,
)
from privacy_router.openflow.constants import (
    CtFlag,
    FlowModFlag,
    NatFlag,
    PacketInReason,
    PortNumber,
)
from privacy_router.openflow.controller_action import WHOLE_PACKET, SendToController
from privacy_router.openflow.fields import Form, field_named
from privacy_router.openflow.labels import (
    CopyTtlIn,
    CopyTtlOut,
    DecMplsTtl,
    PopMpls,
    PopPbb,
    PushMpls,
    PushPbb,
    SetMplsTtl,
)
from privacy_router.openflow.learn import Learn, Learned
from privacy_router.openflow.nicira import (
    NO_TABLE,
    RESUBMIT_IN_PORT,
    Clone,
    Conjunction,
    Ct,
    Load,
    Move,
    Nat,
    NiciraAction,
    Note,
    Resubmit,
    SetFieldMasked,
)
from privacy_router.openflow.notation import format_port, format_value

if TYPE_CHECKING:
    from privacy_router.openflow.action import Action

Namer = Callable[[int], str | None]


@dataclass(frozen=True)
class Names:
    """Names for numbers, where there are any."""

    port: Namer | None = None
    table: Namer | None = None

    def of_port(self, number: int) -> str:
        """A port's name, a reserved port's word, or the number."""
        return (self.port and self.port(number)) or format_port(number)

    def of_table(self, number: int) -> str:
        """A table's name or number."""
        return (self.table and self.table(number)) or str(number)


_WORDS: Final = {"ipv4_src": "ip_src", "ipv4_dst": "ip_dst", "ip_ecn": "nw_ecn"}
_NAT_WORDS: Final = {
    NatFlag.SRC: "src",
    NatFlag.DST: "dst",
}
_NAT_OPTIONS: Final = {
    NatFlag.PERSISTENT: "persistent",
    NatFlag.PROTO_HASH: "hash",
    NatFlag.PROTO_RANDOM: "random",
}
_LABEL_WORDS: Final[dict[type, str]] = {
    CopyTtlOut: "copy_ttl_out",
    CopyTtlIn: "copy_ttl_in",
    DecMplsTtl: "dec_mpls_ttl",
    PopPbb: "pop_pbb",
}
_DEFAULT_PRIORITY = 0x8000
_ALGORITHMS: Final = {21: "ftp", 69: "tftp"}


def format_action(action: Action, names: Names) -> str:
    """One action."""
    match action:
        case Output(port, max_len):
            return _output(port, max_len, names)
        case SetField(field, number):
            return f"set_field:{_value(field, number, None, names)}->{_WORDS.get(field, field)}"
        case Resubmit(table_id, in_port):
            where = "" if in_port == RESUBMIT_IN_PORT else names.of_port(in_port)
            return f"resubmit({where},{names.of_table(table_id)})"
        case Ct():
            return _ct(action, names)
        case Nat():
            return _nat(action)
        case SendToController():
            return _punt(action)
        case Group() | SetQueue() | SetNwTtl() | DecNwTtl() | PushVlan() | PopVlan():
            return _simple(action)
        case _ if (word := _label(action)) is not None:
            return word
    return _rare(action, names)


def _label(action: Action) -> str | None:
    """Actions on MPLS and PBB headers."""
    bare = _LABEL_WORDS.get(type(action))
    match action:
        case SetMplsTtl(ttl):
            return f"set_mpls_ttl({ttl})"
        case PushMpls(ethertype):
            return f"push_mpls:{ethertype:#06x}"
        case PopMpls(ethertype):
            return f"pop_mpls:{ethertype:#06x}"
        case PushPbb(ethertype):
            return f"push_pbb:{ethertype:#06x}"
    return bare


def _output(port: int, max_len: int, names: Names) -> str:
    if port == PortNumber.CONTROLLER:
        return f"CONTROLLER:{max_len}"
    name = names.of_port(port)
    return name if port > PortNumber.MAX and name == format_port(port) else f"output:{name}"


def _value(field_name: str, value: int, mask: int | None, names: Names) -> str:
    field = field_named(field_name)
    if field.form is Form.PORT and mask is None:
        return names.of_port(value)
    return format_value(field, value, mask)


def _simple(action: Action) -> str:
    match action:
        case Group(group_id):
            return f"group:{group_id}"
        case SetQueue(queue_id):
            return f"set_queue:{queue_id}"
        case SetNwTtl(ttl):
            return f"mod_nw_ttl:{ttl}"
        case PushVlan(ethertype):
            return f"push_vlan:{ethertype:#06x}"
        case PopVlan():
            return "pop_vlan"
    return "dec_ttl"


def _rare(action: Action, names: Names) -> str:
    match action:
        case Load(field, value, bits, offset):
            return f"load:{value:#x}->{field}{_bits(offset, bits)}"
        case Move(source, destination, bits, source_offset, destination_offset):
            there = _bits(destination_offset, bits)
            return f"move:{source}{_bits(source_offset, bits)}->{destination}{there}"
        case SetFieldMasked(field, value, mask):
            return f"set_field:{_value(field, value, mask, names)}->{_WORDS.get(field, field)}"
        case Conjunction(conjunction_id, dimension, count):
            return f"conjunction({conjunction_id},{dimension + 1}/{count})"
        case Clone(actions):
            return f"clone({','.join(format_action(each, names) for each in actions)})"
        case Learn():
            return _learn(action, names)
        case Note(data):
            return f"note:{data.hex('.')}"
        case NiciraAction(subtype, body):
            return f"nicira_{subtype}({body.hex()})"
        case RawAction(action_type, body):
            return f"action_{action_type}({body.hex()})"
    return repr(action)


def _punt(punt: SendToController) -> str:
    if punt == SendToController(punt.max_len):
        return f"CONTROLLER:{punt.max_len}"
    words = [f"reason={PacketInReason(punt.reason).name.lower()}"]
    words = words if punt.reason != PacketInReason.ACTION else []
    words += [f"max_len={punt.max_len}"] if punt.max_len != WHOLE_PACKET else []
    words += [f"id={punt.controller_id}"] if punt.controller_id else []
    words += [f"userdata={punt.userdata.hex('.')}"] if punt.userdata else []
    words += ["pause"] if punt.pause else []
    words += [f"meter_id={punt.meter_id}"] if punt.meter_id is not None else []
    return f"controller({','.join(words)})"


def _learn(learn: Learn, names: Names) -> str:
    words = [f"table={names.of_table(learn.table_id)}"]
    for word, number in (
        ("idle_timeout", learn.idle_timeout_s),
        ("hard_timeout", learn.hard_timeout_s),
        ("fin_idle_timeout", learn.fin_idle_timeout_s),
        ("fin_hard_timeout", learn.fin_hard_timeout_s),
    ):
        words += [f"{word}={number}"] if number else []
    words += [f"priority={learn.priority}"] if learn.priority != _DEFAULT_PRIORITY else []
    words += ["send_flow_rem"] if learn.flags & FlowModFlag.SEND_FLOW_REM else []
    words += [f"cookie={learn.cookie:#x}"] if learn.cookie else []
    return f"learn({','.join([*words, *map(_learned, learn.parts)])})"


def _learned(part: Learned) -> str:
    source = (
        f"{part.source:#x}"
        if isinstance(part.source, int)
        else (part.source + _bits(part.source_offset, part.bits))
    )
    if part.destination is None:
        return f"output:{source}"
    destination = part.destination + _bits(part.destination_offset, part.bits)
    return f"load:{source}->{destination}" if part.loads else f"{destination}={source}"


def _bits(offset: int, bits: int) -> str:
    return f"[{offset}]" if bits == 1 else f"[{offset}..{offset + bits - 1}]"


def _ct(ct: Ct, names: Names) -> str:
    words = [str(flag.name).lower() for flag in CtFlag if ct.flags & flag]
    if ct.table_id != NO_TABLE:
        words.append(f"table={names.of_table(ct.table_id)}")
    if ct.zone_field is not None:
        words.append(f"zone={ct.zone_field}{_bits(ct.zone >> 6, (ct.zone & 0x3F) + 1)}")
    elif ct.zone:
        words.append(f"zone={ct.zone}")
    nested = [action for action in ct.actions if not isinstance(action, Nat)]
    words += [_nat(action) for action in ct.actions if isinstance(action, Nat)]
    if nested:
        words.append(f"exec({','.join(format_action(action, names) for action in nested)})")
    if ct.alg:
        words.append(f"alg={_ALGORITHMS.get(ct.alg, ct.alg)}")
    return f"ct({','.join(words)})" if words else "ct"


def _nat(nat: Nat) -> str:
    directions = [word for flag, word in _NAT_WORDS.items() if nat.flags & flag]
    if not directions:
        return "nat"
    where = _nat_range(nat)
    words = [directions[0] + (f"={where}" if where else "")]
    words += [word for flag, word in _NAT_OPTIONS.items() if nat.flags & flag]
    return f"nat({','.join(words)})"


def _nat_range(nat: Nat) -> str:
    if nat.address_min is None:
        return ""
    bracketed = nat.address_min.version == 6 and nat.port_min is not None
    text = f"[{nat.address_min}]" if bracketed else str(nat.address_min)
    if nat.address_max is not None:
        text += f"-[{nat.address_max}]" if bracketed else f"-{nat.address_max}"
    if nat.port_min is not None:
        text += f":{nat.port_min}"
        text += f"-{nat.port_max}" if nat.port_max is not None else ""
    return text
