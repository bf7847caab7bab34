"""The plugin `privacy_router`: the whole node, made of shares of the other plugins."""

from privacy_router.plugins.privacy_router.parts import PARTS, PartPlugin
from privacy_router.plugins.privacy_router.plugin import PrivacyRouterPlugin

__all__ = ["PARTS", "PartPlugin", "PrivacyRouterPlugin"]
