"""Properties of units: how the service manager takes and gives them (pure).

Values are those of `config.plugins.systemd_properties`; what a section cannot declare but may be
found is `default` (a weight that is not set) and the empty text (no restriction of CPUs).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, Final

from privacy_router.config.plugins.systemd_properties import (
    NO_LIMIT,
    as_ranges,
    of_ranges,
    without_covered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privacy_router.engine.model import Value

PERSISTENT: Final = "persistent"
RUNTIME: Final = "runtime"

DEFAULT: Final = "default"
_IDLE: Final = "idle"
_UNSET: Final = 2**64 - 1
_USEC_OF_PERCENT: Final = 10_000


@dataclass(frozen=True)
class Property:
    """A property on the bus: its name and type there, and how values are turned.

    A list is not replaced by setting it but added to, so it `grows`. `of_unit`: it is one of every
    unit and not only of those with a control group.
    """

    bus_name: str
    signature: str
    to_bus: Callable[[Value], Any] = lambda value: value
    from_bus: Callable[[Any], Value] = lambda found: found
    grows: bool = False
    of_unit: bool = False

    def assignments(self, value: Value) -> list[tuple[str, str, Any]]:
        """Name, type and value of what is to be set, in this order."""
        made = [(self.bus_name, self.signature, self.to_bus(value))]
        return [(self.bus_name, self.signature, []), *made] if self.grows else made


def _number_or(word: str) -> tuple[Callable[[Value], Any], Callable[[Any], Value]]:
    return (
        lambda value: _UNSET if value == word else value,
        lambda found: word if found == _UNSET else found,
    )


def _weight_to_bus(value: Value) -> int:
    known = {DEFAULT: _UNSET, _IDLE: 0}
    return known[value] if value in known else int(value)


def _weight_from_bus(found: int) -> Value:
    return {_UNSET: DEFAULT, 0: _IDLE}.get(found, found)


def _quota_to_bus(value: str) -> int:
    return _UNSET if value == NO_LIMIT else round(float(value[:-1]) * _USEC_OF_PERCENT)


def _quota_from_bus(found: int) -> str:
    return NO_LIMIT if found == _UNSET else f"{found / _USEC_OF_PERCENT:g}%"


def _mask_to_bus(value: str) -> bytes:
    numbers = of_ranges(value)
    mask = sum(1 << number for number in numbers)
    return mask.to_bytes(max(numbers, default=-1) // 8 + 1, "little")


def _mask_from_bus(found: bytes) -> str:
    mask = int.from_bytes(found, "little")
    return as_ranges(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def _networks_to_bus(value: Iterable[str]) -> list[list[Any]]:
    networks = [ip_network(text) for text in value]
    return [
        [int(AF_INET if n.version == 4 else AF_INET6), n.network_address.packed, n.prefixlen]
        for n in networks
    ]


def _networks_from_bus(found: Iterable[tuple[int, bytes, int]]) -> list[str]:
    networks = {
        ip_network((ip_address(bytes(address)), length), strict=False)
        for _, address, length in found
    }
    return list(without_covered(networks))


def _rules_to_bus(value: Iterable[str]) -> list[list[str]]:
    return [list(rule.rsplit(" ", 1)) for rule in value]


def _rules_from_bus(found: Iterable[tuple[str, str]]) -> list[str]:
    return sorted(f"{node} {access}" for node, access in found)


def _plain(name: str, signature: str) -> Property:
    return Property(name, signature)


def _amount(name: str) -> Property:
    return Property(name, "t", *_number_or(NO_LIMIT))


def _weight(name: str) -> Property:
    return Property(name, "t", _weight_to_bus, _weight_from_bus)


def _mask(name: str) -> Property:
    return Property(name, "ay", _mask_to_bus, _mask_from_bus)


def _networks(name: str) -> Property:
    return Property(name, "a(iayu)", _networks_to_bus, _networks_from_bus, grows=True)


PROPERTIES: Final = {
    "Description": Property("Description", "s", of_unit=True),
    "CPUAccounting": _plain("CPUAccounting", "b"),
    "IOAccounting": _plain("IOAccounting", "b"),
    "IPAccounting": _plain("IPAccounting", "b"),
    "MemoryAccounting": _plain("MemoryAccounting", "b"),
    "TasksAccounting": _plain("TasksAccounting", "b"),
    "CPUWeight": _weight("CPUWeight"),
    "StartupCPUWeight": _weight("StartupCPUWeight"),
    "CPUQuota": Property("CPUQuotaPerSecUSec", "t", _quota_to_bus, _quota_from_bus),
    "AllowedCPUs": _mask("AllowedCPUs"),
    "AllowedMemoryNodes": _mask("AllowedMemoryNodes"),
    "MemoryMin": _amount("MemoryMin"),
    "MemoryLow": _amount("MemoryLow"),
    "MemoryHigh": _amount("MemoryHigh"),
    "MemoryMax": _amount("MemoryMax"),
    "MemorySwapMax": _amount("MemorySwapMax"),
    "TasksMax": _amount("TasksMax"),
    "IOWeight": Property("IOWeight", "t", *_number_or(DEFAULT)),
    "StartupIOWeight": Property("StartupIOWeight", "t", *_number_or(DEFAULT)),
    "IPAddressAllow": _networks("IPAddressAllow"),
    "IPAddressDeny": _networks("IPAddressDeny"),
    "DeviceAllow": Property("DeviceAllow", "a(ss)", _rules_to_bus, _rules_from_bus, grows=True),
    "DevicePolicy": _plain("DevicePolicy", "s"),
    "ManagedOOMSwap": _plain("ManagedOOMSwap", "s"),
    "ManagedOOMMemoryPressure": _plain("ManagedOOMMemoryPressure", "s"),
    "ManagedOOMPreference": _plain("ManagedOOMPreference", "s"),
}
