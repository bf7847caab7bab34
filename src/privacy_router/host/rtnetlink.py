"""rtnetlink as the kernel speaks it: messages as bytes, so that what was read can be put back.

The kernel takes back the very messages that it lists routes and addresses with (`ip route restore`
lives on that), with every attribute that they have, those too that this code does not know. Going
through a library's idea of a route would lose them. rtnetlink(7), linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final, Self

from privacy_router.errors import MachineError
from privacy_router.host.namespaces import run_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")
_ATTRIBUTE_TYPE_MASK: Final = 0x3FFF  # above it are the flags for nesting and byte order
_NESTED: Final = 0x8000
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_DUMP_INTERRUPTED: Final = 0x10
_NLM_F_ACK_TLVS: Final = 0x200
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NLMSGERR_ATTR_MSG: Final = 1
_RECEIVE_BYTES: Final = 1 << 17
_ANSWER_S: Final = 10.0
_DUMP_ATTEMPTS: Final = 20


class Verb(IntEnum):
    """What a message is about."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    GETNEIGH = 30
    NEWRULE = 32
    DELRULE = 33
    GETRULE = 34


class NetlinkError(MachineError):
    """The kernel did not do what it was asked for; `code` is its number (errno)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message, remedy="see whether another program changes the same things")
        self.code = code


def refusal(error: OSError, what: str) -> NetlinkError:
    """The error that names what the kernel does not do: `make wg0`."""
    return NetlinkError(error.errno or 0, f"the kernel does not {what}: {error.strerror or error}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise NetlinkError in place of the OSError of a request."""
    try:
        yield
    except OSError as error:
        raise refusal(error, what) from error


class Flag(IntFlag):
    """How a request is meant."""

    REQUEST = 0x1
    ACK = 0x4
    DUMP = 0x300
    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800


FIXED_BYTES: Final = {
    **dict.fromkeys((Verb.NEWLINK, Verb.DELLINK, Verb.GETLINK), 16),
    **dict.fromkeys((Verb.NEWADDR, Verb.DELADDR, Verb.GETADDR), 8),
    **dict.fromkeys((Verb.NEWROUTE, Verb.DELROUTE, Verb.GETROUTE), 12),
    **dict.fromkeys((Verb.NEWNEIGH, Verb.DELNEIGH, Verb.GETNEIGH), 12),
    **dict.fromkeys((Verb.NEWRULE, Verb.DELRULE, Verb.GETRULE), 12),
}
"""Length of the fixed part before the attributes: ifinfomsg, ifaddrmsg, rtmsg, ndmsg,
fib_rule_hdr."""


@dataclass(frozen=True)
class Message:
    """A message: its fixed part, and its attributes in the kernel's order."""

    verb: Verb
    fixed: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()

    def get(self, kind: int) -> bytes | None:
        """The value of an attribute."""
        return next((value for name, value in self.attributes if name == kind), None)

    def number(self, kind: int) -> int | None:
        """The value of an attribute that is a 32-bit number."""
        value = self.get(kind)
        return None if value is None else int.from_bytes(value[:4], sys.byteorder)

    def with_attribute(self, kind: int, value: bytes | None) -> Message:
        """The same with this attribute, in its place where it had it; None: without."""
        kept = list(self.attributes)
        position = next((i for i, (name, _) in enumerate(kept) if name == kind), len(kept))
        kept[position : position + 1] = [] if value is None else [(kind, value)]
        return replace(self, attributes=tuple(kept))

    def without(self, *kinds: int) -> Message:
        """The same without these attributes."""
        kept = tuple(item for item in self.attributes if item[0] not in kinds)
        return replace(self, attributes=kept)

    def encode(self) -> bytes:
        """The bytes after the header."""
        return self.fixed + encode_attributes(self.attributes)


def u32(value: int) -> bytes:
    """A number as the value of an attribute."""
    return value.to_bytes(4, sys.byteorder)


def nested(kind: int, *attributes: tuple[int, bytes]) -> tuple[int, bytes]:
    """An attribute whose value is attributes."""
    return kind | _NESTED, encode_attributes(attributes)


def encode_attributes(attributes: tuple[tuple[int, bytes], ...]) -> bytes:
    """Attributes as bytes, each filled up to four."""
    return b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )


