"""op-dbus on the bus: its methods, properties and signals, for a program that asks it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.client.errors import NotRunningError, error_from
from privacy_router.client.names import BUS_NAME, ROOT, bus_address, may_be_there
from privacy_router.client.rows import AddedClient, ChangeRow, ClientList, ClientRow
from privacy_router.client.status import status_from
from privacy_router.errors import PrivacyRouterError, PrivilegeError
from privacy_router.host.dbus import Bus, BusGoneError, DBusCallError, Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeVar

    from privacy_router.client.status import NodeStatus
    from privacy_router.host.dbus import Signal

    T = TypeVar("T")

MANAGER: Final = Remote(BUS_NAME, ROOT, f"{BUS_NAME}.Manager")
_RUN_S: Final = 3600.0  # packages may take their time; the daemon's own limits are shorter
_LOOK_S: Final = 5.0
_NO_OWNER: Final = "org.freedesktop.DBus.Error.ServiceUnknown"


@dataclass(frozen=True)
class Daemon:
    """op-dbus on a bus, within one event loop."""

    bus: Bus

    async def call(self, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        """A method of the manager. Raises what it answers (client/errors.py), and
        NotRunningError where it does not run."""
        return await self.ask(MANAGER, member, signature, *body)

    async def ask(
        self, remote: Remote, member: str, signature: str = "", *body: Any
    ) -> tuple[Any, ...]:
        """A method of one of its objects. Raises what it answers (client/errors.py), and
        NotRunningError where it does not run."""
        try:
            return await self.bus.call(
                remote, member, signature, *body, timeout_s=_RUN_S, interactive=True
            )
        except DBusCallError as error:
            raise _as_error(error) from error

    # --- clients ---------------------------------------------------------------------------------

    async def add_client(self, name: str) -> AddedClient:
        """Register a client; answered when the gateway's device has it."""
        row, configuration, remark = await self.call("AddClient", "s", name)
        return AddedClient(ClientRow.from_tuple(row), configuration, remark)

    async def remove_client(self, name: str) -> ClientRow:
        """Forget a client; answered when the gateway's device has it no more."""
        (row,) = await self.call("RemoveClient", "s", name)
        return ClientRow.from_tuple(row)

    async def show_client(self, name: str) -> ClientRow:
        """One client."""
        (row,) = await self.call("ShowClient", "s", name)
        return ClientRow.from_tuple(row)

    async def list_clients(self) -> ClientList:
        """All clients, in the order of their addresses."""
        rows, trouble = await self.call("ListClients")
        return ClientList([ClientRow.from_tuple(row) for row in rows], trouble)

    # --- the node --------------------------------------------------------------------------------

    async def plan(self, document: str, base: str) -> list[ChangeRow]:
        """What applying a document would change; its relative paths start at `base`."""
        (rows,) = await self.call("Plan", "ss", document, base)
        return [ChangeRow.from_bus(row) for row in rows]

    async def status(self) -> NodeStatus:
        """The node as it is now, without asking anything through its chain."""
        try:
            async with asyncio.timeout(_LOOK_S):
                (found,) = await self.call("Describe")
        except TimeoutError:
            raise NotRunningError(
                f"op-dbus does not answer within {_LOOK_S:g} s", remedy="see what its log says"
            ) from None
        return status_from(found)

    # --- properties and signals ------------------------------------------------------------------

    async def property(self, name: str) -> Any:
        """A property of the manager. Raises what it answers (client/errors.py), and
        NotRunningError where it does not run."""
        try:
            return await self.bus.get(MANAGER, name)
        except DBusCallError as error:
            raise _as_error(error) from error

    async def follow(self, member: str, hear: Callable[[Signal], None]) -> None:
        """Hear its signals until cancelled; all of them for "". Raises PrivacyRouterError."""
        rule = f"sender='{BUS_NAME}',path='{ROOT}'" + (f",member='{member}'" if member else "")
        try:
            async for signal in self.bus.signals(rule):
                if signal.path == ROOT and member in ("", signal.member):
                    hear(signal)
        except DBusCallError as error:
            raise _as_error(error) from error


def _as_error(error: DBusCallError) -> PrivacyRouterError:
    if isinstance(error, BusGoneError) and error.refused and os.geteuid() != 0:
        return PrivilegeError("the bus does not let this user in", remedy="run it again with sudo")
    if isinstance(error, BusGoneError) or error.name == _NO_OWNER:
        return NotRunningError(
            "op-dbus does not run, or not on this bus",
            remedy="systemctl start op-dbus, or privacy-router up",
        )
    return error_from(error.name, error.message)


def with_daemon(work: Callable[[Daemon], Coroutine[Any, Any, T]]) -> T:
    """Do something with the daemon. Raises NotRunningError when there is none."""

    async def run() -> T:
        bus = Bus(bus_address(os.environ))
        try:
            return await work(Daemon(bus))
        finally:
            await bus.close()

    return asyncio.run(run())


def is_there() -> bool:
    """Whether op-dbus can be talked to."""
    address = bus_address(os.environ)
    if address is None or not may_be_there(address):
        return False

    async def look(daemon: Daemon) -> bool:
        try:
            return await daemon.bus.owner(BUS_NAME) is not None
        except DBusCallError:
            return False

    return with_daemon(look)


def is_supervised() -> bool:
    """Whether there is one, and a service manager runs it: then it is not for us to start or end
    it."""

    async def look(daemon: Daemon) -> bool:
        try:
            return bool(await daemon.property("Supervised"))
        except PrivacyRouterError:
            return False  # another program has the name

    return is_there() and with_daemon(look)
