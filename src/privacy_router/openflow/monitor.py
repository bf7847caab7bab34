"""Hearing of every change to a switch's flows, as Open vSwitch tells it over OpenFlow 1.3.

It is OpenFlow 1.4's flow monitoring (1.4.1, 7.3.5.17) in the form of an ONF extension of 1.3,
laid out like the Nicira extension of the same name; see ovs-ofctl(8), `monitor` with `watch:`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import ONF_EXPERIMENTER, MessageType, PortNumber, TableId
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.flows import FlowKey
from privacy_router.openflow.instructions import (
    Instruction,
    decode_instructions_untrusted,
    encode_instructions,
)
from privacy_router.openflow.match import Match, decode_match_untrusted
from privacy_router.openflow.message import Message
from privacy_router.openflow.onf import FlowEventKind, MonitorFlag, MonitorMessageType
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.wire import Reader

KINDS: Final = int(MonitorFlag.INITIAL | MonitorFlag.ADD | MonitorFlag.DELETE | MonitorFlag.MODIFY)
EVERYTHING: Final = int(KINDS | MonitorFlag.ACTIONS | MonitorFlag.OWN)
_EXPERIMENTER: Final = struct.Struct("!II")
_QUERY: Final = struct.Struct("!IHHIB3x")
_UPDATE: Final = struct.Struct("!HH")
_FLOW: Final = struct.Struct("!HHHHHHHBxQ")
_ABBREVIATED: Final = struct.Struct("!HHI")
_MATCH_LENGTH: Final = struct.Struct("!2xH")
_HEAD: Final = _EXPERIMENTER.pack(ONF_EXPERIMENTER, MonitorMessageType.MONITOR)


@value_class
class FlowMonitor:
    """Which changes are asked for. `flags` are of `MonitorFlag`; the number is the asker's choice.

    Without `MonitorFlag.OWN`, a change that came over the same connection is told as an
    `OwnChange` only.
    """

    number: int
    flags: int
    match: Match
    table_id: int = TableId.ALL
    out_port: int = PortNumber.ANY

    def encode(self) -> bytes:
        match = self.match.wire
        length = _MATCH_LENGTH.unpack_from(match)[0]
        numbers = (self.number, self.flags, length, self.out_port, self.table_id)
        return _HEAD + _QUERY.pack(*numbers) + match


@value_class
class FlowEvent:
    """A flow was added, deleted or modified, or was there when the monitor began.

    `kind` is of `FlowEventKind`, and `reason`, which counts for a deleted flow, of
    `FlowRemovedReason`. Without `MonitorFlag.ACTIONS` there are no instructions.
    """

    kind: int
    table_id: int
    priority: int
    match: Match
    instructions: tuple[Instruction, ...] = ()
    cookie: int = 0
    reason: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0

    def encode(self) -> bytes:
        match = self.match.wire
        tail = match + encode_instructions(self.instructions)
        head = _FLOW.pack(
            *(_FLOW.size + len(tail), self.kind, self.reason, self.priority),
            *(self.idle_timeout_s, self.hard_timeout_s, _MATCH_LENGTH.unpack_from(match)[0]),
            *(self.table_id, self.cookie),
        )
        return head + tail

    def key(self) -> FlowKey:
        """Table, priority and match."""
        return FlowKey(self.table_id, self.priority, self.match)


@value_class
class OwnChange:
    """The message with that transaction id, sent over this connection, changed flows."""

    xid: int

    def encode(self) -> bytes:
        return _ABBREVIATED.pack(_ABBREVIATED.size, FlowEventKind.ABBREVIATED, self.xid)


@value_class
class UnknownEvent:
    """An event of another kind, kept as it is. `body` follows kind and length."""

    kind: int
    body: bytes

    def encode(self) -> bytes:
        return _UPDATE.pack(_UPDATE.size + len(self.body), self.kind) + self.body


MonitorEvent = FlowEvent | OwnChange | UnknownEvent


@value_class
class FlowEvents:
    """The content of one part of an answer to, or of a later word from, a monitor."""

    events: tuple[MonitorEvent, ...]

    def encode(self) -> bytes:
        return _HEAD + b"".join(event.encode() for event in self.events)


@value_class
class CancelMonitor(Message):
    """Tell no more."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER
    number: int

    def body(self) -> bytes:
        kind = MonitorMessageType.MONITOR
        return struct.pack("!III", ONF_EXPERIMENTER, kind, self.number)


@value_class
class MonitorPaused(Message):
    """The switch has more to tell than the connection takes; changes are not told from now on."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER

    def body(self) -> bytes:
        return _EXPERIMENTER.pack(ONF_EXPERIMENTER, MonitorMessageType.PAUSED)


@value_class
class MonitorResumed(Message):
    """Everything that changed during the pause, and still stands, was told; on it goes."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER

    def body(self) -> bytes:
        return _EXPERIMENTER.pack(ONF_EXPERIMENTER, MonitorMessageType.RESUMED)


# --- decoding -----------------------------------------------------------------------------------


def is_monitoring_untrusted(reader: Reader) -> bool:
    """Whether an experimenter multipart body is one of a flow monitor. Reads nothing."""
    head = reader.position
    return reader.data[head : min(head + len(_HEAD), reader.end)] == _HEAD


def decode_query_untrusted(reader: Reader) -> FlowMonitor:
    """A request for one monitor. Raises DecodeError."""
    reader.take(len(_HEAD))
    number, flags, length, out_port, table_id = reader.unpack("IHHIB3x")
    return FlowMonitor(number, flags, _match_untrusted(reader, length), table_id, out_port)


def decode_events_untrusted(reader: Reader) -> FlowEvents:
    """All events of a reply. Raises DecodeError."""
    reader.take(len(_HEAD))
    events: list[MonitorEvent] = []
    while reader.left():
        length, kind = reader.unpack("HH")
        with reader.sub(length - _UPDATE.size) as body:
            events.append(_decode_event_untrusted(kind, body))
    return FlowEvents(tuple(events))


def _decode_event_untrusted(kind: int, reader: Reader) -> MonitorEvent:
    if kind == FlowEventKind.ABBREVIATED:
        return OwnChange(*reader.unpack("I"))
    if kind > FlowEventKind.ABBREVIATED:
        return UnknownEvent(kind, reader.rest())
    reason, priority, idle, hard, length, table_id, cookie = reader.unpack("HHHHHBxQ")
    match = _match_untrusted(reader, length)
    instructions = decode_instructions_untrusted(reader)
    return FlowEvent(kind, table_id, priority, match, instructions, cookie, reason, idle, hard)


def _match_untrusted(reader: Reader, length: int) -> Match:
    if reader.peek("2xH")[0] != length:
        raise DecodeError(f"a match of {length} bytes that says otherwise itself")
    return decode_match_untrusted(reader)


def decode_cancel_untrusted(reader: Reader) -> Message:
    """After the experimenter header. Raises DecodeError."""
    return CancelMonitor(*reader.unpack("I"))
