"""Kernel settings below /proc/sys/net, as values and as items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from privacy_router.values.items import ItemValue, Key, Kind, Plain


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting below /proc/sys/net, by its parts (ip-sysctl.rst).

    `place` is the device whose setting it is, or `all` or `default`; None where it has none.
    """

    protocol: str
    setting: str
    place: str | None = None

    @classmethod
    def at(cls, path: str) -> Sysctl:
        """From the kernel's own name, such as `ipv4/conf/warp0/forwarding`."""
        protocol, _, setting = path.partition("/")
        parts = setting.split("/", 2)
        if len(parts) == 3 and parts[0] == "conf":
            return cls(protocol, parts[2], parts[1])
        return cls(protocol, setting)

    @cached_property
    def path(self) -> str:
        """The kernel's own name."""
        place = () if self.place is None else ("conf", self.place)
        return "/".join((self.protocol, *place, self.setting))

    @property
    def device(self) -> str | None:
        """The one device that it is of; None for a setting of all of them, or of none."""
        return None if self.place in ("all", "default") else self.place


@dataclass(frozen=True)
class SettingKey(Key, kind=Kind.SETTING):
    """A kernel setting that is there as long as its namespace is. Value: `SettingValue`."""

    sysctl: Sysctl

    @property
    def name(self) -> str:
        """Its path below /proc/sys/net."""
        return self.sysctl.path


@dataclass(frozen=True)
class DeviceSettingKey(Key, kind=Kind.DEVICE_SETTING):
    """A kernel setting that comes and goes with its device. Value: `SettingValue`."""

    sysctl: Sysctl

    @property
    def name(self) -> str:
        """Its path below /proc/sys/net."""
        return self.sysctl.path


@dataclass(frozen=True)
class SettingValue(ItemValue):
    """The value of a kernel setting, as its file has it, without the end of the line."""

    text: str

    def plain(self) -> Plain:
        """The text."""
        return self.text

    def __str__(self) -> str:
        return self.text
