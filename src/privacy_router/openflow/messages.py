"""Greeting, errors, echo, features, configuration, barriers, packets (OpenFlow 1.3.5, 7.3–7.5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.action import encode_actions
from privacy_router.openflow.actions import decode_actions_untrusted
from privacy_router.openflow.constants import (
    NO_BUFFER,
    VERSION,
    ConfigFlag,
    MessageType,
    PortNumber,
)
from privacy_router.openflow.error_names import ErrorType
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.match import Match, decode_match_untrusted
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import pad8, value_class

if TYPE_CHECKING:
    from privacy_router.openflow.action import Action
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_VERSION_BITMAP = 1  # ofp_hello_elem_type
_ELEMENT: Final = struct.Struct("!HH")
_PACKET_IN: Final = struct.Struct("!IHBBQ")


@value_class
class HelloElement:
    """One element of a greeting (7.5.1). `data` is without header and padding."""

    element_type: int
    data: bytes


@value_class
class Hello(Message):
    """The greeting. `version` is the highest that the sender speaks."""

    TYPE: ClassVar[int] = MessageType.HELLO
    version: int = VERSION
    elements: tuple[HelloElement, ...] = (
        HelloElement(_VERSION_BITMAP, (1 << VERSION).to_bytes(4, "big")),
    )

    def version_and_type(self) -> tuple[int, int]:
        return self.version, self.TYPE

    def versions(self) -> frozenset[int] | None:
        """The versions that the sender lists, or None when it lists none."""
        for element in self.elements:
            if element.element_type == _VERSION_BITMAP:
                return _bits(element.data)
        return None

    def body(self) -> bytes:
        return b"".join(
            pad8(_ELEMENT.pack(e.element_type, _ELEMENT.size + len(e.data)) + e.data)
            for e in self.elements
        )


def _bits(data: bytes) -> frozenset[int]:
    words = [int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data) - 3, 4)]
    return frozenset(
        32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1
    )


def decode_hello_untrusted(reader: Reader, version: int) -> Hello:
    """A greeting of any version. Raises DecodeError."""
    elements: list[HelloElement] = []
    while reader.left():
        element_type, length = reader.unpack("HH")
        if length < _ELEMENT.size:
            raise DecodeError(f"a HELLO element of {length} bytes")
        elements.append(HelloElement(element_type, reader.take(length - _ELEMENT.size)))
        reader.take(min(-length % 8, reader.left()))
    return Hello(version, tuple(elements))


@value_class
class ErrorMessage(Message):
    """The switch refuses something (7.4.4). `data` is the start of what it refuses.

    For an experimenter error, `experimenter` says whose and `code` is its `exp_type`.
    """

    TYPE: ClassVar[int] = MessageType.ERROR
    error_type: int
    code: int
    data: bytes = b""
    experimenter: int | None = None

    def body(self) -> bytes:
        whose = b"" if self.experimenter is None else struct.pack("!I", self.experimenter)
        return struct.pack("!HH", self.error_type, self.code) + whose + self.data


def decode_error_untrusted(reader: Reader) -> Message:
    error_type, code = reader.unpack("HH")
    experimenter = reader.unpack("I")[0] if error_type == ErrorType.EXPERIMENTER else None
    return ErrorMessage(error_type, code, reader.rest(), experimenter)


@value_class
class EchoRequest(Message):
    """Are you there? (7.5.2)"""

    TYPE: ClassVar[int] = MessageType.ECHO_REQUEST
    data: bytes = b""

    def body(self) -> bytes:
        return self.data


@value_class
class EchoReply(Message):
    """The answer to `EchoRequest`, with its data (7.5.3)."""

    TYPE: ClassVar[int] = MessageType.ECHO_REPLY
    data: bytes = b""

    def body(self) -> bytes:
        return self.data


@value_class
class Experimenter(Message):
    """An experimenter message that this library does not look into (7.5.4)."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER
    experimenter: int
    experimenter_type: int
    data: bytes = b""

    def body(self) -> bytes:
        return struct.pack("!II", self.experimenter, self.experimenter_type) + self.data


@value_class
class FeaturesRequest(Message):
    """What are you? (7.3.1)"""

    TYPE: ClassVar[int] = MessageType.FEATURES_REQUEST

    def body(self) -> bytes:
        return b""


