"""The process of a WireGuard device, where the kernel has none (pure)."""

from __future__ import annotations

from privacy_router.values import programs
from privacy_router.values.confinement import TUN_DEVICE, Capability, Confinement
from privacy_router.values.processes import ProcessSpec
from privacy_router.values.wireguard import UAPI_DIR, wireguard_go


def device_process(name: str, *, is_called: bool) -> ProcessSpec:
    """wireguard-go for the device of that name; `is_called`: see `wireguard_go`."""
    return ProcessSpec(
        name,
        wireguard_go(name, is_called=is_called),
        {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"},
        confinement=Confinement(
            capabilities=(Capability.NET_ADMIN, Capability.NET_BIND_SERVICE),
            address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
            devices=(TUN_DEVICE,),
            writable=(str(UAPI_DIR),),
            readable=programs.places() if is_called else (),
        ),
    )
