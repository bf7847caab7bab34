"""The process of a WireGuard device, where the kernel has none (pure)."""

from __future__ import annotations

from privacy_router.values.confinement import TUN_DEVICE, Capability, Confinement
from privacy_router.values.processes import ProcessSpec
from privacy_router.values.wireguard import UAPI_DIR


def device_process(name: str) -> ProcessSpec:
    """wireguard-go for the device of that name."""
    return ProcessSpec(
        name,
        ("wireguard-go", "--foreground", name),
        {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"},
        confinement=Confinement(
            capabilities=(Capability.NET_ADMIN, Capability.NET_BIND_SERVICE),
            address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
            devices=(TUN_DEVICE,),
            writable=(str(UAPI_DIR),),
        ),
    )
