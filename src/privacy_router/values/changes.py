"""One difference between what is wanted and what is there, of anything that has a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


@dataclass(frozen=True)
class KeyedChange(Generic[K, V]):
    """`before` None means to add, `after` None means to remove what `key` names.

    The engine's changes are of resources (`engine.model.Change`), the node's of its items
    (`values.items.Change`).
    """

    key: K
    before: V = field(repr=False)
    after: V = field(repr=False)

    @property
    def verb(self) -> str:
        """`add`, `remove` or `change`."""
        if self.before is None:
            return "add"
        return "remove" if self.after is None else "change"
