"""What a kind of item has to say of itself.

To add a kind: a member of `Kind` (values/items.py), its key and value (values/), a file beside this
one with `observe`, `apply`, `remove` and a `PlacedKind` or `NodeKind` made of them, a line in
registry.py, and what plans such items (plan/). CONTRIBUTING.md, "Add a kind of item", names every
file, and `tests/adding/test_add_kind.py` follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from privacy_router.values.items import ItemValue, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privacy_router.node.kinds.place import Look, Place
    from privacy_router.node.kinds.session import Session
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change, Kind

K = TypeVar("K", bound=Key)
V = TypeVar("V", bound=ItemValue)
Domain = Literal["lxc", "net", "openflow", "privacy"]
"""The plugin as whose resources items are shown."""


class Role(Enum):
    """What an item that could not be made means to the others of its namespace."""

    GUARDS = auto()
    """None that opens is made there: the namespace would let pass what it should not."""
    OPENS = auto()
    """It waits for those that guard: packets could pass by it."""
    APART = auto()
    """Nothing."""


class Down(Enum):
    """How items go when the node is taken down, which is done by marks and without a plan."""

    TAKEN = auto()
    """`node/teardown.py` takes them away."""
    WITH_NAMESPACE = auto()
    WITH_BRIDGE = auto()


class Handler(Protocol):
    """A kind, to those that treat all kinds alike."""

    @property
    def kind(self) -> Kind:
        """Which."""

    @property
    def domain(self) -> Domain:
        """Under which plugin its items are shown."""

    @property
    def role(self) -> Role:
        """What it means to the others."""

    @property
    def down(self) -> Down:
        """How they go when the node is taken down."""

    def make(self, session: Session, change: Change) -> None:
        """Carry out one change."""

    def order(self, desired: DesiredState, change: Change) -> int:
        """When among the changes of its kind an item is made."""


class PlacedHandler(Handler, Protocol):
    """A kind whose items are in namespaces."""

    @property
    def knows_own(self) -> bool:
        """See `PlacedKind`."""

    def observe(self, place: Place, /) -> Iterable[tuple[Key, ItemValue]]:
        """The items of that kind that are there."""


class NodeHandler(Handler, Protocol):
    """A kind whose items are in no namespace."""

    def observe(self, look: Look, /) -> Iterable[tuple[Key, ItemValue]]:
        """The items of that kind that are there."""


def _as_given(desired: DesiredState, key: Key, value: ItemValue) -> int:
    del desired, key, value
    return 0


@dataclass(frozen=True, kw_only=True)
class ItemKind(Generic[K, V]):
    """A kind of item; `keys` and `values` are the classes that its items consist of.

    `apply(session, key, before, after)` makes an item `after`, of one that is `before` (None: of
    none); `remove(session, key, before)` takes it away. Each can be done twice: a controller that
    was killed in the middle starts again with what it then finds. They raise OSError and the errors
    below PrivacyRouterError. `rank_within` of (desired state, key, value) says when among those of
    its kind an item is made.
    """

    kind: Kind
    domain: Domain
    role: Role
    down: Down
    keys: tuple[type[K], ...]
    values: tuple[type[V], ...]
    apply: Callable[[Session, K, V | None, V], None]
    remove: Callable[[Session, K, V], None]
    rank_within: Callable[[DesiredState, K, V], int] = _as_given

    def make(self, session: Session, change: Change) -> None:
        """Carry out one change of an item of this kind. Raises TypeError for one of another."""
        key, before, after = self._key(change), self._value(change.before), change.after
        wanted = self._value(after)
        if wanted is not None:
            self.apply(session, key, before, wanted)
        elif before is not None:
            self.remove(session, key, before)

    def order(self, desired: DesiredState, change: Change) -> int:
        """When among the changes of its kind an item is made; the lower, the earlier."""
        value = self._value(change.after)
        return 0 if value is None else self.rank_within(desired, self._key(change), value)

    def _key(self, change: Change) -> K:
        if isinstance(change.key, self.keys):
            return change.key
        raise TypeError(f"{change.key!r} is no key of {self.kind.name}")

    def _value(self, value: ItemValue | None) -> V | None:
        if value is None or isinstance(value, self.values):
            return value
        raise TypeError(f"{type(value).__name__} is no value of {self.kind.name}")


@dataclass(frozen=True, kw_only=True)
class PlacedKind(ItemKind[K, V]):
    """A kind whose items are in network namespaces.

    `observe(place)` gives all that are there now, from a thread in that namespace. `knows_own`:
    what it gives of the host's namespace is the node's, by a mark or a note; of other kinds only
    what is desired counts there, since all else is the host's own.
    """

    observe: Callable[[Place], Iterable[tuple[K, V]]]
    knows_own: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeKind(ItemKind[K, V]):
    """A kind whose items are in no namespace; `observe(look)` gives all that are there now."""

    observe: Callable[[Look], Iterable[tuple[K, V]]]
