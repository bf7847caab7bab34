"""The node's controller as what keeps the plugin's section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.engine.keeper import OwnKeeper

if TYPE_CHECKING:
    from privacy_router.engine.model import Desired
    from privacy_router.plugins.privacy_router.plugin import PrivacyRouterPlugin


class NodeKeeper(OwnKeeper):
    """The controller follows processes, devices, the database and the switch by itself, takes away
    what a document declares no longer, and reads back until all is as it should be."""

    def __init__(self, node: PrivacyRouterPlugin) -> None:
        super().__init__(node)
        self._node = node

    @property
    def trouble(self) -> str:
        """Why the controller's last pass failed."""
        return "" if self._node.controller is None else self._node.controller.trouble

    async def keep(self, desired: Desired) -> None:
        """Have a controller on what is declared."""
        await self._node.keep(desired)
