"""Actions as people write them (docs/flows.md), and on any bridge some more of ovs-ofctl's. Pure.

`drop`; `output:PORT`, `in_port`, `local`, `normal`, `flood`, `all`, `group:N`; before these
`dec_ttl`, `mod_nw_ttl:N`, `mod_nw_tos:N`, `mod_dl_src:MAC`, `mod_nw_dst:IP`, `mod_tp_dst:N` and so
on, `push_vlan`, `pop_vlan`, `set_field:VALUE->FIELD`, `set_queue:N`; first `meter:N`, and last
`goto_table:N`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from privacy_router.config.plugins.openflow import TABLE_MAX
from privacy_router.config.values import RESERVED_PORT_NAMES
from privacy_router.openflow import (
    VLAN_PRESENT,
    Action,
    ApplyActions,
    DecNwTtl,
    GotoTable,
    Group,
    Match,
    Meter,
    Output,
    PopVlan,
    PortNumber,
    PushVlan,
    SetField,
    SetNwTtl,
    SetQueue,
    set_field,
)
from privacy_router.openflow.fields import FIELDS, field_named
from privacy_router.pipeline.field_names import dscp_of_tos
from privacy_router.pipeline.notation import FlowRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privacy_router.openflow import Instruction

_MAY: Final = (
    "Use drop, or output:PORT, in_port, local, normal, flood, all, group:N or goto_table:N, after"
    " any of meter:N, dec_ttl, mod_nw_ttl:N, mod_nw_tos:N, mod_dl_src:MAC, mod_nw_dst:IP,"
    " mod_tp_dst:N, push_vlan, pop_vlan, set_field:VALUE->FIELD and set_queue:N."
)
_ACTION: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(?::(.*))?", re.DOTALL)
_SET_FIELD: Final = re.compile(r"(.+)->([a-z0-9_]+)")
_RESERVED: Final = {
    name: Output(int(PortNumber[name.upper()]))
    for name in ("in_port", "local", "normal", "flood", "all")
}
_NOT_HERE: Final = {
    **dict.fromkeys(("controller", "learn"), "op-dbus is no controller that packets are sent to"),
    **dict.fromkeys(
        ("resubmit", "ct", "clone", "conjunction", "load", "move", "note"),
        "it belongs to a pipeline of its own, not to a list of flows",
    ),
    **dict.fromkeys(
        ("mod_vlan_vid", "mod_vlan_pcp"), "write push_vlan, then set_field:N->vlan_vid"
    ),
}
_FIELD_NAMES: Final = {"dl_src": "eth_src", "dl_dst": "eth_dst", "nw_ecn": "ip_ecn"}


@dataclass(frozen=True)
class ToPort:
    """Output to a port by its name."""

    name: str


@dataclass(frozen=True)
class SetPort:
    """Set the source or destination port (`src`, `dst`) of the protocol that the match names."""

    end: str
    number: int


Step = Action | ToPort | SetPort


@dataclass(frozen=True)
class Does:
    """What a flow or a bucket does, ports by name; `where` is the key that says so."""

    where: str
    steps: tuple[Step, ...] = ()
    meter: int | None = None
    goto: int | None = None

    @property
    def ports(self) -> frozenset[str]:
        """The ports that packets are sent to, by name."""
        return frozenset(step.name for step in self.steps if isinstance(step, ToPort))

    @property
    def groups(self) -> frozenset[int]:
        """The groups that packets are handed to."""
        return frozenset(step.group_id for step in self.steps if isinstance(step, Group))

    @property
    def needs_ip(self) -> bool:
        """Whether only IP packets, of either version, can have this done to them."""
        return any(_is_of_ip(step) for step in self.steps)


def _is_of_ip(step: Step) -> bool:
    return isinstance(step, SetNwTtl | DecNwTtl) or (
        isinstance(step, SetField) and step.field in {"ip_dscp", "ip_ecn", "nw_ttl"}
    )


def read_actions(where: str, texts: Sequence[str], *, table: int | None) -> Does:
    """Read a list of actions; `table` is that of the flow, None for a bucket, which has no
    `meter`, `goto_table` and `group`.

    Raises FlowRefusedError that starts with `where` and the place in the list.
    """
    if [text.strip().lower() for text in texts] == ["drop"]:
        return Does(where)
    steps: list[Step] = []
    meter = goto = None
    for index, raw in enumerate(texts):
        text, here = raw.strip(), f"{where}[{index}]"
        word, value = _split(here, text)
        if word in {"meter", "goto_table", "group"} and table is None:
            raise _refused(here, text, "a bucket leads to ports only")
        if word == "meter":
            _require(here, text, index == 0, "a meter comes first")
            meter = _number(here, text, value, 1, 0xFFFF0000)
        elif word == "goto_table":
            _require(here, text, index == len(texts) - 1, "another table comes last")
            goto = _number(here, text, value, (table or 0) + 1, TABLE_MAX)
        else:
            steps.append(_step(here, text, word, value))
    return Does(where, tuple(steps), meter, goto)


def _split(where: str, text: str) -> tuple[str, str]:
    parts = _ACTION.fullmatch(text)
    if parts is None:
        raise _refused(where, text, "no action is written like that")
    return parts[1].lower(), (parts[2] or "").strip()


def _require(where: str, text: str, holds: bool, reason: str) -> None:
    if not holds:
        raise _refused(where, text, reason)


def _refused(where: str, text: str, reason: str) -> FlowRefusedError:
    return FlowRefusedError(f"{where}: {text}: {reason}", remedy=_MAY)


def _number(where: str, text: str, value: str, least: int, most: int) -> int:
    try:
        number = int(value, 0)
    except ValueError:
        raise _refused(where, text, "a number is expected") from None
    _require(where, text, least <= number <= most, f"a number from {least} to {most} is expected")
    return number


def _step(where: str, text: str, word: str, value: str) -> Step:
    if word == "output":
        _require(where, text, bool(value) and not value.isdigit(), "a port is named after output:")
        if value.lower() in RESERVED_PORT_NAMES:
            raise _refused(where, text, f"write {value.lower()} alone, if that port is meant")
        return ToPort(value)
    if word in _RESERVED and not value:
        return _RESERVED[word]
    try:
        step = _rewrite(word, value)
    except ValueError as error:
        raise _refused(where, text, f"no such value ({error})") from None
    if step is None:
        reason = "drop stands alone" if word == "drop" else _NOT_HERE.get(word, "no such action")
        raise _refused(where, text, reason)
    return step


def _rewrite(word: str, value: str) -> Step | None:
    """What changes the packet or its way; None for a word that does not. Raises ValueError."""
    if not value:
        return _BARE.get(word)
    reader = _WITH_VALUE.get(word)
    return None if reader is None else reader(value)


def _within(value: str, least: int, most: int) -> int:
    number = int(value, 0)
    if not least <= number <= most:
        raise ValueError(f"a number from {least} to {most} is expected")
    return number


def _set_field(value: str) -> Step:
    parts = _SET_FIELD.fullmatch(value)
    if parts is None:
        raise ValueError("set_field:VALUE->FIELD is expected")
    text, word = parts[1].strip(), parts[2]
    name = field_named(_FIELD_NAMES.get(word, word)).name
    if name not in _SETTABLE:
        raise ValueError(f"{word} is not a field to set; there are {', '.join(_SETTABLE)}")
    if name == "nw_ttl":
        return SetNwTtl(_within(text, 1, 0xFF))
    if name == "vlan_vid":
        return SetField(name, _within(text, 0, VLAN_PRESENT | 0xFFF) | VLAN_PRESENT)
    return set_field(name, text)


def _set_address(end: str, value: str) -> Step:
    return set_field(f"ipv{ip_address(value).version}_{end}", value)


_BARE: Final[dict[str, Step]] = {
    "dec_ttl": DecNwTtl(),
    "push_vlan": PushVlan(),
    "pop_vlan": PopVlan(),
    "strip_vlan": PopVlan(),
}
_WITH_VALUE: Final[dict[str, Callable[[str], Step]]] = {
    "group": lambda value: Group(_within(value, 1, 0xFFFFFF00)),
    "set_queue": lambda value: SetQueue(_within(value, 0, 0xFFFFFFFE)),
    "mod_nw_ttl": lambda value: SetNwTtl(_within(value, 1, 0xFF)),
    "mod_nw_tos": lambda value: set_field("ip_dscp", dscp_of_tos(value)),
    "mod_dl_src": lambda value: set_field("eth_src", value),
    "mod_dl_dst": lambda value: set_field("eth_dst", value),
    "mod_nw_src": lambda value: _set_address("src", value),
    "mod_nw_dst": lambda value: _set_address("dst", value),
    "mod_tp_src": lambda value: SetPort("src", _within(value, 0, 0xFFFF)),
    "mod_tp_dst": lambda value: SetPort("dst", _within(value, 0, 0xFFFF)),
    "set_field": _set_field,
}
_SETTABLE: Final = (
    *("eth_src", "eth_dst", "vlan_vid", "vlan_pcp", "ipv4_src", "ipv4_dst", "ipv6_src"),
    *("ipv6_dst", "ip_dscp", "ip_ecn", "nw_ttl", "tcp_src", "tcp_dst", "udp_src", "udp_dst"),
    *("sctp_src", "sctp_dst", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
)


# --- with the numbers of ports --------------------------------------------------------------------


def instructions(
    does: Does, match: Match, port_number: Callable[[str], int]
) -> tuple[Instruction, ...]:
    """What is sent to the switch for packets of that match.

    Raises FlowRefusedError for a rewrite of something that these packets need not have.
    """
    found: list[Instruction] = []
    if does.meter is not None:
        found.append(Meter(does.meter))
    if does.steps:
        found.append(ApplyActions(actions(does, match, port_number)))
    if does.goto is not None:
        found.append(GotoTable(does.goto))
    return tuple(found)


def actions(
    does: Does, match: Match | None, port_number: Callable[[str], int]
) -> tuple[Action, ...]:
    """The same as a list of actions. With None as match (for a bucket, which every packet may
    come to) nothing is known of the packets, and the switch judges."""
    found: list[Action] = []
    for step in does.steps:
        action = _resolved(does, step, match, port_number)
        if match is not None and isinstance(action, SetField):
            tagged = any(isinstance(one, PushVlan) for one in found)
            _require_field(does, action, match, tagged=tagged)
        found.append(action)
    return tuple(found)


def _resolved(
    does: Does, step: Step, match: Match | None, port_number: Callable[[str], int]
) -> Action:
    if isinstance(step, ToPort):
        return Output(port_number(step.name))
    if isinstance(step, SetPort):
        protocol = None if match is None else match.value("ip_proto")
        name = {6: "tcp", 17: "udp", 132: "sctp"}.get(protocol or 0)
        if name is None:
            raise FlowRefusedError(
                f"{does.where}: mod_tp_{step.end}:{step.number} is a port of an unknown protocol",
                remedy="Say nw_proto (tcp, udp or sctp) in match_fields.",
            )
        return SetField(f"{name}_{step.end}", step.number)
    return step


def _require_field(does: Does, action: SetField, match: Match, *, tagged: bool) -> None:
    field = FIELDS[action.field]
    # a tag that is to be set must be there; one that is matched need not (ovs-actions(7))
    needs = (*field.needs, ("vlan_vid", ())) if action.field == "vlan_vid" else field.needs
    for need, values in needs:
        if need == "vlan_vid":
            item = match.get(need)
            holds = tagged or (item is not None and bool(item.value & VLAN_PRESENT))
        else:
            holds = match.value(need) in values
        if not holds:
            wanted = " or ".join(f"{value:#x}" for value in values) or "a value"
            raise FlowRefusedError(
                f"{does.where}: a packet of this flow need not have {action.field} to set:"
                f" {need} is not {wanted}",
                remedy=f"Say {need} in match_fields"
                + (", or push_vlan before." if need == "vlan_vid" else "."),
            )
