"""The document as the engine keeps it: its text, and where its relative paths start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from privacy_router.client.names import NO_DOCUMENT
from privacy_router.config import parse_document
from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.host.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NAMED_LIMIT_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Source:
    """A document; `base` is the directory that its relative paths are in, if any."""

    text: str = NO_DOCUMENT
    base: str = ""
    name: str = "the document"

    def sections(self) -> Mapping[str, Any]:
        """The section of each plugin that has to do with what the document declares. Raises
        ConfigError."""
        base = Path(self.base) if self.base else None
        plugins = parse_document(self.text, self.name, base).plugins
        found = {name: getattr(plugins, name) for name in type(plugins).model_fields}
        del found["privacy"]  # the hops of a node are made as one with the rest of it
        found["privacy_router"] = plugins.node
        return {name: section for name, section in found.items() if section is not None}

    def same_as(self, other: Source | None) -> bool:
        """Whether both say the same, under any names."""
        return other is not None and (self.text, self.base) == (other.text, other.base)

    def mark(self, parse: Callable[[Source], Mapping[str, Any]]) -> str:
        """By which it is known whether this document was considered: a digest of what it says and
        of the files that it names. Another key or profile in such a file is another document, and
        another directory is only where a relative path then leads elsewhere.

        `parse` finds the names. Reads the files.
        """
        digest = hashlib.sha256(self.text.encode(errors="surrogatepass"))
        try:
            named = sorted(set(_paths_in(parse(self))))
        except PrivacyRouterError:
            named = []  # it is refused, and names nothing
        for path in named:
            digest.update(f"\0{path}\0".encode() + _digest_of(path))
        return digest.hexdigest()


def _paths_in(value: Any) -> Iterator[Path]:
    """The files that a section names, wherever in it."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for _, held in value:
            yield from _paths_in(held)
    elif isinstance(value, dict):
        for held in value.values():
            yield from _paths_in(held)
    elif isinstance(value, list | tuple | set | frozenset):
        for held in value:
            yield from _paths_in(held)


def _digest_of(path: Path) -> bytes:
    try:
        return hashlib.sha256(read_bounded(path, _NAMED_LIMIT_BYTES)).digest()
    except StorageError as error:
        return error.message.encode()  # that it can be read from now on is a change, too
