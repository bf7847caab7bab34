"""Read what Open vSwitch's ofproto/trace says of a packet, and compare it with our own walk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.notation import format_port, format_value
from privacy_router.openflow.text import format_match
from privacy_router.pipeline.rivals import same_effect
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.pipeline.trace.packet import format_packet, read_fields_untrusted
from privacy_router.pipeline.trace.walk import MAX_PASSAGES, Sent, parse_ct_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from privacy_router.openflow.action_text import Namer
    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.trace.packet import Packet, PortNumbers
    from privacy_router.pipeline.trace.traverse import Step, Traversal
    from privacy_router.pipeline.trace.walk import Walk

METHOD = "ofproto/trace"


class LiveTraceError(PrivacyRouterError):
    """The switch's trace is not worded as this program knows it."""


@dataclass(frozen=True)
class LiveStep:
    """A table that the switch looked into.

    `priority` None: no flow matched. `actions` are the flow's in the switch's words, without the
    ones that only change the packet, and `remarks` what did not come of them.
    """

    table: int
    priority: int | None
    match: str
    cookie: int
    actions: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class LivePassage:
    """One way through the tables, until an end or connection tracking.

    `packet` is what the packet was like at the end; `ports` are the ports that it was sent out
    of, in words ("2", "IN_PORT", "LOCAL"); `datapath` is what the datapath is told.
    """

    steps: tuple[LiveStep, ...]
    packet: Packet
    ports: tuple[str, ...]
    datapath: str


@dataclass(frozen=True)
class LiveTrace:
    """What the switch does with a packet."""

    passages: tuple[LivePassage, ...]


def trace_arguments(bridge: str, packet: Packet, ct_states: Sequence[str]) -> tuple[str, ...]:
    """The arguments for `ofproto/trace` that make it assume what `walk` assumes."""
    given = [parse_ct_state(text) for text in ct_states]
    states = [*given, *given[-1:] * (MAX_PASSAGES - len(given))]
    words = [format_value(FIELDS["ct_state"], int(state), None) for state in states]
    options = [word for state in words for word in ("--ct-next", state.replace("|", ","))]
    return (bridge, format_packet(packet), *options)


# --- reading ------------------------------------------------------------------------------------

_PASSAGE: Final = re.compile(r"^Flow: ", re.MULTILINE)
_STEP: Final = re.compile(
    r"^ *(?P<table>\d+)(?:\([^)]*\))?\. (?:(?:(?P<match>\S+), )?priority (?P<priority>\d+)"
    r"(?:, cookie (?P<cookie>0x[0-9a-f]+))?|(?P<miss>.*))$"
)
_REMARK: Final = re.compile(r"^ *(?:->|>>) (.*)$")
_ACTION: Final = re.compile(r"^ {4,}(\S.*)$")
_ONLY_CHANGES: Final = re.compile(r"load:|move:|set_field:|mod_\w+:|dec_ttl|note:|drop$")
_SENDS: Final = re.compile(r"output:(\S+)|(IN_PORT|LOCAL)$")
_OF_TRACKING: Final = re.compile(r"nat(\(.*\))?")
_LONG_NAME: Final = re.compile(r"NXM_NX_(X*REG\d+)")
_IN_PORT: Final = re.compile(r"\b(in_port=)([^,]+)")
_PORT: Final = re.compile(r"\b(in_port=|output:)(\d+)")
_LEADS_ON: Final = re.compile(r"goto_table|resubmit|table=")
_NOT_SENT: Final = re.compile(r">> (?:skipping output|[Nn]onexistent output)")


def parse_trace_untrusted(text: str, port_number: PortNumbers | None = None) -> LiveTrace:
    """The answer of `ofproto/trace` (Open vSwitch 2.17 to 3.5). Raises LiveTraceError.

    `port_number` gives the number of a port's name, for switches that write names.
    """
    parts = _PASSAGE.split(text.replace("\r", ""))[1:]
    if not parts:
        raise _unknown("it does not say what the packet is")
    return LiveTrace(tuple(_passage_untrusted(part, port_number) for part in parts))


def _unknown(why: str) -> LiveTraceError:
    return LiveTraceError(
        f"the switch's trace is not understood: {why}",
        remedy="leave --live out, and report this together with the version of Open vSwitch",
    )


