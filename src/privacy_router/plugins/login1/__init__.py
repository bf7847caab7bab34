"""The login manager: keys and lid, sessions, seats, users and inhibitor locks."""

from privacy_router.plugins.login1.plugin import Login1Plugin

__all__ = ["Login1Plugin"]
