"""Errors on the bus: named after their classes, and of the same kind when they arrive (pure).

The kinds are the classes of `privacy_router.errors` that have an exit code of their own. A caller
catches the same kind, and exits with the same code, whether an answer came over the bus or from
this process.
"""

from __future__ import annotations

from typing import Final

from privacy_router.client.names import BUS_NAME
from privacy_router.errors import (
    ConflictError,
    InvalidError,
    MissingPrerequisiteError,
    PrivacyRouterError,
    PrivilegeError,
    RemoteServiceError,
    StorageError,
    VerificationError,
)

_PREFIX: Final = f"{BUS_NAME}.Error"
FAILED: Final = f"{_PREFIX}.Failed"
INTERNAL: Final = f"{_PREFIX}.Internal"
DENIED: Final = "org.freedesktop.DBus.Error.AccessDenied"
LIMITED: Final = "org.freedesktop.DBus.Error.LimitsExceeded"
_REMEDY: Final = "\nremedy: "

Kind = type[PrivacyRouterError]


class NoNodeError(ConflictError):
    """The document that is kept has no node, or it is not up yet."""

    def __init__(self, message: str = "no node is up", *, remedy: str = "") -> None:
        super().__init__(
            message,
            remedy=remedy or "privacy-router up, with a document that has plugins.privacy_router",
        )


class NotRunningError(MissingPrerequisiteError):
    """There is no bus, or op-dbus is not on it, or it does not answer."""


# Every class that has another exit code than 1, by its kind; the classes are in layers above this
# one. `tests/client/test_client_errors.py` compares this with all classes of the package.
_CLASSES: Final[dict[Kind, tuple[str, ...]]] = {
    InvalidError: (
        "ClientName",
        "Config",
        "Configuration",
        "Contradiction",
        "FieldRefused",
        "FlowRefused",
        "NoSuchFlow",
        "Packet",
        "Pipeline",
        "Profile",
        "Refused",
        "XrayConfig",
    ),
    PrivilegeError: (),
    MissingPrerequisiteError: ("NotRunning", "PluginUnavailable"),
    NoNodeError: (),
    ConflictError: (
        "AwaitingConfirmation",
        "NothingToConfirm",
        "NothingToUndo",
        "Overruled",
        "UnknownCheckpoint",
        "UnknownPlugin",
    ),
    RemoteServiceError: ("Revoked",),
    StorageError: ("MissingFile",),
    VerificationError: ("NotUp",),
}


def class_name(kind: Kind) -> str:
    """A class as the last part of an error's name: `Conflict` for ConflictError."""
    return kind.__name__.lstrip("_").removesuffix("Error")


_KINDS: Final = {
    name: kind for kind, classes in _CLASSES.items() for name in (class_name(kind), *classes)
}
_KIND_OF_CODE: Final = {kind.exit_code: kind for kind in _CLASSES if kind is not NoNodeError}


def error_name(error: PrivacyRouterError) -> str:
    """The name of an error: its class', e.g. org.opdbus.Error.Conflict; Failed for the root.

    One that was given another exit code than its class has (a summary of others) has the name of
    the kind with that code.
    """
    kind = type(error)
    if error.exit_code != kind.exit_code:
        kind = _KIND_OF_CODE.get(error.exit_code, PrivacyRouterError)
    return FAILED if kind is PrivacyRouterError else f"{_PREFIX}.{class_name(kind)}"


def error_text(error: PrivacyRouterError) -> str:
    """What the caller is told: the message, and below it the remedy."""
    return f"{error.message}{_REMEDY}{error.remedy}" if error.remedy else error.message


def error_from(name: str, text: str) -> PrivacyRouterError:
    """The error that arrived under that name with that text: of the same kind as it was there."""
    message, _, remedy = text.partition(_REMEDY)
    if name == DENIED:
        return PrivilegeError(message, remedy=remedy)
    is_ours = name.startswith(f"{_PREFIX}.")
    kind = _KINDS.get(name.rpartition(".")[2]) if is_ours else None
    return (kind or PrivacyRouterError)(message, remedy=remedy)
