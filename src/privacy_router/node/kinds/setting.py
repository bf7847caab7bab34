"""Kernel settings that are there as long as their namespace is, and what is common to all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from privacy_router.hops.settings import is_everywhere
from privacy_router.host import sysctl as files
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import HOST, Kind
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.sysctls import Sysctl

S = TypeVar("S", SettingKey, DeviceSettingKey)


def settings_of(
    desired: NodeState,
) -> Iterator[tuple[SettingKey | DeviceSettingKey, SettingValue]]:
    """The kernel settings of a state, in all of its places."""
    for key, value in desired.items.items():
        if isinstance(key, SettingKey | DeviceSettingKey) and isinstance(value, SettingValue):
            yield key, value


def read_here(
    wanted: Mapping[Sysctl, str], others: Collection[Sysctl] = ()
) -> dict[Sysctl, str | None]:
    """The values of these settings in the namespace that the calling thread is in; None for one
    that is missing. A wanted one that this kernel does not know, and need not, is as it should be.

    Raises OSError.
    """
    asked = {one.path: one for one in (*wanted, *others)}
    found = {asked[path]: text for path, text in files.read_here(asked).items()}
    for one, text in wanted.items():
        if found[one] is None and not is_everywhere(one):
            found[one] = text
    return found


def observe_of(
    key_of: type[S], place: Place, others: Collection[Sysctl] = ()
) -> Iterator[tuple[S, SettingValue]]:
    """The desired settings of that kind, and `others`, as they are in that place."""
    wanted = {
        key.sysctl: value.text
        for key, value in settings_of(place.desired)
        if key.where == place.where and isinstance(key, key_of)
    }
    for sysctl, text in read_here(wanted, set(others) - wanted.keys()).items():
        if text is not None:
            yield key_of(place.where, sysctl), SettingValue(text)


def observe(place: Place) -> Iterator[tuple[SettingKey, SettingValue]]:
    """The settings that the node sets. Raises OSError."""
    return observe_of(SettingKey, place)


def apply(
    session: Session,
    key: SettingKey | DeviceSettingKey,
    before: SettingValue | None,
    after: SettingValue,
) -> None:
    """Set it; what one of the host's was before is noted first."""
    if key.where == HOST:
        session.machine.borrowed.note(key.sysctl.path, None if before is None else before.text)
    try:
        files.write(path_of(key.where), {key.sysctl.path: after.text})
    except FileNotFoundError:
        if is_everywhere(key.sysctl):
            raise


def remove(session: Session, key: SettingKey | DeviceSettingKey, before: SettingValue) -> None:
    """Give one of the host's back as it was; those of a hop go with it."""
    del before
    if key.where == HOST:
        session.machine.borrowed.give_one_back(key.sysctl.path)


SETTING: Final = PlacedKind(
    kind=Kind.SETTING,
    domain="net",
    role=Role.GUARDS,
    down=Down.WITH_NAMESPACE,
    keys=(SettingKey,),
    values=(SettingValue,),
    observe=observe,
    apply=apply,
    remove=remove,
    knows_own=True,
)
