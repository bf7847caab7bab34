"""The WARP hop's account: imported, kept from an earlier start, or registered."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import ConflictError, RemoteServiceError, StorageError
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.uapi import format_endpoint, parse_endpoint
from privacy_router.node.made import is_there
from privacy_router.plan.chain import NAMESPACE_PREFIX, WARP_TUNNEL
from privacy_router.plan.keys import WarpTunnel

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.warp.profile import WarpProfile
    from privacy_router.host.uapi import Endpoint
    from privacy_router.node.paths import NodePaths

_log = structlog.get_logger()

_PROFILE_LIMIT_BYTES: Final = 64 * 1024
_THERE: Final = f"ip netns exec {NAMESPACE_PREFIX}warp wg"
_PROFILE_VALUE: Final = f"the device has its key and its peer: {_THERE} showconf {WARP_TUNNEL}"
_ENDPOINT_VALUE: Final = f"the device has the address: {_THERE} show {WARP_TUNNEL} endpoints"


def make_tunnel(config: PrivacyRouterConfig, paths: NodePaths, *, known: bool = False) -> None:
    """Have what `read_tunnel` reads: an account is registered where there never was one, and the
    endpoint's name is looked up.

    `known`: a running node has an account. Raises ConflictError while Cloudflare's terms are not
    accepted, RemoteServiceError when the account service or the endpoint's name cannot be reached,
    StorageError, ProfileError.
    """
    if config.warp.wgcf_config is None and not paths.warp_profile.exists():
        if not is_there(paths.warp_account):  # whose profile can be had from Cloudflare again
            is_there(paths.warp_profile, known=known, last_value=_PROFILE_VALUE)
        _register(config, paths)
    profile = _profile(config, paths)
    if _address_of(profile) is None and _remembered(profile, paths.warp_endpoint) is None:
        _look_up(profile, paths.warp_endpoint)


def read_tunnel(config: PrivacyRouterConfig, paths: NodePaths) -> WarpTunnel:
    """The tunnel to Cloudflare, of files that are there. Raises StorageError (MissingFileError for
    what is gone), ProfileError."""
    profile = _profile(config, paths)
    return WarpTunnel(
        private_key=profile.private_key,
        peer_public_key=profile.peer_public_key,
        endpoint=_address_of(profile) or _kept_address(profile, paths.warp_endpoint),
        v4=profile.v4,
        v6=profile.v6,
        mtu_bytes=config.warp.mtu,
        keepalive_s=config.warp.persistent_keepalive,
    )


def with_settings(tunnel: WarpTunnel, config: PrivacyRouterConfig) -> WarpTunnel:
    """The same account with what another configuration says of its tunnel."""
    mtu_bytes, keepalive_s = config.warp.mtu, config.warp.persistent_keepalive
    return replace(tunnel, mtu_bytes=mtu_bytes, keepalive_s=keepalive_s)


def _profile(config: PrivacyRouterConfig, paths: NodePaths) -> WarpProfile:
    from privacy_router.hops.warp.profile import ProfileError, parse_profile_untrusted

    path = config.warp.wgcf_config or paths.warp_profile
    if config.warp.wgcf_config is None:
        is_there(path, known=True, last_value=_PROFILE_VALUE)
    text = read_bounded(path, _PROFILE_LIMIT_BYTES).decode(errors="replace")
    try:
        return parse_profile_untrusted(text)
    except ProfileError as error:
        raise ProfileError(str(path), error.problems) from None


def require_terms(config: PrivacyRouterConfig, paths: NodePaths) -> None:
    """Raise ConflictError where an account would be asked for and the terms are not accepted."""
    from privacy_router.hops.warp.account import TERMS_URL

    if not paths.warp_account.exists() and not config.warp.accept_terms:
        raise ConflictError(
            "the WARP hop needs an account, and Cloudflare's terms are not accepted yet",
            remedy=f"read {TERMS_URL}, then set warp.accept_terms to true; or import a profile"
            " with warp.wgcf_config; or set warp.enabled to false",
        )


def _register(config: PrivacyRouterConfig, paths: NodePaths) -> None:
    """Get an account from Cloudflare, or the profile of one that is kept."""
    from privacy_router.hops.warp.api import ApiSettings, WarpApi
    from privacy_router.hops.warp.registration import register_and_store, restore_profile

    require_terms(config, paths)
    known = paths.warp_account.exists()
    what = "the profile of the WARP account that is kept" if known else "a WARP account"
    _log.info(f"asking Cloudflare for {what}", at=config.warp.api_url)

    async def ask() -> None:
        files = {"account_file": paths.warp_account, "profile_file": paths.warp_profile}
        async with WarpApi(ApiSettings(base_url=config.warp.api_url)) as api:
            if known:
                await restore_profile(api, **files)
            else:
                await register_and_store(api, tos=datetime.now(UTC), **files)

    asyncio.run(ask())


def _address_of(profile: WarpProfile) -> Endpoint | None:
    """The endpoint, if the profile has it as an address."""
    try:
        return (ip_address(profile.endpoint_host), profile.endpoint_port)
    except ValueError:
        return None


def _wanted(profile: WarpProfile) -> str:
    return f"{profile.endpoint_host}:{profile.endpoint_port} "


def _look_up(profile: WarpProfile, cache: Path) -> None:
    """Look the endpoint's name up, once, and remember the address.

    The look-up goes to the host's own resolver and tells it no more than the tunnel's first packet
    tells the ISP anyway: that WARP is used.
    """
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
    write_private(cache, (_wanted(profile) + format_endpoint(endpoint)).encode())


def _kept_address(profile: WarpProfile, cache: Path) -> Endpoint:
    """The address that was looked up when the node was brought up."""
    is_there(cache, known=True, last_value=_ENDPOINT_VALUE)
    endpoint = _remembered(profile, cache)
    if endpoint is None:
        raise StorageError(
            f"{cache} does not hold the address of the WARP endpoint of this profile",
            remedy="privacy-router up looks it up anew",
        )
    return endpoint


def _remembered(profile: WarpProfile, cache: Path) -> Endpoint | None:
    """The address for the profile's name; None where there is none, or it is damaged."""
    if not cache.exists():
        return None
    text = read_bounded(cache, _PROFILE_LIMIT_BYTES).decode(errors="replace")
    wanted = _wanted(profile)
    if not text.startswith(wanted):
        return None
    try:
        return parse_endpoint(text.removeprefix(wanted))
    except ValueError:
        return None
