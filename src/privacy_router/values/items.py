"""The state of a node as single items, each with a key that says what it is about.

A desired and an observed state are both mappings from `Key` to a value; where the values differ,
there is a `Change`. Everything that `plan` shows, `up` applies and the controller repairs is such
a change, so nothing can be applied that is not also read back.

The key and the value of each kind are in the module of its subject, here in `values`, and those of
meters and flows in `pipeline.flow`; how each is read, made and taken away is in `node.kinds`.
CONTRIBUTING.md lists what a new kind needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.values.changes import KeyedChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]
"""What JSON can say."""


class Kind(IntEnum):
    """What an item is, in the order in which items come into being; they go the other way round.

    What takes its time to start comes early. A namespace forbids before it lets through: firewall
    and rules are in force before the first device in it is up.
    """

    NAMESPACE = 0
    SETTING = 1
    PROCESS = 2
    BRIDGE = 3
    PORT = 4
    FIREWALL = 5
    RULE = 6
    DEVICE = 7
    DEVICE_SETTING = 8
    ADDRESS = 9
    NEIGHBOUR = 10
    ROUTE = 11
    TUNNEL = 12
    FOREIGN = 13
    METER = 14
    FLOW = 15


HOST: Final = "host"
"""Where items are that live in the host's own namespace; only a chain without WARP has any."""
NODE: Final = "node"
"""Where items are that live in no namespace and on no bridge: processes, and the bridge."""


@dataclass(frozen=True)
class Key(ABC):
    """What an item is about: the namespace (or bridge) that it is in, and what it is there.

    Each kind has a class, and sometimes two, with what identifies the item as typed parts.
    """

    kind: ClassVar[Kind]
    where: str

    def __init_subclass__(cls, *, kind: Kind) -> None:
        super().__init_subclass__()
        cls.kind = kind

    @property
    @abstractmethod
    def name(self) -> str:
        """The parts as one text, for people; no program reads it back."""

    @property
    def order(self) -> tuple[Kind, str, str]:
        """What keys are sorted by: those that come into being first, first."""
        return self.kind, self.where, self.name

    def __lt__(self, other: Key) -> bool:
        return self.order < other.order


class ItemValue:
    """What an item is like: a frozen dataclass, compared by `==`, without a secret."""

    __slots__ = ()

    def plain(self) -> Plain:
        """It as JSON: an object with its fields, where a kind does not say it shorter."""
        return _members(self)


def plain(value: object) -> Plain:
    """A value as JSON; what has no other form is written as it prints, and sets are sorted."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, ItemValue):
        return value.plain()
    if is_dataclass(value):
        return _members(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, frozenset | set):
        return [*sorted(str(item) for item in value)]
    return str(value)


def _members(value: object) -> Plain:
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} is no dataclass")
    return {one.name: plain(getattr(value, one.name)) for one in fields(value)}


@dataclass(frozen=True)
class Present(ItemValue):
    """Of an item that is there or not, and nothing else: a namespace, the bridge itself."""

    def plain(self) -> Plain:
        """True."""
        return True

    def __str__(self) -> str:
        return "there"


Items = dict[Key, ItemValue]


class Change(KeyedChange[Key, ItemValue | None]):
    """One difference of an item."""


_NAMED_MOST: Final = 3


def summary(changes: Sequence[Change]) -> str:
    """The changes in one line: of each kind how many, and the names of the first few."""
    names: dict[Kind, list[str]] = {}
    for change in changes:
        names.setdefault(change.key.kind, []).append(f"{change.key.name} ({change.key.where})")
    parts = []
    for kind, found in names.items():
        more = f" and {len(found) - _NAMED_MOST} more" if len(found) > _NAMED_MOST else ""
        parts.append(f"{kind.name.lower()} {', '.join(found[:_NAMED_MOST])}{more}")
    return "; ".join(parts)


def diff(desired: Mapping[Key, ItemValue], observed: Mapping[Key, ItemValue]) -> list[Change]:
    """The changes that turn `observed` into `desired`, in the order in which to make them."""
    surplus = sorted(observed.keys() - desired.keys(), key=lambda key: key.order, reverse=True)
    different = (key for key, value in desired.items() if observed.get(key) != value)
    wanted = sorted(different, key=lambda key: key.order)
    removals = [Change(key, observed[key], None) for key in surplus]
    return removals + [Change(key, observed.get(key), desired[key]) for key in wanted]
