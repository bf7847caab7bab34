"""Queues of ports: how they are configured, what they counted (OpenFlow 1.3.5, 7.3.6, 7.3.5.8)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import MessageType, OpenEnum, PortNumber
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

ALL_QUEUES = 0xFFFFFFFF
_QUEUE: Final = struct.Struct("!IIH6x")
_PROPERTY: Final = struct.Struct("!HH4x")
_RATE: Final = struct.Struct("!HH4xH6x")


class QueuePropertyKind(OpenEnum):
    """OpenFlow 1.3.5, 7.2.2 (ofp_queue_properties)."""

    MIN_RATE = 1
    MAX_RATE = 2
    EXPERIMENTER = 0xFFFF


@value_class
class QueueRate:
    """The least or the greatest rate of a queue, by `kind`, in tenths of a per cent.

    Above 1000 it does not count.
    """

    kind: int
    rate_permille: int

    def encode(self) -> bytes:
        return _RATE.pack(self.kind, _RATE.size, self.rate_permille)


@value_class
class RawQueueProperty:
    """Another property of a queue, kept as it is. `body` follows its header."""

    kind: int
    body: bytes

    def encode(self) -> bytes:
        return _PROPERTY.pack(self.kind, _PROPERTY.size + len(self.body)) + self.body


QueueProperty = QueueRate | RawQueueProperty


@value_class
class Queue:
    """One queue of a port."""

    queue_id: int
    port: int
    properties: tuple[QueueProperty, ...] = ()

    def encode(self) -> bytes:
        tail = b"".join(each.encode() for each in self.properties)
        return _QUEUE.pack(self.queue_id, self.port, _QUEUE.size + len(tail)) + tail


@value_class
class QueueGetConfigRequest(Message):
    """Which queues does a port have, or do all have? Open vSwitch tells no rates."""

    TYPE: ClassVar[int] = MessageType.QUEUE_GET_CONFIG_REQUEST
    port: int = PortNumber.ANY

    def body(self) -> bytes:
        return struct.pack("!I4x", self.port)


@value_class
class QueueGetConfigReply(Message):
    """The queues of the port that was asked for."""

    TYPE: ClassVar[int] = MessageType.QUEUE_GET_CONFIG_REPLY
    port: int
    queues: tuple[Queue, ...] = ()

    def body(self) -> bytes:
        return struct.pack("!I4x", self.port) + b"".join(each.encode() for each in self.queues)


@value_class
class QueueQuery:
    """Whose counters are asked for."""

    port: int = PortNumber.ANY
    queue_id: int = ALL_QUEUES

    def encode(self) -> bytes:
        return struct.pack("!II", self.port, self.queue_id)


@value_class
class QueueStats:
    """Counters of one queue (7.3.5.8)."""

    port: int
    queue_id: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    duration_s: int
    duration_extra_ns: int

    def encode(self) -> bytes:
        counts = (self.tx_bytes, self.tx_packets, self.tx_errors)
        times = (self.duration_s, self.duration_extra_ns)
        return struct.pack("!IIQQQII", self.port, self.queue_id, *counts, *times)


# --- decoding -----------------------------------------------------------------------------------


def _decode_reply_untrusted(reader: Reader) -> Message:
    (port,) = reader.unpack("I4x")
    queues: list[Queue] = []
    while reader.left():
        queues.append(_decode_queue_untrusted(reader))
    return QueueGetConfigReply(port, tuple(queues))


def _decode_queue_untrusted(reader: Reader) -> Queue:
    queue_id, port, length = reader.unpack("IIH6x")
    properties: list[QueueProperty] = []
    with reader.sub(length - _QUEUE.size) as tail:
        while tail.left():
            properties.append(_decode_property_untrusted(tail))
    return Queue(queue_id, port, tuple(properties))


def _decode_property_untrusted(reader: Reader) -> QueueProperty:
    kind, length = reader.unpack("HH4x")
    with reader.sub(length - _PROPERTY.size) as body:
        if kind not in (QueuePropertyKind.MIN_RATE, QueuePropertyKind.MAX_RATE):
            return RawQueueProperty(kind, body.rest())
        if length != _RATE.size:
            raise DecodeError(f"a queue's rate in {length} bytes")
        return QueueRate(kind, *body.unpack("H6x"))


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.QUEUE_GET_CONFIG_REQUEST: lambda r: QueueGetConfigRequest(*r.unpack("I4x")),
    MessageType.QUEUE_GET_CONFIG_REPLY: _decode_reply_untrusted,
}
