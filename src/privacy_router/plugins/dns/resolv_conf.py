"""/etc/resolv.conf as a whole, and a copy of what was there before. Blocks on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.host.file_state import put_entry, read_entry
from privacy_router.plugins.dns.declare import FILE, KEPT_COPY, MARK

if TYPE_CHECKING:
    from privacy_router.engine.model import Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine


def read(machine: Machine) -> Value:
    """The file or link as a value. Raises StorageError."""
    return read_entry(machine.path(FILE[1]))


def put(machine: Machine, wanted: Value, tell: Progress) -> None:
    """Have it so. What is not ours is kept beside it, for as long as ours is there.

    Raises StorageError.
    """
    path, kept = machine.path(FILE[1]), machine.path(KEPT_COPY)
    found = read_entry(path)
    if _is_ours(wanted) and not _is_ours(found):
        if found is not None and found["link"] is not None:
            tell(f"{path} becomes a file; it was a link to {found['link']}")
        put_entry(kept, found)
    put_entry(path, wanted)
    if not _is_ours(wanted):
        put_entry(kept, None)


def _is_ours(value: Value) -> bool:
    return value is not None and (value["content"] or "").startswith(MARK)
