"""`plugins.packagekit`: packages that are installed or not."""

from __future__ import annotations

from privacy_router.config.sections import Section


class PackagekitConfig(Section):
    """Packages."""
