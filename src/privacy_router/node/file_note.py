"""Why the file that the controller reads is not what it keeps, for `status` to tell.

The controller writes it into the run directory, with its process id: what an earlier one noted is
not taken for its successor's.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from privacy_router.client.status import FileNote, FileState
from privacy_router.errors import StorageError
from privacy_router.host.files import read_bounded, write_private
from privacy_router.json_input import JsonError, read_json_untrusted

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT_BYTES: Final = 64 * 1024
_TEXT_MAX: Final = 2000


def write_note(file: Path, pid: int, note: FileNote | None) -> None:
    """Have `status` tell that, or nothing. Raises StorageError."""
    if note is not None:
        write_private(file, json.dumps({"pid": pid, **note.as_dict()}).encode())
        return
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot remove {file}: {error.strerror}", remedy="make its directory writable"
        ) from error


def read_note(file: Path, pid: int | None) -> FileNote | None:
    """What the controller of that process id says; None where it says nothing."""
    if pid is None or not file.exists():
        return None
    try:
        return note_untrusted(read_bounded(file, _LIMIT_BYTES), pid)
    except (StorageError, ValueError):
        return None  # another program wrote there, or it is being removed: there is nothing to tell


def note_untrusted(data: bytes, pid: int) -> FileNote | None:
    """What process `pid` noted; None for another's note. Raises ValueError."""
    try:
        found = read_json_untrusted(data, limit_bytes=_LIMIT_BYTES)
        if found["pid"] != pid:
            return None
        texts = [str(found[name])[:_TEXT_MAX] for name in ("path", "reason", "remedy")]
        next_s = None if found["next_s"] is None else _seconds(found["next_s"])
        state, at_s = FileState(found["state"]), _seconds(found["at_s"])
    except (JsonError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError("not a note about a file") from error
    path, reason, remedy = texts
    return FileNote(path, state, at_s, reason, remedy, next_s)


def _seconds(value: Any) -> float:
    found = float(value)
    if not 0 <= found <= datetime(9998, 1, 1, tzinfo=UTC).timestamp():
        raise ValueError("not a time")
    return found
