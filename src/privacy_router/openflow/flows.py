"""Flows: installing them, hearing of their end, comparing them (OpenFlow 1.3.5, 7.3.4.1, 7.4.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from privacy_router.openflow.constants import (
    MAX_MESSAGE_BYTES,
    NO_BUFFER,
    VERSION,
    FlowModCommand,
    GroupId,
    MessageType,
    PortNumber,
)
from privacy_router.openflow.instructions import (
    Instruction,
    canonical_instructions,
    decode_instructions_untrusted,
    encode_instructions,
)
from privacy_router.openflow.match import Match, decode_match_untrusted
from privacy_router.openflow.message import HEADER, Message, too_long
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

DEFAULT_PRIORITY = 0x8000
ANY_FLOW: Final = Match()

_FLOW_MOD_LAYOUT = "QQBBHHHIIIH2x"
_FLOW_MOD: Final = struct.Struct("!HHI" + _FLOW_MOD_LAYOUT)
_FLOW_MOD_BYTES = _FLOW_MOD.size
# with the options of most: no cookie mask, an addition, no timeouts, and a tail that is the same
_pack_plain: Final = struct.Struct("!HHIQ8xB5xH16s").pack
_FLOW_MOD_HEAD = VERSION << 8 | MessageType.FLOW_MOD
_FLOW_REMOVED: Final = struct.Struct("!QHBBIIHHQQ")


class FlowKey(NamedTuple):
    """What tells flows of one switch apart."""

    table_id: int
    priority: int
    match: Match


class FlowContent(NamedTuple):
    """What two flows with the same key can differ in, in canonical form."""

    cookie: int
    instructions: tuple[Instruction, ...]
    idle_timeout_s: int
    hard_timeout_s: int
    flags: int


@value_class
class FlowOptions:
    """What a flow-mod says besides what a flow is: by default it adds a flow that stays.

    `flags` are of `FlowModFlag`. A delete counts `out_port`, `out_group` and `cookie_mask` (0 for
    any cookie). A timeout of 0 is none.
    """

    command: int = FlowModCommand.ADD
    cookie_mask: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    flags: int = 0
    buffer_id: int = NO_BUFFER
    out_port: int = int(PortNumber.ANY)
    out_group: int = int(GroupId.ANY)


PLAIN_ADD: Final = FlowOptions()
_PLAIN_TAIL: Final = struct.pack("!IIIH2x", NO_BUFFER, PortNumber.ANY, GroupId.ANY, 0)


@value_class
class FlowMod(Message):
    """Add, change or delete flows. A delete takes `table_id` 0xff for every table."""

    TYPE: ClassVar[int] = MessageType.FLOW_MOD
    match: Match = ANY_FLOW
    instructions: tuple[Instruction, ...] = ()
    table_id: int = 0
    priority: int = DEFAULT_PRIORITY
    cookie: int = 0
    options: FlowOptions = PLAIN_ADD

    def on_wire(self, xid: int) -> bytes:
        # In one step: flows come by the hundred thousand, nearly all with the same options.
        parts = self.instructions
        does = parts[0].encode() if len(parts) == 1 else encode_instructions(parts)
        tail = self.match.wire + does
        length = _FLOW_MOD_BYTES + len(tail)
        if length > MAX_MESSAGE_BYTES:
            raise too_long(self, length)
        if self.options is not PLAIN_ADD:
            return self._head(length, xid) + tail
        head = _pack_plain(
            _FLOW_MOD_HEAD, length, xid, self.cookie, self.table_id, self.priority, _PLAIN_TAIL
        )
        return head + tail

    def _head(self, length: int, xid: int) -> bytes:
        told = self.options
        return _FLOW_MOD.pack(
            *(_FLOW_MOD_HEAD, length, xid, self.cookie, told.cookie_mask, self.table_id),
            *(told.command, told.idle_timeout_s, told.hard_timeout_s, self.priority),
            *(told.buffer_id, told.out_port, told.out_group, told.flags),
        )

    def body(self) -> bytes:
        return self.on_wire(0)[HEADER.size :]

    def key(self) -> FlowKey:
        """Table, priority and match."""
        return FlowKey(self.table_id, self.priority, self.match)

    def content(self) -> FlowContent:
        """What the flow does, as a switch that has it reads it back."""
        told = self.options
        timeouts = (told.idle_timeout_s, told.hard_timeout_s)
        instructions = canonical_instructions(self.instructions)
        return FlowContent(self.cookie, instructions, *timeouts, told.flags)


def _decode_flow_mod_untrusted(reader: Reader) -> Message:
    cookie, cookie_mask, table_id, command, idle, hard, priority, *ids, flags = reader.unpack(
        _FLOW_MOD_LAYOUT
    )
    buffer_id, out_port, out_group = ids
    options = FlowOptions(command, cookie_mask, idle, hard, flags, buffer_id, out_port, out_group)
    return FlowMod(
        match=decode_match_untrusted(reader),
        instructions=decode_instructions_untrusted(reader),
        table_id=table_id,
        priority=priority,
        cookie=cookie,
        options=options,
    )


@value_class
class FlowRemoved(Message):
    """A flow is gone (7.4.2). `reason` is of `FlowRemovedReason`."""

    TYPE: ClassVar[int] = MessageType.FLOW_REMOVED
    cookie: int
    priority: int
    reason: int
    table_id: int
    duration_s: int
    duration_extra_ns: int
    idle_timeout_s: int
    hard_timeout_s: int
    packet_count: int
    byte_count: int
    match: Match

    def body(self) -> bytes:
        return (
            _FLOW_REMOVED.pack(
                *(self.cookie, self.priority, self.reason, self.table_id),
                *(
                    self.duration_s,
                    self.duration_extra_ns,
                    self.idle_timeout_s,
                    self.hard_timeout_s,
                ),
                *(self.packet_count, self.byte_count),
            )
            + self.match.wire
        )


def _decode_flow_removed_untrusted(reader: Reader) -> Message:
    numbers = reader.unpack("QHBBIIHHQQ")
    return FlowRemoved(*(*numbers, decode_match_untrusted(reader)))


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.FLOW_MOD: _decode_flow_mod_untrusted,
    MessageType.FLOW_REMOVED: _decode_flow_removed_untrusted,
}
