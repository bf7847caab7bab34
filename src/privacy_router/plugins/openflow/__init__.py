"""The plugin `openflow`: flows, groups, meters and policies on any bridge."""

from privacy_router.plugins.openflow.plugin import OpenflowPlugin

__all__ = ["OpenflowPlugin"]
