"""Which configuration a look at the node is measured by: the one that the controller keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.cli.in_force import config_in_force, has_other_text, source_in_force
from privacy_router.node.file_note import FileNote, FileState
from privacy_router.node.status import Kept

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig


@dataclass(frozen=True)
class Subject:
    """The configuration to measure the node by, and what is to be said of the file."""

    config: PrivacyRouterConfig
    kept: Kept


def subject_of(file: Path) -> Subject:
    """What to look at when the operator names `file`, or names none and it is the default.

    Where a node is kept, it is measured by what is kept, unless the operator names a file; that the
    file says something else is one line. Raises ConfigError and StorageError for a file that is
    needed and cannot be used.
    """
    config = config_in_force(file)
    source = source_in_force()
    if source is None:
        return Subject(config, Kept())
    note = FileNote(str(file), FileState.CHANGED, time.time()) if has_other_text(file) else None
    document = source.name if Path(source.name).is_absolute() else ""
    return Subject(config, Kept(document, note))
