"""PCI devices and the drivers that they are bound to."""

from privacy_router.plugins.pcidecl.plugin import PcideclPlugin

__all__ = ["PcideclPlugin"]
