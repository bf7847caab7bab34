"""The WARP hop's account: imported, kept from an earlier start, or registered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import ConflictError
from privacy_router.hops.warp.hop import WARP_NAMESPACE, WARP_TUNNEL
from privacy_router.node import warp_endpoint
from privacy_router.node.made import is_there
from privacy_router.values.wireguard import WarpTunnel

if TYPE_CHECKING:
    from collections.abc import Collection

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.warp.endpoints import Name
    from privacy_router.hops.warp.profile import WarpProfile
    from privacy_router.hops.warp.registration import StoredTunnel
    from privacy_router.node.paths import NodePaths
    from privacy_router.values.wireguard import Endpoint

_log = structlog.get_logger()

_THERE: Final = f"ip netns exec {WARP_NAMESPACE} wg"
_PROFILE_VALUE: Final = f"the device has its key and its peer: {_THERE} showconf {WARP_TUNNEL}"


def make_tunnel(config: PrivacyRouterConfig, paths: NodePaths, *, known: bool = False) -> None:
    """Have what `read_tunnel` reads: an account is registered where there never was one, the
    endpoint's name is looked up, and an address chosen that the host can reach.

    `known`: a running node has an account. Raises ConflictError while Cloudflare's terms are not
    accepted, RemoteServiceError when the account service or the endpoint's name cannot be reached,
    StorageError, ProfileError.
    """
    if config.warp.wgcf_config is None and not paths.warp_profile.exists():
        if not is_there(paths.warp_account):  # whose profile can be had from Cloudflare again
            is_there(paths.warp_profile, known=known, last_value=_PROFILE_VALUE)
        _register(config, paths)
    profile = _profile(config, paths)
    _tell_what_is_not_in_force(profile, config)
    warp_endpoint.settle(profile, paths.warp_endpoint)


def _tell_what_is_not_in_force(profile: WarpProfile, config: PrivacyRouterConfig) -> None:
    from privacy_router.hops.warp.remarks import not_in_force

    for key, reason in not_in_force(profile, config.warp):
        _log.warning("a key of the WARP profile is not in force", key=key, reason=reason)


def endpoint_name(config: PrivacyRouterConfig, paths: NodePaths) -> Name | None:
    """What to look up for other addresses of the endpoint. Raises StorageError, ProfileError."""
    return warp_endpoint.name_of(_profile(config, paths), paths.warp_endpoint)


def change_endpoint(
    config: PrivacyRouterConfig, paths: NodePaths, answers: Collection[Endpoint] = ()
) -> bool:
    """Lead the tunnel to another address, since nothing answers at this one; see
    `warp_endpoint.change_over`. Whether `read_tunnel` reads another one now.

    Raises StorageError, ProfileError.
    """
    return warp_endpoint.change_over(_profile(config, paths), paths.warp_endpoint, answers)


def read_tunnel(config: PrivacyRouterConfig, paths: NodePaths) -> WarpTunnel:
    """The tunnel to Cloudflare, of files that are there. Raises StorageError (MissingFileError for
    what is gone), ProfileError."""
    from privacy_router.hops.warp.remarks import usable_mtu_bytes

    profile = _profile(config, paths)
    return WarpTunnel(
        private_key=profile.private_key,
        peer_public_key=profile.peer_public_key,
        endpoint=warp_endpoint.in_use(profile, paths.warp_endpoint),
        v4=profile.v4,
        v6=profile.v6,
        mtu_bytes=usable_mtu_bytes(profile),
        keepalive_s=profile.keepalive_s,
        preshared_key=profile.preshared_key,
    )


def _profile(config: PrivacyRouterConfig, paths: NodePaths) -> WarpProfile:
    from privacy_router.hops.warp.store import load_profile

    path = config.warp.wgcf_config or paths.warp_profile
    if config.warp.wgcf_config is None:
        is_there(path, known=True, last_value=_PROFILE_VALUE)
    return load_profile(path)


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

    async def ask() -> StoredTunnel:
        files = {"account_file": paths.warp_account, "profile_file": paths.warp_profile}
        async with WarpApi(ApiSettings(base_url=config.warp.api_url)) as api:
            if known:
                return await restore_profile(api, **files)
            return await register_and_store(api, tos=datetime.now(UTC), **files)

    made = asyncio.run(ask())
    warp_endpoint.note_given(made.profile, paths.warp_endpoint, made.endpoints)
