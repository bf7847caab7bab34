"""What of an imported profile is not in force, and why (pure)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING, Final

from privacy_router.hops.warp.profile import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.sections import WarpConfig
    from privacy_router.hops.warp.profile import WarpProfile

MTU_RANGE_BYTES: Final = range(1280, 1501)
"""From what IPv6 needs (RFC 8200, section 5) to what the hops' own segment carries."""

_REASONS: Final = {
    "DNS": "the clients are told wireguard.dns, and the VPS is resolved by xray.dns",
    "ListenPort": "the kernel chooses a port that no other program has",
    "FwMark": "the host's guard knows WARP's packets by a mark of the node's own",
    "Table": "the hop's namespace has its own routes, and the host's stay as they are",
    "SaveConfig": "the profile is read and never written",
}
_RESERVED: Final = (
    "no WireGuard of Linux can write these bytes; most of Cloudflare's sites do without them, and"
    " where one does not there is no handshake"
)
_ALLOWED_IPS: Final = (
    "the tunnel is the only way out of its hop, so everything goes into it; what may is decided by"
    " the hops' firewalls"
)


def usable_mtu_bytes(profile: WarpProfile) -> int | None:
    """The profile's MTU, if a hop can have it."""
    return profile.mtu_bytes if profile.mtu_bytes in MTU_RANGE_BYTES else None


def not_in_force(profile: WarpProfile, settings: WarpConfig) -> Iterator[tuple[str, str]]:
    """Each key of the profile that the node does not follow, and the reason."""
    for name in profile.left_out:
        yield name, _REASONS[name]
    if profile.reserved is not None and any(profile.reserved):
        yield "Reserved", _RESERVED
    if not _are_everywhere(profile):
        yield "AllowedIPs", _ALLOWED_IPS
    yield from _overruled(profile, settings)


def _are_everywhere(profile: WarpProfile) -> bool:
    """Whether the networks are all of both families, if in pieces."""
    v4 = [network for network in profile.allowed_ips if isinstance(network, IPv4Network)]
    v6 = [network for network in profile.allowed_ips if isinstance(network, IPv6Network)]
    return (*collapse_addresses(v4), *collapse_addresses(v6)) == EVERYWHERE


def _overruled(profile: WarpProfile, settings: WarpConfig) -> Iterator[tuple[str, str]]:
    mtu_bytes, keepalive_s = profile.mtu_bytes, profile.keepalive_s
    if mtu_bytes is not None and settings.mtu not in (None, mtu_bytes):
        yield f"MTU = {mtu_bytes}", f"warp.mtu says {settings.mtu}"
    elif mtu_bytes is not None and mtu_bytes not in MTU_RANGE_BYTES:
        first, last = MTU_RANGE_BYTES[0], MTU_RANGE_BYTES[-1]
        used = f"it has {settings.mtu_bytes}"
        yield f"MTU = {mtu_bytes}", f"a hop's MTU is {first} to {last}; {used}"
    if keepalive_s is not None and settings.persistent_keepalive not in (None, keepalive_s):
        said = f"warp.persistent_keepalive says {settings.persistent_keepalive}"
        yield f"PersistentKeepalive = {keepalive_s}", said
