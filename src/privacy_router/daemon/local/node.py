"""A node without op-dbus on a bus: the same questions, answered in the caller's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.daemon.clients import Clients
from privacy_router.daemon.local.in_force import config_in_force, subject_of
from privacy_router.engine.document import Source
from privacy_router.host.threads import in_thread
from privacy_router.node import machine as machines
from privacy_router.node.lock import tell_of_clients
from privacy_router.node.outside import NOT_ASKED
from privacy_router.node.paths import NodePaths
from privacy_router.node.status import ask_chain, read_local, status_of

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.client.rows import AddedClient, ChangeRow, ClientList, ClientRow
    from privacy_router.client.status import NodeStatus


class LocalNode:
    """The node that a controller keeps, or else that of `file`; where the caller names the file,
    that of the file in any case (client/api.py). Making one raises PrivilegeError for a caller who
    is not root.

    A controller that keeps the node without being on a bus is told by a signal, and what it made of
    that is read off the machine.
    """

    def __init__(self, file: Path, *, is_named: bool) -> None:
        machines.require_root()
        self._file = file
        self._is_named = is_named
        self._paths = NodePaths.from_environment()

    async def status(self) -> NodeStatus:
        """The node as it is now, without asking anything through its chain."""
        subject = subject_of(self._file, is_named=self._is_named)
        local = await in_thread(read_local, subject.config)
        told = await in_thread(lambda: ask_chain(local, may_ask=False))
        return status_of(local, told, NOT_ASKED, subject.kept)

    async def plan(self, document: str, base: str) -> list[ChangeRow]:
        """What applying a document would change; its relative paths start at `base`."""
        from privacy_router.daemon.local.plan import plan

        return await plan(self._paths, Source(document, base))

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
        config = config_in_force(self._file, is_named=self._is_named)
        return Clients(config, machines.inspect(config, self._paths), self._tell)

    async def _tell(self) -> bool:
        return tell_of_clients(self._paths)
