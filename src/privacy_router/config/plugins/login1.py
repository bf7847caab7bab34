"""`plugins.login1`: what the login manager does."""

from __future__ import annotations

from privacy_router.config.sections import Section


class Login1Config(Section):
    """The login manager."""
