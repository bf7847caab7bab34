"""The document that the machine is in by now, which need not be the one in the file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.client.status import FileNote, FileState
from privacy_router.config import load_document, read_text
from privacy_router.engine.document import Source
from privacy_router.engine.journal import Journal
from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths
from privacy_router.node.status import Kept

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig


def config_in_force(path: Path, *, is_named: bool) -> PrivacyRouterConfig:
    """The configuration of the node that a controller keeps; of the file, where none keeps one, and
    where the caller names a file (`is_named`). Raises ConfigError, StorageError."""
    source = None if is_named else source_in_force()
    if source is not None:
        section = source.sections().get("privacy_router")
        if section is not None:
            found: PrivacyRouterConfig = section
            return found
    return load_document(path).config


def source_in_force() -> Source | None:
    """The document that a controller keeps, or that waits to be confirmed; None where none does, or
    the journal does not tell."""
    paths = NodePaths.from_environment()
    if controller_pid(paths) is None or not paths.journal.exists():
        return None
    try:
        journal = Journal(paths.journal)
        try:
            return journal.source_in_force()
        finally:
            journal.close()
    except StorageError:
        return None  # the controller says so itself; a look at the node needs no journal


def has_other_text(path: Path, *, is_named: bool) -> bool:
    """Whether the file says something else than what is in force, if anything is."""
    source = source_in_force()
    if source is None or is_named:
        return False
    try:
        return not Source(read_text(path), str(path.absolute().parent)).same_as(source)
    except PrivacyRouterError:
        return True


@dataclass(frozen=True)
class Subject:
    """The configuration to measure the node by, and what is to be said of the file."""

    config: PrivacyRouterConfig
    kept: Kept


def subject_of(file: Path, *, is_named: bool) -> Subject:
    """What to look at when the operator names `file` (`is_named`), or it is the default.

    Where a node is kept, it is measured by what is kept, unless the operator names a file; that the
    file says something else is one line. Raises ConfigError and StorageError for a file that is
    needed and cannot be used.
    """
    config = config_in_force(file, is_named=is_named)
    source = source_in_force()
    if source is None:
        return Subject(config, Kept())
    other = has_other_text(file, is_named=is_named)
    note = FileNote(str(file), FileState.CHANGED, time.time()) if other else None
    document = source.name if Path(source.name).is_absolute() else ""
    return Subject(config, Kept(document, note))
