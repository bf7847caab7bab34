"""A node without op-dbus on a bus: the same questions, answered in the caller's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.daemon.clients import Clients
from privacy_router.node import machine as machines
from privacy_router.node.lock import tell_of_clients

if TYPE_CHECKING:
    from privacy_router.client.rows import AddedClient, ClientList, ClientRow
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.paths import NodePaths


class LocalNode:
    """The node of a configuration (client/api.py). The caller is root.

    A controller that keeps the node without being on a bus is told by a signal, and what it made of
    that is read off the machine.
    """

    def __init__(self, config: PrivacyRouterConfig, paths: NodePaths) -> None:
        self._config = config
        self._paths = paths

    async def add_client(self, name: str) -> AddedClient:
        """Register a client; answered when the gateway's device has it, or no node is up."""
        return await self._clients().add(name)

    async def remove_client(self, name: str) -> ClientRow:
        """Forget a client; answered when the gateway's device has it no more."""
        return await self._clients().remove(name)

    async def show_client(self, name: str) -> ClientRow:
        """One client."""
        return await self._clients().show(name)

    async def list_clients(self) -> ClientList:
        """All clients, in the order of their addresses."""
        return await self._clients().list()

    def _clients(self) -> Clients:
        machine = machines.inspect(self._config, self._paths)
        return Clients(self._config, machine, self._tell)

    async def _tell(self) -> bool:
        return tell_of_clients(self._paths)
