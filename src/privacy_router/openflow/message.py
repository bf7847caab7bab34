"""What every message has in common: the header and the base class (OpenFlow 1.3.5, 7.1)."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import MAX_MESSAGE_BYTES, VERSION
from privacy_router.openflow.errors import EncodeError
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.wire import Reader

    MessageDecoder = Callable[[Reader], "Message"]

HEADER: Final = struct.Struct("!BBHI")
_HEADER_BYTES = HEADER.size


class Message(ABC):
    """One OpenFlow message without its transaction id. Immutable and hashable."""

    __slots__ = ()
    TYPE: ClassVar[int]

    def version_and_type(self) -> tuple[int, int]:
        """Version and type in the header."""
        return VERSION, self.TYPE

    def on_wire(self, xid: int) -> bytes:
        """The whole message; `encode` is what to call, for it explains what has no room."""
        body = self.body()
        length = _HEADER_BYTES + len(body)
        if length > MAX_MESSAGE_BYTES:
            raise too_long(self, length)
        version, message_type = self.version_and_type()
        return HEADER.pack(version, message_type, length, xid) + body

    @abstractmethod
    def body(self) -> bytes:
        """What follows the header."""


@value_class
class UnknownMessage(Message):
    """A message of a type that this library does not look into, kept as it is."""

    TYPE: ClassVar[int] = -1
    message_type: int
    data: bytes

    def version_and_type(self) -> tuple[int, int]:
        return VERSION, self.message_type

    def body(self) -> bytes:
        return self.data


def encode(message: Message, xid: int) -> bytes:
    """The message on the wire. Raises EncodeError for a value that has no room there."""
    try:
        return message.on_wire(xid)
    except (struct.error, OverflowError) as error:
        raise EncodeError(f"{message!r} cannot be encoded: {error}") from error


def too_long(message: Message, length: int) -> EncodeError:
    """The error for a message of so many bytes."""
    return EncodeError(f"a {type(message).__name__} of {length} bytes is too long to send")
