"""What PackageKit's errors mean for a person."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import PluginFailedError, RefusedError
from privacy_router.errors import (
    ConflictError,
    PrivacyRouterError,
    PrivilegeError,
    RemoteServiceError,
    StorageError,
)

if TYPE_CHECKING:
    from privacy_router.host.dbus import DBusCallError

_LINES_MAX: Final = 6


class Code(IntEnum):
    """PkErrorEnum of pk-enum.h."""

    NO_NETWORK = 2
    PACKAGE_NOT_FOUND = 8
    PACKAGE_DOWNLOAD_FAILED = 10
    DEP_RESOLUTION_FAILED = 13
    TRANSACTION_CANCELLED = 17
    CANNOT_REMOVE_SYSTEM_PACKAGE = 20
    CANNOT_GET_LOCK = 26
    PACKAGE_CONFLICTS = 36
    NO_SPACE_ON_DEVICE = 46
    NOT_AUTHORIZED = 48


_REFUSED: Final = frozenset(
    {
        Code.PACKAGE_NOT_FOUND,
        Code.DEP_RESOLUTION_FAILED,
        Code.CANNOT_REMOVE_SYSTEM_PACKAGE,
        Code.PACKAGE_CONFLICTS,
    }
)
_NETWORK: Final = frozenset({Code.NO_NETWORK, Code.PACKAGE_DOWNLOAD_FAILED})
_DENIED: Final = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.PackageKit.Transaction.RefusedByPolicy",
    "org.freedesktop.PackageKit.Transaction.NotAuthorized",
)
_BY_HAND: Final = "dpkg was interrupted"


def failure(code: int, details: str) -> PrivacyRouterError:
    """The error for PackageKit's signal ErrorCode."""
    said = _shortened(details)
    if code == Code.NOT_AUTHORIZED:
        return not_authorized(said)
    if code == Code.CANNOT_GET_LOCK:
        return _locked(said)
    if code in _REFUSED:
        return RefusedError(
            f"these packages cannot be so: {said}",
            remedy="name packages that fit together; privacy-router plan shows what is asked for",
        )
    if code in _NETWORK:
        return RemoteServiceError(
            f"packages could not be fetched: {said}",
            remedy="see whether the machine's repositories can be reached",
            retryable=True,
        )
    if code == Code.NO_SPACE_ON_DEVICE:
        return StorageError(
            f"no space for packages: {said}", remedy="apt-get clean, or a bigger disk"
        )
    return PluginFailedError(
        f"PackageKit failed: {said}", remedy="journalctl -u packagekit may say more"
    )


def _locked(said: str) -> PrivacyRouterError:
    if _BY_HAND in said:
        return ConflictError(
            "an installation was cut short, and dpkg does nothing before it is completed",
            remedy="dpkg --configure -a",
        )
    return ConflictError(
        f"another program is installing packages: {said}",
        remedy="wait until it has finished; it is tried again by itself",
        retryable=True,
    )


def not_authorized(said: str) -> PrivilegeError:
    """The error for what polkit does not allow."""
    return PrivilegeError(
        f"polkit does not let this user change packages: {said}",
        remedy="run as root, or allow org.freedesktop.packagekit actions by a polkit rule",
    )


def require_authorized(error: DBusCallError) -> None:
    """Say it if a call failed because polkit does not allow it. Raises PrivilegeError."""
    if error.name in _DENIED:
        raise not_authorized(error.message) from error


def untrusted(names: list[str]) -> RefusedError:
    """The error for packages without a signature."""
    return RefusedError(
        f"{', '.join(names)}: not signed by a key that this machine trusts",
        remedy="add the repository's key (Signed-By in its sources file)",
    )


def _shortened(details: str) -> str:
    lines = [line.strip() for line in details.strip().splitlines() if line.strip()]
    more = " …" if len(lines) > _LINES_MAX else ""
    return "; ".join(lines[:_LINES_MAX]) + more
