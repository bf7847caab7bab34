"""One side of an OpenFlow 1.3 connection without any input or output of its own (6.3).

Bytes from the peer go into `receive_data` and come back as events; what is to be sent collects
until `data_to_send` takes it.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.codec import decode_untrusted, encode
from privacy_router.openflow.constants import VERSION, MessageType
from privacy_router.openflow.error_names import ErrorType, error_name
from privacy_router.openflow.errors import (
    DecodeError,
    LimitError,
    NegotiationError,
    OpenFlowError,
)
from privacy_router.openflow.message import HEADER, Message
from privacy_router.openflow.messages import EchoReply, EchoRequest, ErrorMessage, Hello
from privacy_router.openflow.multipart import Entry, MultipartReply, decode_raw_reply_untrusted
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024  # some 300,000 flows
_MAX_UNFINISHED_ANSWERS = 256
_LAST_XID = 0xFFFFFFFF
_INCOMPATIBLE = 0
_MULTIPART_REPLY: Final = (VERSION, int(MessageType.MULTIPART_REPLY))


class State(Enum):
    """Where a connection is."""

    GREETING = "greeting"
    OPEN = "open"
    BROKEN = "broken"


@value_class
class Negotiated:
    """Both sides have greeted; the connection is open."""

    version: int


@value_class
class Received:
    """A message from the peer; an answer in several parts arrives as one.

    `size_bytes` is what it, or its last part, had on the wire.
    """

    xid: int
    message: Message
    size_bytes: int = field(default=0, compare=False)


Event = Negotiated | Received


class _Unfinished:
    """An answer of which more is to come."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.entries: list[Entry] = []


class Connection:
    """Greets, answers echo requests, puts answers together.

    `max_answer_bytes` bounds what unfinished answers may hold.
    """

    def __init__(self, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.state = State.GREETING
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._next_xid = 1
        self._unfinished: dict[int, _Unfinished] = {}
        self._unfinished_bytes = 0
        self._kept_raw: set[int] = set()
        self._max_answer_bytes = max_answer_bytes
        self._echoed_bytes = 0
        self._failure: OpenFlowError | None = None

    # --- sending ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Greet. To be called once, before anything else."""
        self.send(Hello())

    def send(self, message: Message, xid: int | None = None) -> int:
        """Queue a message; returns its transaction id. Raises EncodeError."""
        chosen = self.reserve_xids(1)[0] if xid is None else xid
        self._outgoing.append(encode(message, chosen))
        return chosen

    def send_encoded(self, messages: Iterable[bytes]) -> None:
        """Queue messages that are encoded already, with transaction ids reserved before."""
        self._outgoing.extend(messages)

    def reserve_xids(self, count: int) -> range:
        """`count` consecutive transaction ids that nothing else gets."""
        if self._next_xid + count - 1 > _LAST_XID:
            self._next_xid = 1
        first = self._next_xid
        self._next_xid += count
        return range(first, first + count)

    def keep_raw(self, xid: int) -> None:
        """Leave the answer to that multipart request undecoded: a `RawEntry` for each part."""
        self._kept_raw.add(xid)

    def data_to_send(self) -> bytes:
        """Take all queued bytes."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def take_echoed_bytes(self) -> int:
        """How much of what was queued since the last time answers the peer's echo requests."""
        echoed, self._echoed_bytes = self._echoed_bytes, 0
        return echoed

    # --- receiving -------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """Bytes as they come, cut anywhere.

        Raises DecodeError or NegotiationError; the connection is of no use from then on, and
        `data_to_send` may hold a last word for the peer.
        """
        if self._failure is not None:
            raise self._failure
        self._incoming += data
        try:
            return self._take_messages_untrusted()
        except OpenFlowError as error:
            self.state = State.BROKEN
            self._failure = error
            self._incoming.clear()
            self._unfinished.clear()
            raise

    def _take_messages_untrusted(self) -> list[Event]:
        events: list[Event] = []
        start = 0
        available = len(self._incoming)
        while available - start >= HEADER.size:
            length = HEADER.unpack_from(self._incoming, start)[2]
            if length < HEADER.size:
                raise DecodeError(f"a message of {length} bytes")
            if available - start < length:
                break
            message = bytes(self._incoming[start : start + length])
            start += length
            events += self._handle_untrusted(message)
        del self._incoming[:start]
        return events

    def _handle_untrusted(self, data: bytes) -> list[Event]:
        xid, message = self._decode_untrusted(data)
        if self.state is State.GREETING:
            return [self._greeted(message)]
        if isinstance(message, EchoRequest):
            self.send(EchoReply(message.data), xid)
            self._echoed_bytes += len(data)
            return []
        if isinstance(message, ErrorMessage):
            self._unfinished.pop(xid, None)
            self._kept_raw.discard(xid)
        if isinstance(message, MultipartReply):
            return self._collect(xid, message, len(data))
        return [Received(xid, message, len(data))]

    def _decode_untrusted(self, data: bytes) -> tuple[int, Message]:
        if self._kept_raw:
            version, message_type, _, xid = HEADER.unpack_from(data)
            if xid in self._kept_raw and (version, message_type) == _MULTIPART_REPLY:
                return xid, decode_raw_reply_untrusted(data[HEADER.size :])
        return decode_untrusted(data)

    def _greeted(self, message: Message) -> Event:
        if isinstance(message, ErrorMessage):
            raise NegotiationError(f"the peer refused the greeting: {_refusal(message)}")
        if not isinstance(message, Hello):
            raise NegotiationError(f"the peer began with {type(message).__name__}, not with HELLO")
        versions = message.versions()
        speaks = VERSION in versions if versions is not None else message.version >= VERSION
        if not speaks:
            self.send(ErrorMessage(ErrorType.HELLO_FAILED, _INCOMPATIBLE, b"OpenFlow 1.3 only"))
            raise NegotiationError(f"the peer does not speak OpenFlow 1.3, but {_spoken(message)}")
        self.state = State.OPEN
        return Negotiated(VERSION)

    def _collect(self, xid: int, part: MultipartReply, size: int) -> list[Event]:
        begun = self._unfinished.get(xid)
        if not part.more:
            self._kept_raw.discard(xid)
        if begun is None and not part.more:
            return [Received(xid, part, size)]
        if begun is None:
            begun = self._begin(xid, part.kind)
        if begun.kind != part.kind:
            raise DecodeError(f"an answer of kind {begun.kind} goes on as kind {part.kind}")
        begun.entries.extend(part.entries)
        if part.more:
            self._count(size)
            return []
        del self._unfinished[xid]
        if not self._unfinished:
            self._unfinished_bytes = 0
        return [Received(xid, MultipartReply(part.kind, tuple(begun.entries)), size)]

    def _begin(self, xid: int, kind: int) -> _Unfinished:
        if len(self._unfinished) >= _MAX_UNFINISHED_ANSWERS:
            raise LimitError(f"more than {_MAX_UNFINISHED_ANSWERS} answers are unfinished")
        begun = self._unfinished[xid] = _Unfinished(kind)
        return begun

    def _count(self, size: int) -> None:
        self._unfinished_bytes += size
        if self._unfinished_bytes > self._max_answer_bytes:
            raise LimitError(f"unfinished answers exceed {self._max_answer_bytes} bytes")


def _refusal(message: ErrorMessage) -> str:
    text = message.data.decode("utf-8", "backslashreplace")
    return f"{error_name(message.error_type, message.code, message.experimenter)} {text}".rstrip()


def _spoken(hello: Hello) -> str:
    versions = hello.versions() or {hello.version}
    return "version " + ", ".join(f"{version:#04x}" for version in sorted(versions))
