"""Reading a document from a file or a text, all of its problems in one error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.problems import DOCUMENT_PATH, ConfigError, Problem
from privacy_router.config.syntax import (
    DOCUMENT_MAX_BYTES,
    UnreadableTextError,
    read_json_untrusted,
    too_large,
)
from privacy_router.config.validation import validate
from privacy_router.errors import StorageError
from privacy_router.values.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config.models import Document


def load_document(path: Path) -> Document:
    """Read the document at `path`; relative paths inside start at its directory.

    Raises StorageError when the file cannot be read and ConfigError when it cannot be used.
    """
    return _parse(read_text(path), str(path), path.absolute().parent)


def parse_document(text: str, source: str, base_directory: Path | None = None) -> Document:
    """Read a document from a text; `source` is its name in messages, and relative paths inside
    start at `base_directory`.

    Raises ConfigError with its problems when the text cannot be used.
    """
    if len(text) > DOCUMENT_MAX_BYTES:
        raise ConfigError(source, [too_large()])
    return _parse(text, source, base_directory)


def read_text(path: Path) -> str:
    """The text of the document at `path`. Raises StorageError, and ConfigError where it is no text
    or too much of it."""
    return _decode(_read(path), str(path))


def _parse(text: str, source: str, base_directory: Path | None) -> Document:
    try:
        data, oddities = read_json_untrusted(text)
    except UnreadableTextError as error:
        raise ConfigError(source, [error.problem]) from None
    document, problems, more = validate(data, base_directory)
    if document is None or oddities:
        raise ConfigError(source, [*oddities, *problems], more)
    return document


def _read(path: Path) -> bytes:
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(DOCUMENT_MAX_BYTES + 1)
    except FileNotFoundError:
        raise StorageError(
            f"{name}: there is no such file",
            remedy="Name an existing file, or write a new one with `privacy-router init`.",
        ) from None
    except IsADirectoryError:
        raise StorageError(
            f"{name}: this is a directory", remedy="Name the JSON file inside of it."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a file"
        raise StorageError(
            f"{name}: {reason}", remedy="Name a file that this user can read."
        ) from None
    if len(content) > DOCUMENT_MAX_BYTES:
        raise ConfigError(name, [too_large()])
    return content


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise ConfigError(source, [Problem(DOCUMENT_PATH, found, "text in UTF-8")]) from None
