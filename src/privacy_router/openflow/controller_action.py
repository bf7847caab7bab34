"""The Nicira action `controller` in both of its forms (ovs-actions(7), `controller`)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from privacy_router.openflow.action import Action
from privacy_router.openflow.constants import NiciraActionType, OpenEnum, PacketInReason
from privacy_router.openflow.nicira import NiciraAction, frame_nicira
from privacy_router.openflow.wire import Reader, pad8, value_class

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE_PACKET = 0xFFFF
_PROPERTY: Final = struct.Struct("!HH")
_SHORT: Final = struct.Struct("!H2x")
_PLAIN_LAYOUT = "HHBx"
_PLAIN: Final = struct.Struct("!" + _PLAIN_LAYOUT)
_PADDING_BYTES = 6  # between the subtype and the properties


class _Kind(OpenEnum):
    """Properties of the action, as Open vSwitch numbers them."""

    MAX_LEN = 0
    CONTROLLER_ID = 1
    REASON = 2
    USERDATA = 3
    PAUSE = 4
    METER_ID = 5


@value_class
class SendToController(Action):
    """Send the packet to the controllers with that id, along with `userdata`.

    Encoded in the older form where that says it all, as Open vSwitch does.

    `max_len` is in bytes. With `pause`, the packet waits for the controller to let it go on. The
    meter limits how many are sent.
    """

    max_len: int = WHOLE_PACKET
    controller_id: int = 0
    reason: int = PacketInReason.ACTION
    userdata: bytes = b""
    pause: bool = False
    meter_id: int | None = None

    def encode(self) -> bytes:
        if self.userdata or self.pause or self.meter_id is not None:
            return frame_nicira(NiciraActionType.CONTROLLER2, self._properties())
        plain = _PLAIN.pack(self.max_len, self.controller_id, self.reason)
        return frame_nicira(NiciraActionType.CONTROLLER, plain)

    def _properties(self) -> bytes:
        parts = [bytes(_PADDING_BYTES)]
        if self.max_len != WHOLE_PACKET:
            parts.append(_property(_Kind.MAX_LEN, _SHORT.pack(self.max_len)))
        if self.controller_id:
            parts.append(_property(_Kind.CONTROLLER_ID, _SHORT.pack(self.controller_id)))
        if self.reason != PacketInReason.ACTION:
            parts.append(_property(_Kind.REASON, self.reason.to_bytes(1, "big")))
        if self.userdata:
            parts.append(_property(_Kind.USERDATA, self.userdata))
        if self.pause:
            parts.append(_property(_Kind.PAUSE, b""))
        if self.meter_id is not None:
            parts.append(_property(_Kind.METER_ID, self.meter_id.to_bytes(4, "big")))
        return b"".join(parts)


def _property(kind: _Kind, value: bytes) -> bytes:
    return pad8(_PROPERTY.pack(kind, _PROPERTY.size + len(value)) + value)


_VALUES: Final[dict[int, tuple[str, Callable[[Reader], object]]]] = {
    _Kind.MAX_LEN: ("max_len", lambda r: r.unpack("H")[0]),
    _Kind.CONTROLLER_ID: ("controller_id", lambda r: r.unpack("H")[0]),
    _Kind.REASON: ("reason", lambda r: r.unpack("B")[0]),
    _Kind.USERDATA: ("userdata", lambda r: r.rest()),
    _Kind.PAUSE: ("pause", lambda _: True),
    _Kind.METER_ID: ("meter_id", lambda r: r.unpack("I")[0]),
}


def decode_plain_punt_untrusted(reader: Reader) -> Action:
    """The older form, after the subtype. Raises DecodeError."""
    return SendToController(*reader.unpack(_PLAIN_LAYOUT))


def decode_punt_untrusted(reader: Reader) -> Action:
    """After the subtype; what we would not write ourselves is kept as it is. Raises DecodeError."""
    body = reader.rest()
    raw = NiciraAction(NiciraActionType.CONTROLLER2, body)
    found = _decode_properties_untrusted(Reader(body))
    if found is None:
        return raw
    punt = SendToController(**found)
    return punt if punt.encode() == raw.encode() else raw


def _decode_properties_untrusted(reader: Reader) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    reader.unpack(f"{_PADDING_BYTES}x")
    while reader.left():
        kind, length = reader.unpack("HH")
        value = reader.sub(length - _PROPERTY.size)
        reader.take(min(-length % 8, reader.left()))
        if kind not in _VALUES:
            return None
        name, decode = _VALUES[kind]
        found[name] = decode(value)
    return found
