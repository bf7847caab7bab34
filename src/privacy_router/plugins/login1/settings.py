"""Settings of logind.conf(5): their names there, on D-Bus and in the document (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.model import Mode, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.config.plugins.login1 import KeysConfig
    from privacy_router.engine.model import Value

_NEVER_US: Final = 2**64 - 1
_US_PER_S: Final = 10**6


@dataclass(frozen=True)
class Setting:
    """A setting: its key in the document, its name in logind.conf, the manager's property."""

    key: str
    name: str
    on_bus: str

    @property
    def is_time(self) -> bool:
        """Whether its value is a time: microseconds on D-Bus, seconds here."""
        return self.on_bus.endswith("USec")


def _same(key: str, name: str) -> Setting:
    return Setting(key, name, name)


def _time(key: str, name: str) -> Setting:
    return Setting(key, f"{name}Sec", f"{name}USec")


SETTINGS: Final = (
    _same("handle_lid_switch", "HandleLidSwitch"),
    _same("handle_lid_switch_external_power", "HandleLidSwitchExternalPower"),
    _same("handle_lid_switch_docked", "HandleLidSwitchDocked"),
    _same("handle_power_key", "HandlePowerKey"),
    _same("handle_power_key_long_press", "HandlePowerKeyLongPress"),
    _same("handle_reboot_key", "HandleRebootKey"),
    _same("handle_reboot_key_long_press", "HandleRebootKeyLongPress"),
    _same("handle_suspend_key", "HandleSuspendKey"),
    _same("handle_suspend_key_long_press", "HandleSuspendKeyLongPress"),
    _same("handle_hibernate_key", "HandleHibernateKey"),
    _same("handle_hibernate_key_long_press", "HandleHibernateKeyLongPress"),
    _same("idle_action", "IdleAction"),
    _time("idle_action_s", "IdleAction"),
    _same("kill_user_processes", "KillUserProcesses"),
    _same("remove_ipc", "RemoveIPC"),
    _time("user_stop_delay_s", "UserStopDelay"),
    _time("stop_idle_session_s", "StopIdleSession"),
    _time("inhibit_delay_max_s", "InhibitDelayMax"),
    _time("holdoff_timeout_s", "HoldoffTimeout"),
)


def declared(keys: KeysConfig) -> Iterator[tuple[str, Resource]]:
    """The settings that a section declares: name in logind.conf, and what it should be."""
    for setting in SETTINGS:
        found = getattr(keys, setting.key)
        if found is None:
            continue
        if isinstance(found, str | int):  # bool is an int
            yield setting.name, Resource(found)
        else:
            yield setting.name, Resource(found.value, Mode(found.mode))


def in_force(properties: Mapping[str, Any]) -> dict[str, Value]:
    """The settings that this login manager has, by name in logind.conf, from its properties."""
    return {
        setting.name: _value(setting, properties[setting.on_bus])
        for setting in SETTINGS
        if setting.on_bus in properties
    }


def _value(setting: Setting, found: Any) -> Value:
    if not setting.is_time:
        return found
    if found == _NEVER_US:
        return "infinity"
    seconds, rest_us = divmod(found, _US_PER_S)
    return seconds + rest_us / _US_PER_S if rest_us else seconds


def text(value: Value) -> str:
    """A value as logind.conf has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{round(value * _US_PER_S)}us"
    return f"{value}s" if isinstance(value, int) else str(value)
