"""The two files of a WARP account: credentials and profile, both private and written as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.warp.credentials import (
    Credentials,
    parse_credentials_untrusted,
    render_credentials,
)
from privacy_router.hops.warp.profile import (
    TEXT_LIMIT_CHARS,
    ProfileError,
    WarpProfile,
    parse_profile_untrusted,
    render_profile,
)
from privacy_router.host.files import read_bounded, write_private

if TYPE_CHECKING:
    from pathlib import Path


def save_credentials(path: Path, credentials: Credentials) -> None:
    """Write `wgcf-account.toml`. Raises StorageError."""
    write_private(path, render_credentials(credentials).encode())


def load_credentials(path: Path) -> Credentials:
    """Read an account file, ours or wgcf's. Raises StorageError, ProfileError."""
    return parse_credentials_untrusted(_text(path))


def save_profile(path: Path, profile: WarpProfile) -> None:
    """Write `wgcf-profile.conf`. Raises StorageError."""
    write_private(path, render_profile(profile).encode())


def load_profile(path: Path) -> WarpProfile:
    """Read a profile, ours, wgcf's or another program's. Raises StorageError, ProfileError."""
    try:
        return parse_profile_untrusted(_text(path))
    except ProfileError as error:
        raise ProfileError(str(path), error.problems) from None


def _text(path: Path) -> str:
    try:
        return read_bounded(path, TEXT_LIMIT_CHARS).decode()
    except UnicodeDecodeError as error:
        raise ProfileError(str(path), ("it is not UTF-8 text",)) from error
