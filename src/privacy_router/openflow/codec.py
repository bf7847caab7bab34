"""Bytes to messages and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.openflow import (
    bundle,
    flows,
    groups,
    messages,
    meters,
    monitor,
    multipart,
    ports,
    queues,
    roles,
    tables,
)
from privacy_router.openflow.constants import ONF_EXPERIMENTER, VERSION, MessageType
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.message import HEADER, Message, UnknownMessage, encode
from privacy_router.openflow.onf import BundleMessageType, MonitorMessageType
from privacy_router.openflow.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["decode_untrusted", "encode"]

_ONF: Final[dict[int, Callable[[Reader], Message]]] = {
    BundleMessageType.CONTROL: bundle.decode_control_untrusted,
    BundleMessageType.ADD: bundle.decode_add_untrusted,
    MonitorMessageType.MONITOR: monitor.decode_cancel_untrusted,
    MonitorMessageType.PAUSED: lambda _: monitor.MonitorPaused(),
    MonitorMessageType.RESUMED: lambda _: monitor.MonitorResumed(),
}


def decode_untrusted(data: bytes) -> tuple[int, Message]:
    """The transaction id and the message of exactly one message's bytes. Raises DecodeError.

    Every version's HELLO and ERROR is read, and of everything else version 1.3 only.
    """
    reader = Reader(data)
    version, message_type, length, xid = reader.unpack("BBHI")
    if length != len(data):
        raise DecodeError(f"a message of {length} bytes came as {len(data)}")
    if message_type == MessageType.HELLO:
        return xid, messages.decode_hello_untrusted(reader, version)
    if version != VERSION and message_type != MessageType.ERROR:
        raise DecodeError(f"a message of OpenFlow version {version:#04x}, expected {VERSION:#04x}")
    with reader:
        decode = _DECODERS.get(message_type)
        if decode is None:
            return xid, UnknownMessage(message_type, reader.rest())
        return xid, decode(reader)


def _decode_experimenter_untrusted(reader: Reader) -> Message:
    experimenter, experimenter_type = reader.unpack("II")
    if experimenter == ONF_EXPERIMENTER and experimenter_type in _ONF:
        return _ONF[experimenter_type](reader)
    return messages.Experimenter(experimenter, experimenter_type, reader.rest())


_DECODERS: Final[dict[int, Callable[[Reader], Message]]] = {
    **messages.DECODERS,
    **flows.DECODERS,
    **ports.DECODERS,
    **groups.DECODERS,
    **meters.DECODERS,
    **multipart.DECODERS,
    **queues.DECODERS,
    **roles.DECODERS,
    **tables.DECODERS,
    MessageType.EXPERIMENTER: _decode_experimenter_untrusted,
}

HEADER_BYTES = HEADER.size
