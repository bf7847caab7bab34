"""Numbers of bytes and seconds, for people (pure)."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("kB", "MB", "GB", "TB")


def in_bytes(count: float) -> str:
    """A number of bytes for people: three figures and a unit (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS[:-1]:
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} {_UNITS[-1]}"


def age(seconds: float | None) -> str:
    """How long ago, for people."""
    if seconds is None:
        return "never"
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
