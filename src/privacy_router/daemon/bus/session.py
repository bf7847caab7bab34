"""One connection to a bus, the name on it, and the objects there."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dbus_fast import Message, NameFlag, RequestNameReply
from dbus_fast.aio import MessageBus

from privacy_router.client.names import BUS_NAME, OPENFLOW, ROOT, client_path, hop_path, plugin_path
from privacy_router.daemon.bus.authority import Authority
from privacy_router.daemon.bus.callers import Callers
from privacy_router.daemon.bus.flows import OpenFlow
from privacy_router.daemon.bus.manager import Manager
from privacy_router.daemon.bus.objects import Client, Hop
from privacy_router.daemon.bus.plugin import Plugin
from privacy_router.daemon.bus.view import Audience
from privacy_router.errors import ConflictError
from privacy_router.host.dbus import Bus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privacy_router.daemon.bus.interface import Interface
    from privacy_router.daemon.bus.view import View
    from privacy_router.engine.model import Change as ResourceChange
    from privacy_router.engine.transaction import RunProgress

_ARRIVAL_S: Final = 10.0
_OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"


async def arrive(view: View, address: str) -> Session:
    """Connect, put the objects there, take the name.

    Raises what keeps us from it: OSError, dbus-fast's errors, and ConflictError when another
    process has the name.
    """
    bus = MessageBus(bus_address=address)
    try:
        async with asyncio.timeout(_ARRIVAL_S):
            await bus.connect()
            await view.fresh()
            session = Session(bus, view, Bus(address))
            await _take_name(bus)
    except BaseException:
        bus.disconnect()
        raise
    return session


async def _take_name(bus: MessageBus) -> None:
    reply = await bus.request_name(BUS_NAME, NameFlag.DO_NOT_QUEUE)
    if reply != RequestNameReply.PRIMARY_OWNER:
        raise ConflictError(f"another process is {BUS_NAME} on this bus")


class Session:
    """The objects on one bus."""

    def __init__(self, bus: MessageBus, view: View, asking: Bus) -> None:
        self._bus = bus
        self._asking = asking  # polkit would wait for us if we asked on the connection it looks at
        self._view = view
        self._manager = Manager(view)
        self._plugins = [Plugin(view, name) for name in view.plugins]
        self._changing: dict[str, Hop | Client | OpenFlow] = {}
        callers = Callers(asking)
        bus.add_message_handler(callers.note)
        bus.export(ROOT, self._manager)
        for name, plugin in zip(view.plugins, self._plugins, strict=True):
            bus.export(plugin_path(name), plugin)
        view.show_to(Audience(self, callers, Authority(asking, callers)))
        self.refreshed()

    async def stay(self) -> str:
        """Until the connection ends; why it did. Cancelled, it leaves the bus."""
        try:
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        except Exception as error:  # the connection's end is all that it can tell of
            return str(error) or "the bus has gone away"
        finally:
            self._view.hide()
            self._bus.disconnect()
            await self._asking.close()
        return "the bus has gone away"

    # --- told by the view ------------------------------------------------------------------------

    def refreshed(self) -> None:
        """Have the objects that there are hops and clients, and tell what is different."""
        view = self._view
        wanted: dict[str, Callable[[], Hop | Client | OpenFlow]] = {
            **{hop_path(name): partial(Hop, view, name) for name in view.hops},
            **{client_path(name): partial(Client, view, name) for name in view.clients},
        }
        if view.controller is not None:
            wanted[OPENFLOW] = partial(OpenFlow, view)
        for path in self._changing.keys() - wanted.keys():
            self._take_away(path)
        for path in wanted.keys() - self._changing.keys():
            self._put_there(path, wanted[path]())
        told: list[Interface] = [self._manager, *self._plugins, *self._changing.values()]
        for interface in told:
            interface.tell()

    def progress(self, number: int, progress: RunProgress) -> None:
        """A run goes on."""
        self._manager.progress(number, progress)

    def drifted(self, plugin: str, changes: Sequence[ResourceChange], repaired: bool) -> None:
        """Something was not as declared."""
        self._manager.drifted(plugin, changes, repaired)
        self._manager.tell()

    def port(self, name: str, there: bool) -> None:
        """A port of the mesh came or went."""
        if there:
            self._manager.port_added(name)
        else:
            self._manager.port_removed(name)

    def _put_there(self, path: str, interface: Hop | Client | OpenFlow) -> None:
        self._changing[path] = interface
        self._bus.export(path, interface)
        self._signal("InterfacesAdded", "oa{sa{sv}}", [path, {interface.name: interface.values()}])

    def _take_away(self, path: str) -> None:
        interface = self._changing.pop(path)
        self._bus.unexport(path, interface)
        self._signal("InterfacesRemoved", "oas", [path, [interface.name]])

    def _signal(self, member: str, signature: str, body: list[Any]) -> None:
        """From the manager of the objects; dbus-fast sends these from the objects themselves."""
        message = Message.new_signal(ROOT, _OBJECT_MANAGER, member, signature, body)
        self._bus.send(message)
