"""A flow in plain sentences: which packets, what becomes of them, and who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.openflow.action_text import Names, format_action
from privacy_router.openflow.actions import DecNwTtl, Output, SetField, SetNwTtl
from privacy_router.openflow.constants import CtFlag, EtherType, NatFlag, PortNumber
from privacy_router.openflow.fields import field_named
from privacy_router.openflow.instructions import (
    ApplyActions,
    GotoTable,
    Meter,
    canonical_instructions,
)
from privacy_router.openflow.nicira import NO_TABLE, Ct, Load, Move, Nat
from privacy_router.openflow.text import format_instructions
from privacy_router.pipeline.allocation import ZONE_REGISTER, Zone
from privacy_router.pipeline.match_text import (
    enumerate_words,
    field_words,
    in_words,
    packets_in_words,
    port_words,
    ttl_words,
)
from privacy_router.pipeline.tables import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privacy_router.openflow.action import Action
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.flow import Flow

CONFIGURATION_PATH = "plugins.privacy_router"
_ARP_ANSWER = SetField("arp_op", 2)
_ZONES: Final = {Zone.PRIVACY: "the privacy segment", Zone.MESH: "the mesh"}
_ORIGINS: Final = {
    "pipeline": "The pipeline itself does this",
    "chain": "The chain of hops asks for it",
    "derived": "It follows from the chain of hops",
}


def explain(flow: Flow, port_names: Mapping[int, str]) -> str:
    """Which packets, what becomes of them, and why, in two sentences.

    E.g. "IPv4 packets from warp0 to 10.101.0.0/24 leave by internal_100. It follows from the chain
    of hops: answers to clients, warp → gateway."
    """
    which = packets_of(flow, port_names)
    fate = fate_in_words(flow, port_names)
    return f"{which[0].upper()}{which[1:]} {fate}. {_why(flow, port_names)}"


def packets_of(flow: Flow, port_names: Mapping[int, str]) -> str:
    """Which packets the flow takes."""
    if len(flow.match):
        return packets_in_words(flow.match, port_names)
    return "all packets" if flow.priority else "packets that no other flow of this table wants"


def _why(flow: Flow, port_names: Mapping[int, str]) -> str:
    if not flow.origin:
        return "The configuration does not have this flow."
    return f"{origin_in_words(flow, port_names)}: {_reason(flow, port_names)}."


def _reason(flow: Flow, port_names: Mapping[int, str]) -> str:
    """The reason without the port's name in front: it was said in the sentence before."""
    name = port_names.get(flow.port, "")
    shorter = flow.reason.removeprefix(f"{name}: ")
    return shorter.removeprefix(f"{name} ") if flow.origin == "discovery" else shorter


def origin_in_words(flow: Flow, port_names: Mapping[int, str]) -> str:
    """Which key of the configuration, or which part of the design, the flow comes from."""
    if flow.origin == "discovery":
        return f"It comes with the port {port_words(flow.port, port_names)}"
    if flow.origin in _ORIGINS:
        return _ORIGINS[flow.origin]
    return f"{CONFIGURATION_PATH}.{flow.origin} asks for it"


# --- what becomes of them -----------------------------------------------------------------------


def fate_in_words(flow: Flow, port_names: Mapping[int, str]) -> str:
    """What becomes of the packets, e.g. "get TTL 64 and go on to the table privacy"."""
    ethertype = flow.match.value("eth_type")
    version = 6 if ethertype == EtherType.IPV6 else 4
    parts = list(_steps(flow.instructions, port_names, version))
    if not parts:
        return "are dropped"
    if not _leads_on(flow.instructions):
        parts.append("are dropped")
    return enumerate_words(parts)


def _leads_on(instructions: Sequence[Instruction]) -> bool:
    """Whether anything but dropping comes of it, as far as is known here."""
    for item in instructions:
        if not isinstance(item, Meter | ApplyActions):
            return True
        for action in item.actions if isinstance(item, ApplyActions) else ():
            stays = isinstance(action, SetField | SetNwTtl | DecNwTtl | Load | Move)
            if not stays and not (isinstance(action, Ct) and action.table_id == NO_TABLE):
                return True
    return False


def _steps(
    instructions: Sequence[Instruction], port_names: Mapping[int, str], version: int
) -> Iterator[str]:
    for item in canonical_instructions(tuple(instructions)):
        match item:
            case Meter(meter_id):
                yield f"pass meter {meter_id} (what is above its rate is dropped)"
            case ApplyActions(actions):
                yield from _actions(actions, port_names, version)
            case GotoTable(table_id):
                yield f"go on to the table {name_of(table_id)}"
            case _:
                yield f"undergo {format_instructions([item], port_names.get, name_of)}"


def _actions(
    actions: Sequence[Action], port_names: Mapping[int, str], version: int
) -> Iterator[str]:
    if _ARP_ANSWER in actions:
        yield _arp_answer(actions)
        actions = [action for action in actions if isinstance(action, Output)]
    for action in actions:
        yield from _action(action, port_names, version)


def _arp_answer(actions: Sequence[Action]) -> str:
    set_to = {action.field: action for action in actions if isinstance(action, SetField)}
    said = {
        name: in_words(field_named(name), set_to[name].value) if name in set_to else "unchanged"
        for name in ("arp_spa", "arp_sha")
    }
    return f'become the answer "{said["arp_spa"]} is at {said["arp_sha"]}"'


def _action(action: Action, port_names: Mapping[int, str], version: int) -> Iterator[str]:
    match action:
        case Output(port):
            yield _output(port, port_names)
        case Ct():
            yield from _tracking(action)
        case Load(field, value) if field == ZONE_REGISTER and value in _ZONES:
            yield f"are marked as traffic of {_ZONES[Zone(value)]}"
        case SetNwTtl(ttl):
            yield f"get {ttl_words(version)} {ttl}"
        case DecNwTtl():
            yield f"lose one from their {ttl_words(version)}"
        case SetField(field, value):
            yield f"get {_with_article(field)} {in_words(field_named(field), value)}"
        case Move(source, destination):
            yield f"get their {field_words(source)} as {field_words(destination)}"
        case _:
            yield f"undergo {format_action(action, Names(port_names.get, name_of))}"


def _with_article(field: str) -> str:
    words = field_words(field)
    return words if words.isupper() else f"the {words}"


def _output(port: int, port_names: Mapping[int, str]) -> str:
    if port == PortNumber.IN_PORT:
        return "go back to where they came from"
    if port == PortNumber.CONTROLLER:
        return "are handed to a controller"
    return f"leave by {port_words(port, port_names)}"


def _tracking(ct: Ct) -> Iterator[str]:
    commits = bool(ct.flags & CtFlag.COMMIT)
    verb = "are remembered as a connection" if commits else "are looked up as part of a connection"
    yield f"{verb} (tracking zone {ct.zone_field or ct.zone})"
    for inner in ct.actions:
        yield _translation(inner) if isinstance(inner, Nat) else f"undergo {_bare(inner)}"
    if ct.table_id != NO_TABLE:
        yield f"go on to the table {name_of(ct.table_id)}"


def _translation(nat: Nat) -> str:
    if not nat.flags or nat.address_min is None:
        return "get the addresses that the connection had at first"
    which = "destination" if nat.flags & NatFlag.DST else "source"
    to = f"{nat.address_min}" + (f" to {nat.address_max}" if nat.address_max is not None else "")
    return f"get the {which} address {to}"


def _bare(action: Action) -> str:
    return format_action(action, Names(table=name_of))
