"""The two files of a WARP account: credentials and profile, both private and written as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.warp.credentials import (
    Credentials,
    parse_credentials_untrusted,
    render_credentials,
)
from privacy_router.hops.warp.file_kinds import other_kinds, undecodable
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
    text = _text(path)
    try:
        return parse_profile_untrusted(text)
    except ProfileError as error:
        known = tuple(other_kinds(text))  # then what is wrong of a profile is beside the point
        raise ProfileError(str(path), known or error.problems) from None


def _text(path: Path) -> str:
    data = read_bounded(path, TEXT_LIMIT_CHARS)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ProfileError(str(path), (undecodable(data),)) from error
