"""The WARP hop's account: imported, kept from an earlier start, or registered."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import ConflictError, RemoteServiceError
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.uapi import format_endpoint, parse_endpoint
from privacy_router.host.wireguard import generate_private_key, public_key_of
from privacy_router.plan.keys import WarpTunnel

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.warp.profile import WarpProfile
    from privacy_router.host.uapi import Endpoint
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()

_PROFILE_LIMIT_BYTES = 64 * 1024


def load_tunnel(config: PrivacyRouterConfig, paths: NodePaths, *, make: bool) -> WarpTunnel:
    """The tunnel to Cloudflare. With `make`, an account is registered where there is none.

    Raises ConflictError while Cloudflare's terms are not accepted, RemoteServiceError when the
    account service or the endpoint's name cannot be reached, StorageError, ProfileError.
    """
    from privacy_router.hops.warp.profile import ProfileError, parse_profile_untrusted

    path = config.warp.wgcf_config or paths.warp_profile
    if config.warp.wgcf_config is None and not path.exists():
        if not make:
            return _stand_in(config)
        _register(config, paths)
    text = read_bounded(path, _PROFILE_LIMIT_BYTES).decode(errors="replace")
    try:
        profile = parse_profile_untrusted(text)
    except ProfileError as error:
        raise ProfileError(str(path), error.problems) from None
    return WarpTunnel(
        private_key=profile.private_key,
        peer_public_key=profile.peer_public_key,
        endpoint=_endpoint(profile, paths.state / "warp-endpoint"),
        v4=profile.v4,
        v6=profile.v6,
        mtu_bytes=config.warp.mtu,
        keepalive_s=config.warp.persistent_keepalive,
    )


def _register(config: PrivacyRouterConfig, paths: NodePaths) -> None:
    """Get an account from Cloudflare, or the profile of one that is kept."""
    from privacy_router.hops.warp.account import TERMS_URL
    from privacy_router.hops.warp.api import ApiSettings, WarpApi
    from privacy_router.hops.warp.registration import register_and_store, restore_profile

    known = paths.warp_account.exists()
    if not known and not config.warp.accept_terms:
        raise ConflictError(
            "the WARP hop needs an account, and Cloudflare's terms are not accepted yet",
            remedy=f"read {TERMS_URL}, then set warp.accept_terms to true; or import a profile"
            " with warp.wgcf_config; or set warp.enabled to false",
        )

    _log.info("asking Cloudflare for a WARP account", at=config.warp.api_url)

    async def ask() -> None:
        files = {"account_file": paths.warp_account, "profile_file": paths.warp_profile}
        async with WarpApi(ApiSettings(base_url=config.warp.api_url)) as api:
            if known:
                await restore_profile(api, **files)
            else:
                await register_and_store(api, tos=datetime.now(UTC), **files)

    asyncio.run(ask())


def _stand_in(config: PrivacyRouterConfig) -> WarpTunnel:
    """What an account will look like: Cloudflare gives everybody the same IPv4 address."""
    return WarpTunnel(
        private_key=generate_private_key(),
        peer_public_key=public_key_of(generate_private_key()),
        endpoint=(IPv4Address("162.159.192.1"), 2408),
        v4=IPv4Interface("172.16.0.2/32"),
        v6=IPv6Interface("2606:4700:110::2/128"),
        mtu_bytes=config.warp.mtu,
        keepalive_s=config.warp.persistent_keepalive,
    )


def _endpoint(profile: WarpProfile, cache: Path) -> Endpoint:
    """The endpoint as an address: a name is looked up once and remembered.

    The look-up goes to the host's own resolver and tells it no more than the tunnel's first packet
    tells the ISP anyway: that WARP is used.
    """
    try:
        return (ip_address(profile.endpoint_host), profile.endpoint_port)
    except ValueError:
        pass
    wanted = f"{profile.endpoint_host}:{profile.endpoint_port} "
    known = _remembered(cache, wanted)
    if known is not None:
        return known
    try:
        found = socket.getaddrinfo(
            profile.endpoint_host, profile.endpoint_port, type=socket.SOCK_DGRAM
        )
    except OSError as error:
        raise RemoteServiceError(
            f"the WARP endpoint {profile.endpoint_host} cannot be resolved",
            remedy="check the node's DNS, or write the endpoint's address into the profile",
            retryable=True,
        ) from error
    endpoint = (ip_address(found[0][4][0]), profile.endpoint_port)
    write_private(cache, (wanted + format_endpoint(endpoint)).encode())
    return endpoint


def _remembered(cache: Path, wanted: str) -> Endpoint | None:
    text = cache.read_text(errors="replace") if cache.exists() else ""
    if not text.startswith(wanted):
        return None
    try:
        return parse_endpoint(text.removeprefix(wanted))
    except ValueError:
        return None  # damaged: it is looked up anew
