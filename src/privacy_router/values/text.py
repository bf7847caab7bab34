"""Text for people: what a terminal may be given, and moments."""

from __future__ import annotations

import json
from datetime import UTC, datetime


def printable(text: str) -> str:
    """In one line, and without what would move a terminal's cursor, change its direction or not be
    encodable: what was read from the machine may have been written by any program."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def local_time(at_s: float) -> str:
    """A moment, in seconds since 1970, in this machine's time."""
    return datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
