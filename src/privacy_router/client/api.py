"""What a program may ask of a node; answered by op-dbus (client/bus.py), or, where none keeps a
node, by the program itself (daemon/local.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from privacy_router.client.rows import AddedClient, ChangeRow, ClientList, ClientRow
    from privacy_router.client.status import NodeStatus


class Node(Protocol):
    """A node. Every method raises PrivacyRouterError, of the same kind from either side."""

    async def add_client(self, name: str) -> AddedClient:
        """Register a client; answered when the gateway's device has it. Where the device does not
        get it there is no client either."""

    async def remove_client(self, name: str) -> ClientRow:
        """Forget a client; answered when the gateway's device has it no more."""

    async def show_client(self, name: str) -> ClientRow:
        """One client. Raises ConflictError where there is none of that name."""

    async def list_clients(self) -> ClientList:
        """All clients, in the order of their addresses."""

    async def plan(self, document: str, base: str) -> list[ChangeRow]:
        """What applying a document would change; its relative paths start at `base`."""

    async def status(self) -> NodeStatus:
        """The node as it is now, without asking anything through its chain."""
