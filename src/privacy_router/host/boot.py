"""Which boot of the machine this is."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def boot_id() -> str:
    """Another one after each start of the machine; random(4), boot_id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