@value_class
class FeaturesReply(Message):
    """What the switch is (7.3.1). `capabilities` are bits of ofp_capabilities."""

    TYPE: ClassVar[int] = MessageType.FEATURES_REPLY
    datapath_id: int
    buffers: int
    tables: int
    auxiliary_id: int
    capabilities: int

    def body(self) -> bytes:
        numbers = (self.datapath_id, self.buffers, self.tables, self.auxiliary_id)
        return struct.pack("!QIBB2xI4x", *numbers, self.capabilities)


@value_class
class GetConfigRequest(Message):
    """How are you configured? (7.3.2)"""

    TYPE: ClassVar[int] = MessageType.GET_CONFIG_REQUEST

    def body(self) -> bytes:
        return b""


@value_class
class GetConfigReply(Message):
    """The answer to `GetConfigRequest` (7.3.2)."""

    TYPE: ClassVar[int] = MessageType.GET_CONFIG_REPLY
    flags: int
    miss_send_len: int

    def body(self) -> bytes:
        return struct.pack("!HH", self.flags, self.miss_send_len)


@value_class
class SetConfig(Message):
    """Configure the switch (7.3.2).

    `miss_send_len`: how many bytes of a packet go to the controller. On Open vSwitch's `.mgmt`
    socket, a value above zero also turns asynchronous messages on.
    """

    TYPE: ClassVar[int] = MessageType.SET_CONFIG
    flags: int = ConfigFlag.FRAG_NORMAL
    miss_send_len: int = 128

    def body(self) -> bytes:
        return struct.pack("!HH", self.flags, self.miss_send_len)


@value_class
class BarrierRequest(Message):
    """Finish everything before this first (7.3.8)."""

    TYPE: ClassVar[int] = MessageType.BARRIER_REQUEST

    def body(self) -> bytes:
        return b""


@value_class
class BarrierReply(Message):
    """Everything before the request is done (7.3.8)."""

    TYPE: ClassVar[int] = MessageType.BARRIER_REPLY

    def body(self) -> bytes:
        return b""


@value_class
class PacketIn(Message):
    """A packet for the controller (7.4.1). `total_len` is its whole length in bytes."""

    TYPE: ClassVar[int] = MessageType.PACKET_IN
    buffer_id: int
    total_len: int
    reason: int
    table_id: int
    cookie: int
    match: Match
    data: bytes = b""

    def body(self) -> bytes:
        numbers = (self.buffer_id, self.total_len, self.reason, self.table_id, self.cookie)
        return _PACKET_IN.pack(*numbers) + self.match.wire + bytes(2) + self.data


def _decode_packet_in_untrusted(reader: Reader) -> Message:
    buffer_id, total_len, reason, table_id, cookie = reader.unpack("IHBBQ")
    match = decode_match_untrusted(reader)
    reader.unpack("2x")
    return PacketIn(buffer_id, total_len, reason, table_id, cookie, match, reader.rest())


@value_class
class PacketOut(Message):
    """A packet from the controller (7.3.7)."""

    TYPE: ClassVar[int] = MessageType.PACKET_OUT
    actions: tuple[Action, ...]
    data: bytes = b""
    in_port: int = PortNumber.CONTROLLER
    buffer_id: int = NO_BUFFER

    def body(self) -> bytes:
        actions = encode_actions(self.actions)
        head = struct.pack("!IIH6x", self.buffer_id, self.in_port, len(actions))
        return head + actions + self.data


def _decode_packet_out_untrusted(reader: Reader) -> Message:
    buffer_id, in_port, length = reader.unpack("IIH6x")
    actions = decode_actions_untrusted(reader.sub(length))
    return PacketOut(actions, reader.rest(), in_port, buffer_id)


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.ERROR: decode_error_untrusted,
    MessageType.ECHO_REQUEST: lambda r: EchoRequest(r.rest()),
    MessageType.ECHO_REPLY: lambda r: EchoReply(r.rest()),
    MessageType.FEATURES_REQUEST: lambda _: FeaturesRequest(),
    MessageType.FEATURES_REPLY: lambda r: FeaturesReply(*r.unpack("QIBB2xI4x")),
    MessageType.GET_CONFIG_REQUEST: lambda _: GetConfigRequest(),
    MessageType.GET_CONFIG_REPLY: lambda r: GetConfigReply(*r.unpack("HH")),
    MessageType.SET_CONFIG: lambda r: SetConfig(*r.unpack("HH")),
    MessageType.BARRIER_REQUEST: lambda _: BarrierRequest(),
    MessageType.BARRIER_REPLY: lambda _: BarrierReply(),
    MessageType.PACKET_IN: _decode_packet_in_untrusted,
    MessageType.PACKET_OUT: _decode_packet_out_untrusted,
}
