"""The actions of OpenFlow 1.3 (7.2.5), and decoding of any list of actions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.action import ACTION_HEADER, Action, frame_action
from privacy_router.openflow.constants import (
    NICIRA_EXPERIMENTER,
    ActionType,
    NiciraActionType,
    PortNumber,
)
from privacy_router.openflow.controller_action import (
    decode_plain_punt_untrusted,
    decode_punt_untrusted,
)
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.fields import field_named
from privacy_router.openflow.labels import DECODERS as LABEL_DECODERS
from privacy_router.openflow.learn import decode_learn_untrusted
from privacy_router.openflow.match import decode_oxm_untrusted, encode_oxm
from privacy_router.openflow.nicira import decode_nicira_untrusted
from privacy_router.openflow.notation import parse_value
from privacy_router.openflow.wire import Reader, value_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.notation import FieldValue

WHOLE_PACKET = 0xFFFF  # `max_len` of an output to the controller: send it all (OFPCML_NO_BUFFER)

_OUTPUT: Final = struct.Struct("!HHIH6x")
_WORD: Final = struct.Struct("!HHI")
_BYTE: Final = struct.Struct("!HHB3x")
_SHORT: Final = struct.Struct("!HHH2x")
_BARE: Final = struct.Struct("!HH4x")
_OUTPUT_BYTES, _PLAIN_BYTES = _OUTPUT.size, _WORD.size
_OUTPUT_TYPE = int(ActionType.OUTPUT)
_MAX_NESTING = 8


@value_class
class Output(Action):
    """Send the packet out of a port. `max_len` counts for the CONTROLLER port only, in bytes."""

    port: int
    max_len: int = 0

    def encode(self) -> bytes:
        return _OUTPUT.pack(_OUTPUT_TYPE, _OUTPUT_BYTES, self.port, self.max_len)


def to_controller(max_len: int = WHOLE_PACKET) -> Output:
    """Send the first `max_len` bytes of the packet to the controller."""
    return Output(PortNumber.CONTROLLER, max_len)


@value_class
class Group(Action):
    """Hand the packet to a group."""

    group_id: int

    def encode(self) -> bytes:
        return _WORD.pack(ActionType.GROUP, _PLAIN_BYTES, self.group_id)


@value_class
class SetQueue(Action):
    """Choose the queue of the output port."""

    queue_id: int

    def encode(self) -> bytes:
        return _WORD.pack(ActionType.SET_QUEUE, _PLAIN_BYTES, self.queue_id)


@value_class
class SetNwTtl(Action):
    """Set the IPv4 TTL or IPv6 hop limit."""

    ttl: int

    def encode(self) -> bytes:
        return _BYTE.pack(ActionType.SET_NW_TTL, _PLAIN_BYTES, self.ttl)


@value_class
class DecNwTtl(Action):
    """Count the IPv4 TTL or IPv6 hop limit down by one; at one the packet is dropped."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.DEC_NW_TTL, _PLAIN_BYTES)


@value_class
class PushVlan(Action):
    """Add a VLAN tag."""

    ethertype: int = 0x8100

    def encode(self) -> bytes:
        return _SHORT.pack(ActionType.PUSH_VLAN, _PLAIN_BYTES, self.ethertype)


@value_class
class PopVlan(Action):
    """Remove the outermost VLAN tag."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.POP_VLAN, _PLAIN_BYTES)


@value_class
class SetField(Action):
    """Write a whole field. `field` is its name, `value` the number; see also `set_field`."""

    field: str
    value: int

    def encode(self) -> bytes:
        oxm = encode_oxm(field_named(self.field), self.value, None)
        return frame_action(ActionType.SET_FIELD, oxm)


def set_field(field: str, value: FieldValue) -> SetField:
    """`SetField` with the value as people write it. Raises ValueError for what does not fit."""
    known = field_named(field)
    number, mask = parse_value(known, value)
    if mask != known.full_mask:
        raise ValueError(f"set_field {field}: no mask here (see SetFieldMasked)")
    return SetField(known.name, number)


@value_class
class RawAction(Action):
    """An action of another type, kept as it is. `body` follows the header."""

    action_type: int
    body: bytes

    def encode(self) -> bytes:
        return frame_action(self.action_type, self.body)


# --- decoding -----------------------------------------------------------------------------------


def decode_actions_untrusted(reader: Reader, depth: int = 0) -> tuple[Action, ...]:
    """All actions up to the end of `reader`. Raises DecodeError."""
    if depth > _MAX_NESTING:
        raise DecodeError("actions nested too deeply")
    actions: list[Action] = []
    while reader.left():
        actions.append(_decode_action_untrusted(reader, depth))
    return tuple(actions)


def _decode_action_untrusted(reader: Reader, depth: int) -> Action:
    action_type, length = reader.unpack("HH")
    if length < _PLAIN_BYTES or length % 8:
        raise DecodeError(f"action of type {action_type} and length {length}")
    with reader.sub(length - ACTION_HEADER.size) as body:
        if action_type == ActionType.EXPERIMENTER:
            return _decode_experimenter_untrusted(body, depth)
        decode = _DECODERS.get(action_type)
        return decode(body) if decode else RawAction(action_type, body.rest())


def _decode_experimenter_untrusted(reader: Reader, depth: int) -> Action:
    if reader.peek("I")[0] != NICIRA_EXPERIMENTER or reader.left() < 6:
        return RawAction(ActionType.EXPERIMENTER, reader.rest())
    reader.unpack("I")
    decode = _NICIRA_DECODERS.get(reader.peek("H")[0])
    if decode is not None:
        reader.unpack("H")
        return decode(reader)
    return decode_nicira_untrusted(
        reader, lambda nested: decode_actions_untrusted(nested, depth + 1)
    )


def _decode_set_field_untrusted(reader: Reader) -> Action:
    body = reader.rest()
    item, end = decode_oxm_untrusted(body, 0, len(body))
    if item.mask is not None or len(body) - end >= 8:
        raise DecodeError(f"set_field of {item.field.name} with a mask or bytes too many")
    return SetField(item.field.name, item.value)


# The rest of them are in `nicira`, which these build on.
_NICIRA_DECODERS: Final[dict[int, Callable[[Reader], Action]]] = {
    NiciraActionType.LEARN: decode_learn_untrusted,
    NiciraActionType.CONTROLLER: decode_plain_punt_untrusted,
    NiciraActionType.CONTROLLER2: decode_punt_untrusted,
}
_DECODERS: Final[dict[int, Callable[[Reader], Action]]] = {
    **LABEL_DECODERS,
    ActionType.OUTPUT: lambda r: Output(*r.unpack("IH6x")),
    ActionType.GROUP: lambda r: Group(*r.unpack("I")),
    ActionType.SET_QUEUE: lambda r: SetQueue(*r.unpack("I")),
    ActionType.SET_NW_TTL: lambda r: SetNwTtl(*r.unpack("B3x")),
    ActionType.DEC_NW_TTL: lambda r: DecNwTtl(*r.unpack("4x")),
    ActionType.PUSH_VLAN: lambda r: PushVlan(*r.unpack("H2x")),
    ActionType.POP_VLAN: lambda r: PopVlan(*r.unpack("4x")),
    ActionType.SET_FIELD: _decode_set_field_untrusted,
}
