"""Which configuration a look at the node is measured by: the one that the controller keeps."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.cli.options import DEFAULT_CONFIG
from privacy_router.config import ConfigError, PrivacyRouterConfig, load_document
from privacy_router.errors import StorageError
from privacy_router.node.status import Kept

if TYPE_CHECKING:
    from privacy_router.engine.document import Source
    from privacy_router.node.paths import NodePaths


@dataclass(frozen=True)
class Subject:
    """The configuration to measure the node by, and what is to be said of the file."""

    config: PrivacyRouterConfig
    kept: Kept


def subject_of(file: Path, paths: NodePaths) -> Subject:
    """What to look at when the operator names `file`, or names none and it is the default.

    Where a node is kept, it is measured by what is kept; that the file says something else is one
    line. Raises ConfigError and StorageError for a file that cannot be used, except for a default
    one that the node does not keep.
    """
    source = kept_source(paths)
    kept = None if source is None else source.sections().get("privacy_router")
    if source is None or kept is None:
        return Subject(load_document(file).config, Kept(""))
    origin = file_of(source)
    if file == DEFAULT_CONFIG and origin not in (None, file):
        return Subject(kept, Kept(str(origin)))
    is_same = load_document(file).config == kept
    difference = "" if is_same else _difference(file, origin)
    return Subject(kept, Kept(str(origin or ""), difference))


def _difference(file: Path, origin: Path | None) -> str:
    if origin is None or origin.absolute() == file.absolute():
        return f"{file} was changed and is not applied: privacy-router plan, privacy-router apply"
    return f"the node keeps {origin}, and {file} says something else (privacy-router plan)"


def kept_source(paths: NodePaths) -> Source | None:
    """The document that is kept, as the journal has it; None where there is none, or it cannot be
    read: what is wrong with the journal is not what a look at the node is about."""
    from privacy_router.engine.journal import Journal

    if not paths.journal.exists():
        return None
    try:
        with closing(Journal(paths.journal)) as journal:
            source = journal.source()
        if source is not None:
            source.sections()
    except (StorageError, ConfigError):
        return None
    return source


def file_of(source: Source) -> Path | None:
    """The file that a document was read from, if it was."""
    path = Path(source.name)
    return path if path.is_absolute() else None
