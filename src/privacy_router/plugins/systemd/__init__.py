"""The plugin `systemd`: units, their files and properties, by org.freedesktop.systemd1."""

from privacy_router.plugins.systemd.plugin import SystemdPlugin

__all__ = ["SystemdPlugin"]
