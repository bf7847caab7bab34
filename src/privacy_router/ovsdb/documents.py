"""Where one JSON document ends and the next begins (RFC 7047, 4: a stream of them; pure).

Every byte is looked at once, however the pieces are cut, and what is longer or deeper than any
honest document ends with an OvsdbError before it costs memory or stack.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from privacy_router.ovsdb.errors import OvsdbError

DEPTH_LIMIT: Final = 64
_OUTSIDE: Final = re.compile(rb'["{}\[\]]')
_INSIDE: Final = re.compile(rb'["\\]')


class Documents:
    """Takes pieces of a stream, gives the objects in it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._at = 0  # what is before it has been looked at
        self._depth = 0
        self._in_string = False

    def feed_untrusted(self, piece: bytes) -> list[dict[str, Any]]:
        """The documents that end in this piece. Raises OvsdbError."""
        self._buffer += piece
        found = []
        while (end := self._next_end()) is not None:
            found.append(_object_untrusted(bytes(self._buffer[:end])))
            del self._buffer[:end]
            self._at = 0
        if len(self._buffer) > self._limit_bytes:
            raise OvsdbError("Open vSwitch's database says more than it should")
        return found

    def _next_end(self) -> int | None:
        """Look at what has not been looked at, up to the end of a document."""
        while True:
            pattern = _INSIDE if self._in_string else _OUTSIDE
            found = pattern.search(self._buffer, self._at)
            if found is None:
                self._at = len(self._buffer)
                return None
            if not self._take(found[0], found.end()):
                return None
            if self._depth == 0:
                return self._at

    def _take(self, mark: bytes, end: int) -> bool:
        """Take in one mark; False where the byte that it escapes is still on the way."""
        if mark == b"\\":
            if end == len(self._buffer):
                self._at = end - 1
                return False
            end += 1
        elif mark == b'"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if mark in b"{[" else -1
        if self._depth > DEPTH_LIMIT or self._depth < 0 or (mark == b'"' and not self._depth):
            raise OvsdbError("Open vSwitch's database does not speak JSON-RPC")
        self._at = end
        return True


def _object_untrusted(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise OvsdbError(f"Open vSwitch's database sent what is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise OvsdbError("Open vSwitch's database does not speak JSON-RPC")
    return document
