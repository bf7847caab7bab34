"""Flows as people write them: `tp_dst`, `nw_dst`, `dl_type`, `mod_nw_ttl`, `output:warp0`.

What a packet must be for a field to exist in it (its prerequisites) is added here: on the wire a
flow without them is an error, and ovs-ofctl would leave out the field and match everything. What
a flow may not do with a packet is refused here with the reason; whether it may send a packet to
the port that it names is not judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from privacy_router.config.values import RESERVED_PORT_NAMES
from privacy_router.errors import InvalidError
from privacy_router.openflow.actions import DecNwTtl, SetNwTtl, set_field
from privacy_router.openflow.constants import VLAN_PRESENT, EtherType, IpProtocol
from privacy_router.openflow.fields import ALIASES, FIELDS
from privacy_router.openflow.match import Match
from privacy_router.pipeline.field_names import (
    FieldRefusedError,
    FieldValue,
    dscp_of_tos,
    meanings,
    word_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.fields import Prerequisites


class FlowRefusedError(InvalidError):
    """A flow of the configuration says nothing that makes sense, or would bypass the pipeline."""


# --- matches ------------------------------------------------------------------------------------

_Items = dict[str, FieldValue]
_NEVER_GUESSED: Final = {"tp_src", "tp_dst"}
# Both are allowed in either version on the wire, and occur in one only.
_VERSION_OF: Final[dict[int, int]] = {
    IpProtocol.ICMP: EtherType.IPV4,
    IpProtocol.ICMPV6: EtherType.IPV6,
}
_IP: Final = (EtherType.IPV4, EtherType.IPV6)


class _ContradictionError(InvalidError):
    """No packet has all of the fields with these values."""


def matches(
    where: str, fields: Mapping[str, str | int], port_number: Callable[[str], int | None]
) -> tuple[Match, ...]:
    """The packets that have all of the `fields`, in as few matches as that takes, at least one.

    Fields that both versions of IP have, such as tcp_dst, make one match for IPv4 and one for
    IPv6; nw_dst=10.0.0.0/8 says IPv4 by its value, nw_proto=icmp by being ICMP's first version.
    `port_number` gives the OpenFlow number of a port by its name, or None.

    Raises FlowRefusedError, starting with `where`, for unknown fields (with the nearest name),
    the pipeline's own ones, values that do not fit, contradictions, and tp_src or tp_dst of an
    unknown protocol.
    """
    try:
        candidates = [meanings(name, given, port_number) for name, given in fields.items()]
    except FieldRefusedError as error:
        raise FlowRefusedError(f"{where}: {error}", remedy=error.remedy) from None
    readings: list[tuple[tuple[FieldValue, ...], list[_Items]]] = []
    conflicts: list[str] = []
    for reading in product(*candidates):
        try:
            readings.append((reading, _completed(_by_field(reading))))
        except _ContradictionError as error:
            conflicts.append(str(error))
    if not readings:
        raise FlowRefusedError(
            f"{where}: no packet is like that: {conflicts[0]}",
            remedy="Take one of the two out, or write a flow for each.",
        )
    _refuse_guessing(where, fields, [reading for reading, _ in readings])
    return tuple(_match(items) for items in readings[0][1])


def _refuse_guessing(
    where: str, fields: Mapping[str, str | int], readings: list[tuple[FieldValue, ...]]
) -> None:
    for position, name in enumerate(fields):
        meant = [reading[position].field.name for reading in readings]
        if name in _NEVER_GUESSED and len(set(meant)) > 1:
            tcp, udp, *_ = dict.fromkeys(meant)
            raise FlowRefusedError(
                f"{where}: {name} is a port of an unknown protocol",
                remedy=f"Say {tcp} or {udp}, or add nw_proto.",
            )


def _by_field(reading: Iterable[FieldValue]) -> _Items:
    items: _Items = {}
    for item in reading:
        other = items.setdefault(item.field.name, item)
        if other is not item:
            raise _ContradictionError(f"{other.words} and {item.words} are about the same field")
    return items


def _match(items: _Items) -> Match:
    return Match(**{name: (item.value, item.mask) for name, item in items.items()})


def _completed(items: _Items) -> list[_Items]:
    """The items with all that they need: several sets where several values will do.

    Raises _ContradictionError when there is none.
    """
    for item in items.values():
        for need, values in _needs(item):
            present = items.get(need)
            if present is None:
                return _with_each(items, item, need, values)
            if not _will_do(present, values):
                raise _ContradictionError(_conflict(item, present, need, values))
    return [items]


def _needs(item: FieldValue) -> Prerequisites:
    version = _VERSION_OF.get(item.value) if item.field.name == "ip_proto" else None
    return item.field.needs if version is None else (("eth_type", (version,)),)


def _with_each(items: _Items, item: FieldValue, need: str, values: tuple[int, ...]) -> list[_Items]:
    sets: list[_Items] = []
    conflicts: list[_ContradictionError] = []
    field = FIELDS[need]
    for value in values:
        mask = value if need == "vlan_vid" else field.full_mask
        try:
            sets += _completed({**items, need: FieldValue(field, value, mask, item.words)})
        except _ContradictionError as error:
            conflicts.append(error)
    if not sets:
        raise conflicts[0]
    return sets


def _will_do(item: FieldValue, values: tuple[int, ...]) -> bool:
    if item.field.name == "vlan_vid":
        return bool(item.value & VLAN_PRESENT)
    return item.mask == item.field.full_mask and item.value in values


def _conflict(item: FieldValue, present: FieldValue, need: str, values: tuple[int, ...]) -> str:
    wanted = " or ".join(word_of(need, value) for value in values)
    found = word_of(need, present.value)
    against = present.words if present.words.endswith(found) else f"{present.words} ({found})"
    return f"{item.words} needs {need} {wanted}, against {against}"


def ip_only(where: str, found: Iterable[Match]) -> tuple[Match, ...]:
    """The matches as far as they are about IP: one that leaves that open becomes two.

    For flows with rewrites, which only IP packets can take. Raises FlowRefusedError, starting with
    `where`, for a match on something else, such as ARP.
    """
    result: list[Match] = []
    for match in found:
        ethertype = match.value("eth_type")
        if ethertype in _IP:
            result.append(match)
        elif ethertype is None:
            result += [match.extended(eth_type=kind) for kind in _IP]
        else:
            raise FlowRefusedError(
                f"{where}: only IP packets have a TTL and a TOS octet to rewrite",
                remedy="Match dl_type ip or ipv6, or take the rewrite out.",
            )
    return tuple(result)


# --- actions ------------------------------------------------------------------------------------

_MAY = "Use drop, or output:PORT after any of mod_nw_ttl:N, dec_ttl and mod_nw_tos:N."
_VALUES = (
    "A TTL is 1 to 255, a TOS a multiple of 4 up to 252, a DSCP 0 to 63; each action is an entry "
    "of its own."
)
_ACTION: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(.*)", re.DOTALL)
_SET_FIELD: Final = re.compile(r":(.+)->([a-z0-9_]+)")

_REASONS: Final = (
    (
        "would lead packets out of the pipeline",
        {*RESERVED_PORT_NAMES, "group", "enqueue", "bundle", "bundle_load", "sample"},
    ),
    (
        "would let a packet pass for another's",
        {
            *("mod_dl_src", "mod_dl_dst", "mod_nw_src", "mod_nw_dst", "mod_tp_src", "mod_tp_dst"),
            *("mod_vlan_vid", "mod_vlan_pcp", "push_vlan", "pop_vlan", "strip_vlan", "mod_nw_ecn"),
            *("push_mpls", "pop_mpls", "set_mpls_label", "set_mpls_tc", "set_mpls_ttl"),
            *("dec_mpls_ttl", "encap", "decap", "set_field", "nat"),
        },
    ),
    (
        "would change what the pipeline knows of a packet",
        {
            *("load", "move", "push", "pop", "learn", "ct", "ct_clear", "conjunction", "meter"),
            *("multipath", "set_tunnel", "set_tunnel64", "write_metadata"),
        },
    ),
    (
        "would go around tables of the pipeline",
        {"resubmit", "goto_table", "clone", "write_actions", "clear_actions", "exit"},
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet: the port that it goes to, None when it is dropped, and rewrites."""

    target: str | None
    rewrites: tuple[Action, ...] = ()


