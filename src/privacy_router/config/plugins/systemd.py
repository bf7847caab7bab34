"""`plugins.systemd`: units, their files and properties."""

from __future__ import annotations

from privacy_router.config.sections import Section


class SystemdConfig(Section):
    """Units of the service manager."""