def decode_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`; what is cut short at the end is left out."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _ATTRIBUTE_TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += length + (-length % 4)


def decode(verb: Verb, data: bytes) -> Message:
    """A message from the bytes after its header."""
    size = FIXED_BYTES[verb]
    return Message(verb, data[:size], tuple(decode_attributes(data[size:])))


def parts(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and content of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, datagram[at + _HEADER.size : at + length]
        at += length + (-length % 4)


def open_socket(
    namespace: Path | None, groups: int = 0, protocol: int = socket.NETLINK_ROUTE
) -> socket.socket:
    """A socket in that namespace; with `groups` it hears of changes. Raises OSError."""

    def work() -> socket.socket:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        opened = socket.socket(socket.AF_NETLINK, kind, protocol)
        try:
            opened.bind((0, groups))
        except OSError:
            opened.close()
            raise
        return opened

    return run_in(namespace, work)


def ask(line: socket.socket, kind: int, content: bytes, flags: Flag = Flag.DUMP) -> list[bytes]:
    """What the kernel answers to one message of any netlink protocol: the contents of its messages,
    none to an order (`flags` without DUMP) that it has carried out. Raises OSError.

    What changes while it is listed may be listed half: who has to know asks again.
    """
    ordered = not flags & Flag.DUMP
    wanted = flags | Flag.REQUEST | (Flag.ACK if ordered else Flag(0))
    line.settimeout(_ANSWER_S)
    line.send(_HEADER.pack(_HEADER.size + len(content), kind, wanted, 0, 0) + content)
    found: list[bytes] = []
    while True:
        for got, got_flags, _, piece in parts(line.recv(_RECEIVE_BYTES)):
            if got == _NLMSG_DONE:
                return found
            if got == _NLMSG_ERROR:
                if piece[:4] != bytes(4):
                    raise _error(got_flags, piece)
                return found
            found.append(piece)


class Session:
    """Questions and orders, one at a time; a context manager. Raises OSError."""

    def __init__(self, namespace: Path | None) -> None:
        self._socket = open_socket(namespace)
        self._socket.settimeout(_ANSWER_S)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, verb: Verb, family: int = 0) -> list[Message]:
        """All there is of a kind; asked anew while it changes under the kernel's hands."""
        for _ in range(_DUMP_ATTEMPTS):
            found = self._dump_once(verb, family)
            if found is not None:
                return found
        raise OSError(errno.EAGAIN, "the network changes too quickly to be read")

    def _dump_once(self, verb: Verb, family: int) -> list[Message] | None:
        fixed = bytes([family]).ljust(FIXED_BYTES[verb], b"\0")
        sequence = self._send(Message(verb, fixed), Flag.DUMP)
        found: list[Message] = []
        whole = True
        while True:
            for kind, flags, number, content in parts(self._socket.recv(_RECEIVE_BYTES)):
                if number != sequence:
                    continue
                whole &= not flags & _NLM_F_DUMP_INTERRUPTED
                if kind == _NLMSG_DONE:
                    return found if whole else None
                if kind == _NLMSG_ERROR:
                    raise _error(flags, content)
                found.append(decode(Verb(kind), content))

    def query(self, message: Message) -> Message:
        """The one thing that the kernel has by that description. Raises OSError."""
        sequence = self._send(message, Flag.REQUEST)
        while True:
            for kind, got, number, content in parts(self._socket.recv(_RECEIVE_BYTES)):
                if number != sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    raise _error(got, content)
                return decode(Verb(kind), content)

    def request(self, message: Message, flags: Flag = Flag.REQUEST) -> None:
        """Order a change and wait until the kernel has made it."""
        sequence = self._send(message, flags | Flag.ACK)
        while True:
            for kind, got, number, content in parts(self._socket.recv(_RECEIVE_BYTES)):
                if number == sequence and kind == _NLMSG_ERROR:
                    if content[:4] != bytes(4):
                        raise _error(got, content)
                    return

    def _send(self, message: Message, flags: Flag) -> int:
        self._sequence += 1
        content = message.encode()
        size = _HEADER.size + len(content)
        header = _HEADER.pack(size, message.verb, flags | Flag.REQUEST, self._sequence, 0)
        self._socket.send(header + content)
        return self._sequence


def _error(flags: int, content: bytes) -> OSError:
    """The kernel's number, and its words where it has some."""
    number = -int.from_bytes(content[:4], sys.byteorder, signed=True)
    words = os.strerror(number)
    if flags & _NLM_F_ACK_TLVS:
        told = dict(decode_attributes(content[4 + _HEADER.size :])).get(_NLMSGERR_ATTR_MSG)
        words = f"{words} ({told.rstrip(bytes(1)).decode(errors='replace')})" if told else words
    return OSError(number, words)
