"""Bundles: several messages that take effect together or not at all (ONF EXT-230)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import ONF_EXPERIMENTER, MessageType
from privacy_router.openflow.message import Message
from privacy_router.openflow.onf import BundleFlag, BundleMessageType
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.wire import Reader

ALL_OR_NOTHING = int(BundleFlag.ATOMIC | BundleFlag.ORDERED)
_CONTROL: Final = struct.Struct("!IIIHH")
_ADD: Final = struct.Struct("!III2xH")


@value_class
class BundleControl(Message):
    """Open, close, commit or discard a bundle (`BundleControlType`), or the answer to that."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER
    bundle_id: int
    control: int
    flags: int = ALL_OR_NOTHING

    def body(self) -> bytes:
        kind = BundleMessageType.CONTROL
        return _CONTROL.pack(ONF_EXPERIMENTER, kind, self.bundle_id, self.control, self.flags)


@value_class
class BundleAdd(Message):
    """Put a message into a bundle. `message` is encoded, with the transaction id of this one."""

    TYPE: ClassVar[int] = MessageType.EXPERIMENTER
    bundle_id: int
    message: bytes
    flags: int = ALL_OR_NOTHING

    def body(self) -> bytes:
        head = _ADD.pack(ONF_EXPERIMENTER, BundleMessageType.ADD, self.bundle_id, self.flags)
        return head + self.message


def decode_control_untrusted(reader: Reader) -> Message:
    """After the experimenter header. Raises DecodeError."""
    bundle_id, control, flags = reader.unpack("IHH")
    return BundleControl(bundle_id, control, flags)


def decode_add_untrusted(reader: Reader) -> Message:
    """After the experimenter header; properties stay with the message. Raises DecodeError."""
    bundle_id, flags = reader.unpack("I2xH")
    return BundleAdd(bundle_id, reader.rest(), flags)
