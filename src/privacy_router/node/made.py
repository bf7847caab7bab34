"""Which files were made before, so that one that is missing is not taken for one that never was.

For each file there is an empty marker beside it, in the directory `made`. The file is written
first and its marker afterwards: after a crash in between there is a file without a marker, which
counts as there, and never a marker without its file. A marker without its file therefore says that
the file was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError
from privacy_router.host.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY: Final = "made"


class MissingFileError(StorageError):
    """A file that was there before is gone. What it says is not known to be empty or new."""


def marker_of(path: Path) -> Path:
    """Where it is noted that this file was made."""
    return path.parent / DIRECTORY / path.name


def note_made(path: Path) -> None:
    """Remember that this file was made, if it is there. Raises StorageError."""
    marker = marker_of(path)
    if path.exists() and not marker.exists():
        write_private(marker, b"")


def is_there(path: Path, *, known: bool = False, last_value: str = "") -> bool:
    """Whether the file is there; False only if it never was.

    `known`: the caller has what it said, so it was. `last_value` says where that can be read.
    Raises MissingFileError when it was there and is gone.
    """
    if path.exists():
        return True
    if not known and not marker_of(path).exists():
        return False
    where = f"{last_value}; " if last_value else ""
    raise MissingFileError(
        f"{path} is missing, and it was there before",
        remedy=f"restore it from a backup; {where}to have a new one made on purpose:"
        f" privacy-router down, remove {marker_of(path)} too, then privacy-router up",
    )
