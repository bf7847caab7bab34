"""Kernel settings that come and go with their device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import StorageError
from privacy_router.node.kinds import setting
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.values.items import HOST, Kind
from privacy_router.values.sysctls import DeviceSettingKey, SettingValue, Sysctl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.machine import NodeHost

_log = structlog.get_logger()


def observe(place: Place) -> Iterator[tuple[DeviceSettingKey, SettingValue]]:
    """The settings that the node sets, and of the host those that it has set. Raises OSError."""
    others = _noted(place.machine) if place.where == HOST else []
    return setting.observe_of(DeviceSettingKey, place, others)


def _noted(machine: NodeHost) -> list[Sysctl]:
    """The settings of the host that the node changed. A note that cannot be read holds up nothing
    else of a look; changing such a setting, and `down`, fail by it."""
    try:
        return [Sysctl.at(path) for path in machine.borrowed.names()]
    except StorageError as error:
        _log.debug("no settings of the host are known", reason=error.message)
        return []


DEVICE_SETTING: Final = PlacedKind(
    kind=Kind.DEVICE_SETTING,
    domain="net",
    role=Role.OPENS,
    down=Down.TAKEN,
    keys=(DeviceSettingKey,),
    values=(SettingValue,),
    observe=observe,
    apply=setting.apply,
    remove=setting.remove,
    knows_own=True,
)
