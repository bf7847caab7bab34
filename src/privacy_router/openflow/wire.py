"""Reading and writing bytes: a bounded reader that must end exactly, and value classes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, dataclass_transform

from privacy_router.openflow.errors import DecodeError

if TYPE_CHECKING:
    from types import TracebackType


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value_class(cls: type[_T]) -> type[_T]:
    """A hashable dataclass with slots whose fields may not be set.

    The type checker forbids assignment, not the interpreter: a dataclass that is frozen at run
    time takes several times as long to make, and flows are made by the hundred thousand.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@cache
def _struct(layout: str) -> struct.Struct:
    return struct.Struct("!" + layout)


class Reader:
    """Reads `data[start:end]` in order. Every method raises DecodeError when bytes are missing.

    As a context manager it also demands that nothing is left over.
    """

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = start
        self.end = len(data) if end is None else end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()

    def left(self) -> int:
        """How many bytes are unread."""
        return self.end - self.position

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """The values of a `struct` layout in network order, without the leading "!"."""
        form = _struct(layout)
        start = self.position
        if start + form.size > self.end:
            raise DecodeError(f"{form.size} bytes expected, {self.left()} left")
        self.position = start + form.size
        return form.unpack_from(self.data, start)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if not 0 <= count <= self.left():
            raise DecodeError(f"{count} bytes expected, {self.left()} left")
        start = self.position
        self.position = start + count
        return self.data[start : self.position]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.left())

    def sub(self, count: int) -> Reader:
        """A reader of the next `count` bytes alone."""
        if not 0 <= count <= self.left():
            raise DecodeError(f"{count} bytes expected, {self.left()} left")
        start = self.position
        self.position = start + count
        return Reader(self.data, start, self.position)

    def peek(self, layout: str) -> tuple[Any, ...]:
        """Like `unpack`, without moving on."""
        start = self.position
        values = self.unpack(layout)
        self.position = start
        return values

    def finish(self) -> None:
        """Raises DecodeError unless everything was read."""
        if self.position != self.end:
            raise DecodeError(f"{self.left()} bytes too many")


def pad8(data: bytes) -> bytes:
    """`data` with zeros up to the next multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)


def text_untrusted(data: bytes) -> str:
    """A fixed-size, NUL-padded string. Bytes that are not UTF-8 stay visible as `\\xNN`.

    Raises nothing: every value of such a field is legal.
    """
    return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
