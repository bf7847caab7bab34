"""Getting an account: registered, kept in two files, or not there at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError, RemoteServiceError, StorageError
from privacy_router.hops.warp.account import Device, credentials_of, profile_of
from privacy_router.hops.warp.endpoints import KnownEndpoints, given
from privacy_router.hops.warp.store import load_credentials, save_credentials, save_profile
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from privacy_router.hops.warp.api import WarpApi
    from privacy_router.hops.warp.credentials import Credentials
    from privacy_router.hops.warp.profile import WarpProfile


@dataclass(frozen=True)
class StoredTunnel:
    """The profile that was written, which names one endpoint, and all places of its peer."""

    profile: WarpProfile
    endpoints: KnownEndpoints


async def register_and_store(
    api: WarpApi, *, tos: datetime, account_file: Path, profile_file: Path
) -> StoredTunnel:
    """Register a device and keep its credentials and its profile.

    `tos` is when the user accepted Cloudflare's terms. When a file cannot be written, the device is
    deleted again and neither file is left. Raises ConflictError when there is an account already,
    RemoteServiceError, StorageError.
    """
    _refuse_second(account_file)
    private_key = generate_private_key()
    device = await api.register(public_key_of(private_key), tos=tos)
    try:
        credentials = credentials_of(device, private_key)
    except ValueError as error:
        raise RemoteServiceError(
            "the WARP account service registered a device without giving its token",
            remedy="import a profile that wgcf made elsewhere (warp.wgcf_config)",
        ) from error
    try:
        return _store(device, credentials, account_file, profile_file)
    except StorageError as error:
        await _take_back(api, credentials, error)
        raise


def _refuse_second(account_file: Path) -> None:
    if account_file.exists():
        raise ConflictError(
            f"{account_file} holds a WARP account already",
            remedy="use it, or remove the file first",
        )


def _store(
    device: Device, credentials: Credentials, account_file: Path, profile_file: Path
) -> StoredTunnel:
    profile = profile_of(device, credentials.private_key)
    save_credentials(account_file, credentials)
    try:
        save_profile(profile_file, profile)
    except StorageError:
        account_file.unlink()
        raise
    return StoredTunnel(profile, given(device.endpoints))


async def _take_back(api: WarpApi, credentials: Credentials, error: StorageError) -> None:
    try:
        await api.delete(credentials)
    except RemoteServiceError:
        error.add_note("the device that was registered for it could not be deleted again")


async def restore_profile(api: WarpApi, *, account_file: Path, profile_file: Path) -> StoredTunnel:
    """Write the profile of an account that is kept. Raises RemoteServiceError, StorageError,
    ProfileError.
    """
    credentials = load_credentials(account_file)
    device = await api.device(credentials)
    profile = profile_of(device, credentials.private_key)
    save_profile(profile_file, profile)
    return StoredTunnel(profile, given(device.endpoints))
