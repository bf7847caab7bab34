"""What goes wrong in a run, each with a name of its own on D-Bus."""

from __future__ import annotations

from privacy_router.errors import (
    ConflictError,
    InvalidError,
    MissingPrerequisiteError,
    PrivacyRouterError,
)


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
