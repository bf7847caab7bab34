"""One root for every error that a user may see, and the exit code that goes with it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes of every command; documented for users in docs/commands.md."""

    OK = 0
    FAILURE = 1
    INVALID_CONFIG = 2
    NOT_PRIVILEGED = 3
    MISSING_PREREQUISITE = 4
    CONFLICT = 5
    REMOTE = 6
    STORAGE = 7
    CHECK_FAILED = 8


class PrivacyRouterError(Exception):
    """Something went wrong that a person can act on.

    `remedy` says what to do about it; `retryable` says whether the same call may succeed later.
    Neither ever holds a secret.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, *, remedy: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.retryable = retryable


FAILURES: Final = (PrivacyRouterError, OSError)
"""What reading or changing the machine may raise; any other error is a defect of this program."""


class InvalidError(PrivacyRouterError):
    """What the caller wrote (a document, a flow, a packet, a name) cannot be used as it is."""

    exit_code = ExitCode.INVALID_CONFIG


class PrivilegeError(PrivacyRouterError):
    """The caller is not root."""

    exit_code = ExitCode.NOT_PRIVILEGED


class MissingPrerequisiteError(PrivacyRouterError):
    """A program, a device or a kernel feature that the work needs is not here."""

    exit_code = ExitCode.MISSING_PREREQUISITE


class ConflictError(PrivacyRouterError):
    """Something else already holds what the node needs (a port, a name, a second start)."""

    exit_code = ExitCode.CONFLICT


class RemoteServiceError(PrivacyRouterError):
    """A service on another machine refused, failed or did not answer."""

    exit_code = ExitCode.REMOTE

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, retryable=retryable)
        self.retry_after_s = retry_after_s


class StorageError(PrivacyRouterError):
    """A file could not be read or written."""

    exit_code = ExitCode.STORAGE


class MachineError(PrivacyRouterError):
    """The kernel, or a program that acts for it, refused a request."""


class VerificationError(PrivacyRouterError):
    """What was read back is not what was asked for."""

    exit_code = ExitCode.CHECK_FAILED