def verdict(where: str, actions: Sequence[str]) -> Verdict:
    """Read `drop`, or `output:PORT` after rewrites of TTL and TOS; one action for each entry.

    The port is a name; that the bridge has it is not looked at. A flow with rewrites needs a match
    on IP, see `ip_only`. Raises FlowRefusedError, starting with `where`, for everything else.
    """
    texts = [text.strip() for text in actions]
    if [text.lower() for text in texts] == ["drop"]:
        return Verdict(None)
    words = [_read(where, text) for text in texts]
    targets = [word for word in words if isinstance(word, str)]
    if len(targets) != 1 or not isinstance(words[-1], str):
        raise FlowRefusedError(
            f"{where}: {', '.join(texts)}: a flow has one output, and it comes last", remedy=_MAY
        )
    return Verdict(targets[0], tuple(word for word in words if not isinstance(word, str)))


def _read(where: str, text: str) -> str | Action:
    """One action: a rewrite, or the name of a port to send to."""
    parts = _ACTION.fullmatch(text)
    word, rest = (parts[1].lower(), parts[2]) if parts else (text, "")
    target = rest[1:].strip() if word == "output" and rest[:1] == ":" else ""
    if target and not target.isdigit() and target.lower() not in RESERVED_PORT_NAMES:
        return target
    try:
        rewrite = _rewrite(word, rest)
    except ValueError:
        raise FlowRefusedError(f"{where}: {text}: no such value", remedy=_VALUES) from None
    if rewrite is not None:
        return rewrite
    raise FlowRefusedError(f"{where}: {text}: {_reason(word, target)}", remedy=_MAY)


def _reason(word: str, target: str) -> str:
    if word == "output":
        named = not target or target.isdigit()
        return "a port is named after output:" if named else f"this {_REASONS[0][0]}"
    if word == "drop":
        return "drop stands alone"
    known = (why for why, words in _REASONS if word in words)
    return next((f"this {why}" for why in known), "there is no such action here")


def _rewrite(word: str, rest: str) -> Action | None:
    """The rewrite that an action is, or None. Raises ValueError for a value that does not fit."""
    if word == "dec_ttl" and not rest:
        return DecNwTtl()
    if word == "set_field" and (parts := _SET_FIELD.fullmatch(rest)):
        return _set(parts[2], parts[1].strip())
    if word in {"mod_nw_ttl", "mod_nw_tos"} and rest[:1] == ":":
        return _set(word.removeprefix("mod_"), rest[1:].strip())
    return None


def _set(field: str, value: str) -> Action | None:
    match ALIASES.get(field, field):
        case "nw_ttl":
            return _set_ttl(int(value, 0))
        case "nw_tos":
            return set_field("ip_dscp", dscp_of_tos(value))
        case "ip_dscp":
            return set_field("ip_dscp", value)
    return None


def _set_ttl(ttl: int) -> Action:
    if not 1 <= ttl <= 0xFF:
        raise ValueError("not a TTL")
    return SetNwTtl(ttl)
