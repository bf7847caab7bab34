"""`plugins.pcidecl`: PCI devices and their drivers."""

from __future__ import annotations

from privacy_router.config.sections import Section


class PcideclConfig(Section):
    """Declared PCI devices."""
