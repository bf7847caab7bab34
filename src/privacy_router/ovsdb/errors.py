"""What can go wrong with the database."""

from __future__ import annotations

from privacy_router.errors import PrivacyRouterError


class OvsdbError(PrivacyRouterError):
    """The database could not be reached, refused a change, or vswitchd did not follow it."""
