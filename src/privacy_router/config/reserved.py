"""Names of network devices that a document cannot give away, and for whom each is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY_TUNNEL: Final = "wg100"
WARP_TUNNEL: Final = "wgcf"
EXIT_PORT: Final = "pr-exit"

NODE_DEVICES: Final[Mapping[str, str]] = {
    GATEWAY_TUNNEL: "the gateway's WireGuard device",
    WARP_TUNNEL: "the WARP hop's WireGuard device",
    EXIT_PORT: "the bridge's port to the host, in a chain without WARP",
}
"""Devices of a node's that have the same name on every machine."""

_KERNELS: Final = ("erspan0", "gre0", "gretap0", "ip6gre0", "ip6tnl0", "sit0", "tunl0")
_KERNELS_VTI: Final = ("ip_vti0", "ip6_vti0")
_RESERVED: Final[Mapping[str, str]] = {
    **NODE_DEVICES,
    "lo": "the loopback device of every network namespace",
    "ovs-netdev": "a device of Open vSwitch's own",
    "ovs-system": "a device of Open vSwitch's own",
    **dict.fromkeys(("all", "default"), "the kernel's settings of all devices"),
    **dict.fromkeys(
        (*_KERNELS, *_KERNELS_VTI), "a device that the kernel may put into every network namespace"
    ),
}


def whose(name: str) -> str:
    """What the name is kept for; empty for one that may be given to a port or a bridge."""
    return _RESERVED.get(name, "")