def _passage_untrusted(text: str, port_number: PortNumbers | None) -> LivePassage:
    first, *lines = text.splitlines()
    labels = {label: rest for label, rest in map(_label, lines) if rest}
    failed = next((line for line in lines if line.startswith("Translation failed")), "")
    datapath = labels.get("Datapath actions") or failed
    final = labels.get("Final flow", "unchanged")
    if not datapath:
        raise _unknown("it has no datapath actions")
    steps = tuple(_steps_untrusted(lines, port_number))
    try:
        packet = read_fields_untrusted(first if final == "unchanged" else final, port_number)
    except PrivacyRouterError as error:
        raise _unknown(error.message) from error
    return LivePassage(steps, packet, () if failed else tuple(_ports(lines, port_number)), datapath)


def _label(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(": ")
    return name, rest


def _steps_untrusted(lines: Iterable[str], port_number: PortNumbers | None) -> Iterator[LiveStep]:
    for head, body in _blocks(lines):
        found = _STEP.match(head)
        if found is None:
            raise _unknown(head)
        remarks = [remark[1] for remark in map(_REMARK.match, body) if remark]
        if found["miss"] is not None:
            remarks.insert(0, found["miss"])
        priority = None if found["priority"] is None else int(found["priority"])
        yield LiveStep(
            int(found["table"]),
            priority,
            _numbered(found["match"] or "", port_number),
            int(found["cookie"] or "0", 16),
            tuple(_actions(body, port_number)),
            tuple(remarks),
        )


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The line of each table with the lines that belong to it."""
    head, body = "", list[str]()
    for line in lines:
        ends = _label(line)[0] in ("Final flow", "Datapath actions")
        if ends or _STEP.match(line):
            if head:
                yield head, body
            head, body = "" if ends else line, []
        elif head:
            body.append(line)


def _actions(body: Iterable[str], port_number: PortNumbers | None) -> Iterator[str]:
    """What the flow does, without what connection tracking does in its turn."""
    tracking = False
    for line in body:
        found = _ACTION.match(line)
        if found is None or _REMARK.match(line):
            continue
        word = _plain(found[1], port_number)
        if tracking and _OF_TRACKING.fullmatch(word):
            continue
        tracking = word.startswith("ct")
        if not _ONLY_CHANGES.match(word):
            yield word


def _ports(lines: Sequence[str], port_number: PortNumbers | None) -> Iterator[str]:
    for line, after in zip_longest(lines, lines[1:], fillvalue=""):
        action = _ACTION.match(line)
        sends = _SENDS.fullmatch(_plain(action[1], port_number)) if action else None
        if sends and not _NOT_SENT.search(after):
            yield sends[1] or sends[2]


def _plain(word: str, port_number: PortNumbers | None) -> str:
    """An action with short names for registers and numbers for ports."""
    if word.startswith("output:"):
        return "output:" + _number(word.removeprefix("output:"), port_number)
    return _LONG_NAME.sub(lambda found: found[1].lower(), word)


def _numbered(match: str, port_number: PortNumbers | None) -> str:
    return _IN_PORT.sub(lambda found: found[1] + _number(found[2], port_number), match)


def _number(port: str, port_number: PortNumbers | None) -> str:
    name = port.strip('"')
    number = port_number(name) if port_number else None
    return name if number is None else format_port(number)


# --- comparing ----------------------------------------------------------------------------------


def compare(walk: Walk, live: LiveTrace, port_name: Namer | None = None) -> list[str]:
    """Where the switch does something else than the compiled pipeline, in words; empty: nowhere.

    Of the way through the tables only the first difference is named: the others follow from it.
    """

    def named(port: str) -> str:
        return (port_name and port.isdigit() and port_name(int(port))) or port

    way = next(_way_differences(walk, live), None)
    found = [way] if way else list(_packet_differences(walk, live))
    ours, theirs = _our_ports(walk), _their_ports(walk, live)
    if ours != theirs:
        ends = (_ending([named(port) for port in ports]) for ports in (ours, theirs))
        found.append("the compiled pipeline {}, the switch {}".format(*ends))
    return [_PORT.sub(lambda port: port[1] + named(port[2]), words) for words in found]


def _way_differences(walk: Walk, live: LiveTrace) -> Iterator[str]:
    for ours, theirs in zip_longest(walk.passages, live.passages):
        if theirs is None:
            yield "the switch does not bring the packet back from connection tracking"
        elif ours is None:
            yield "the switch takes the packet up again once more"
        else:
            for pair in zip_longest(ours.steps, theirs.steps):
                yield from _step_difference(*pair)


def _step_difference(ours: Step | None, theirs: LiveStep | None) -> Iterator[str]:
    if theirs is None and ours is not None:
        yield f"table {ours.table}: the switch does not get there"
    elif theirs is not None and (ours is None or number_of(ours.table) != theirs.table):
        yield f"table {name_of(theirs.table)}: only the switch gets there"
    elif theirs is not None and ours is not None:
        yield from (f"table {ours.table}: {words}" for words in _choice_differences(ours, theirs))


def _choice_differences(ours: Step, theirs: LiveStep) -> Iterator[str]:
    chosen = next((flow for flow in _as_good(ours) if _is_on_switch(flow, theirs)), None)
    if chosen is not None:
        yield from _flow_differences(chosen, ours.effects, theirs)
    elif ours.flow is not None or theirs.priority is not None:
        yield f"the compiled pipeline {_our_way(ours)}, the switch {_their_way(theirs)}"


def _as_good(step: Step) -> list[Flow]:
    """The flow of the step, and those of its rivals that it does not matter to be taken for."""
    if step.flow is None:
        return []
    return [step.flow, *(rival for rival in step.rivals if same_effect(step.flow, rival))]


def _is_on_switch(flow: Flow, step: LiveStep) -> bool:
    same_words = set(format_match(flow.match).split(",")) == set(step.match.split(","))
    return flow.priority == step.priority and same_words


def _flow_differences(flow: Flow, ours: Sequence[str], step: LiveStep) -> Iterator[str]:
    name = _flow_name(flow.priority, format_match(flow.match))
    theirs = step.actions
    if list(map(_unordered, ours)) != list(map(_unordered, theirs)):
        yield (
            f"{name} does {','.join(ours) or 'drop'} as compiled,"
            f" {','.join(theirs) or 'drop'} on the switch"
        )
    if flow.cookie != step.cookie:
        yield f"{name} has the cookie {step.cookie:#x} on the switch, not ours ({flow.cookie:#x})"


def _unordered(word: str) -> list[str]:
    """The parts of an action; what stands in parentheses has no order."""
    return sorted(part for part in re.split(r"[(),]", word) if part)


def _our_way(step: Step) -> str:
    if step.flow is None:
        return "drops it (no flow matches)"
    return _verb(step.effects) + _flow_name(step.flow.priority, format_match(step.flow.match))


def _their_way(step: LiveStep) -> str:
    if step.priority is None:
        return f"drops it ({'; '.join(step.remarks)})"
    return _verb(step.actions) + _flow_name(step.priority, step.match)


def _flow_name(priority: int, match: str) -> str:
    return f"«{match or 'everything'}» of priority {priority}"


def _verb(effects: Sequence[str]) -> str:
    if any(_SENDS.fullmatch(word) for word in effects):
        return "sends it out by "
    if any(_LEADS_ON.search(word) for word in effects):
        return "goes on by "
    return "drops it by "


def _packet_differences(walk: Walk, live: LiveTrace) -> Iterator[str]:
    for ours, theirs in zip(walk.passages, live.passages, strict=True):
        # a register that is zero is not printed, a field of the packet always
        registers = {name for name in ours.packet if name.startswith("reg")}
        for name in sorted(registers | set(theirs.packet)):
            if not name.startswith("ct_"):  # those are only assumed
                yield from _value_difference(name, ours, theirs)


def _value_difference(name: str, ours: Traversal, theirs: LivePassage) -> Iterator[str]:
    pair = ours.packet.get(name, 0), theirs.packet.get(name, 0)
    if pair[0] != pair[1]:
        one, other = (format_value(FIELDS[name], value, None) for value in pair)
        end = ours.steps[-1].table
        yield f"after table {end}: {name} is {one} as compiled, {other} on the switch"


def _our_ports(walk: Walk) -> list[str]:
    ports = walk.verdict.ports if isinstance(walk.verdict, Sent) else ()
    return [format_port(port) for port in ports]


def _their_ports(walk: Walk, live: LiveTrace) -> list[str]:
    in_port = format_port(walk.packet["in_port"])
    ports = (port for passage in live.passages for port in passage.ports)
    return [in_port if port == "IN_PORT" else port for port in ports]


def _ending(ports: Sequence[str]) -> str:
    return f"sends the packet out of {', '.join(ports)}" if ports else "drops the packet"
