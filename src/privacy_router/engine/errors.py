"""What goes wrong in a run, each with a name of its own on D-Bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import (
    ConflictError,
    InvalidError,
    MissingPrerequisiteError,
    PrivacyRouterError,
    VerificationError,
)
from privacy_router.host.file_state import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.engine.model import Change


class PluginUnavailableError(MissingPrerequisiteError):
    """A section needs a plugin whose service is not on this machine; nothing was touched."""


class PluginFailedError(PrivacyRouterError):
    """A plugin raised while it planned, changed or checked something."""


class PluginTimeoutError(PluginFailedError):
    """A plugin did not come back in time."""


class RefusedError(InvalidError):
    """A declaration that cannot be carried out, found before anything was touched."""


class RollbackFailedError(PrivacyRouterError):
    """A run failed and could not be undone entirely; it is tried again until it is."""


class AwaitingConfirmationError(ConflictError):
    """A run waits to be confirmed, and until then nothing else may change."""


class OverruledError(ConflictError):
    """What waited to be applied is not wanted any more."""


class NothingToConfirmError(ConflictError):
    """There is no run that waits to be confirmed."""


class NothingToUndoError(ConflictError):
    """The last run is undone already."""


class UnknownCheckpointError(ConflictError):
    """There is no checkpoint of that name."""


class UnknownPluginError(ConflictError):
    """There is no plugin of that name."""


def not_as_asked(changes: Iterable[Change], what: str) -> VerificationError:
    """The error for resources that were read back and are not as they should be."""
    named = [
        f"{c.key} (is {redacted(c.before)!r}, should be {redacted(c.after)!r})" for c in changes
    ]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return VerificationError(
        f"{', '.join(named[:3])}{more}: {what}",
        remedy="see whether another program sets the same things",
        retryable=True,
    )
