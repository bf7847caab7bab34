"""The document that the machine is in by now, which need not be the one in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.cli.options import is_named, load_config
from privacy_router.config import read_text
from privacy_router.engine.document import Source
from privacy_router.engine.journal import Journal
from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig


def config_in_force(path: Path) -> PrivacyRouterConfig:
    """The configuration of the node that a controller keeps; of the file, where none keeps one, and
    where the caller names a file. Raises ConfigError, StorageError."""
    source = None if is_named(path) else source_in_force()
    if source is not None:
        section = source.sections().get("privacy_router")
        if section is not None:
            found: PrivacyRouterConfig = section
            return found
    return load_config(path)


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


def has_other_text(path: Path) -> bool:
    """Whether the file says something else than what is in force, if anything is."""
    source = source_in_force()
    if source is None or is_named(path):
        return False
    try:
        return not Source(read_text(path), str(path.absolute().parent)).same_as(source)
    except PrivacyRouterError:
        return True
