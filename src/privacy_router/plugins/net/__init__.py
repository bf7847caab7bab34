"""The plugin `net`: the machine's bridges, interfaces, addresses and routes."""

from privacy_router.plugins.net.plugin import NetPlugin

__all__ = ["NetPlugin"]
