"""The document as the engine keeps it: its text, and where its relative paths start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privacy_router.config import parse_document

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTHING: Final = '{"version": 1, "plugins": {}}'


@dataclass(frozen=True)
class Source:
    """A document; `base` is the directory that its relative paths are in, if any."""

    text: str = NOTHING
    base: str = ""
    name: str = "the document"

    def sections(self) -> Mapping[str, Any]:
        """The section of each plugin that the document names. Raises ConfigError."""
        base = Path(self.base) if self.base else None
        plugins = parse_document(self.text, self.name, base).plugins
        found = {name: getattr(plugins, name) for name in type(plugins).model_fields}
        return {name: section for name, section in found.items() if section is not None}

    def same_as(self, other: Source | None) -> bool:
        """Whether both say the same, whatever they are called."""
        return other is not None and (self.text, self.base) == (other.text, other.base)
