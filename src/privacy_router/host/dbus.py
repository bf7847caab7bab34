"""Ask other services on D-Bus: calls, properties and signals, on one connection that comes back.

With dbus_messages the only one that knows dbus-fast's low-level client. Services are described by
their own documentation; introspecting each of them first would cost a round trip a call.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from privacy_router.host.dbus_messages import (
    BusGoneError,
    DBusCallError,
    Remote,
    Signal,
    answer,
    close_descriptors,
    no_reply,
    question,
    unwrapped,
    with_descriptors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

__all__ = ["Bus", "BusGoneError", "DBusCallError", "Remote", "Signal", "unwrapped"]

_CONNECT_S: Final = 10.0
_CALL_S: Final = 25.0  # what libdbus takes too
_UNASKED: Final = frozenset({"NameAcquired", "NameLost"})  # the bus tells each client of its own
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"

_BUS: Final = Remote("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class Bus:
    """A bus by its address; connected with the first call, and anew after the bus came back.

    Belongs to one event loop.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._connection: MessageBus | None = None
        self._ended: asyncio.Task[None]  # with the connection; it outlives all who wait for it
        self._connecting = asyncio.Lock()

    async def call(
        self,
        remote: Remote,
        member: str,
        signature: str = "",
        *body: Any,
        timeout_s: float = _CALL_S,
        interactive: bool = False,
    ) -> tuple[Any, ...]:
        """Call a method; what it answers, without variants. Arguments of type `v` are
        `dbus_fast.Variant`s. `interactive` lets polkit ask the user. Raises DBusCallError."""
        message = question(remote, member, signature, body, interactive=interactive)
        connection = await self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await connection.call(message)
        except TimeoutError:
            raise no_reply(message, timeout_s) from None
        except (OSError, EOFError) as error:
            raise BusGoneError(f"the bus went away: {error}") from error
        return answer(reply)

    async def call_for_descriptors(
        self,
        remote: Remote,
        member: str,
        signature: str = "",
        *body: Any,
        timeout_s: float = _CALL_S,
    ) -> tuple[Any, ...]:
        """Call a method whose answer has file descriptors (type `h`): they stand in it as numbers,
        are closed on exec, and are the caller's to close. Raises DBusCallError.

        Has a connection of its own: no peer can hand descriptors to the shared one.
        """
        message = question(remote, member, signature, body)
        connection = await self._connect(descriptors=True)
        task = asyncio.create_task(connection.call(message))
        try:
            return with_descriptors(await _within(timeout_s, task, message))
        except (OSError, EOFError) as error:
            raise BusGoneError(f"the bus went away: {error}") from error
        except BaseException:
            task.add_done_callback(close_descriptors)
            raise
        finally:
            await _end(connection)

    async def get(self, remote: Remote, name: str) -> Any:
        """A property. Raises DBusCallError."""
        where = remote.at(remote.path, _PROPERTIES)
        return (await self.call(where, "Get", "ss", remote.interface, name))[0]

    async def get_all(self, remote: Remote) -> dict[str, Any]:
        """All properties. Raises DBusCallError."""
        where = remote.at(remote.path, _PROPERTIES)
        found: dict[str, Any] = (await self.call(where, "GetAll", "s", remote.interface))[0]
        return found

    async def set(self, remote: Remote, name: str, signature: str, value: Any) -> None:
        """Set a property. Raises DBusCallError."""
        from dbus_fast import Variant

        where = remote.at(remote.path, _PROPERTIES)
        await self.call(where, "Set", "ssv", remote.interface, name, Variant(signature, value))

    async def owner(self, name: str) -> str | None:
        """Who has that name on the bus now; None when none has. Raises DBusCallError."""
        try:
            found: str = (await self.call(_BUS, "GetNameOwner", "s", name))[0]
        except DBusCallError as error:
            if error.name == "org.freedesktop.DBus.Error.NameHasNoOwner":
                return None
            raise
        return found

    async def has(self, name: str) -> bool:
        """Whether a call to that name finds its owner: running, or started by the call."""
        if await self.owner(name) is not None:
            return True
        return name in (await self.call(_BUS, "ListActivatableNames"))[0]

    async def signals(self, *rules: str) -> AsyncIterator[Signal]:
        """Signals that fit one of these match rules (D-Bus specification, "Match Rules").

        `type='signal'` is added to each. Raises BusGoneError when the bus goes away. Signals of
        others that share the connection come too: look at path, interface and member.
        """
        async with self.subscribed(*rules) as found:
            async for signal in found:
                yield signal

    @contextlib.asynccontextmanager
    async def subscribed(self, *rules: str) -> AsyncIterator[AsyncIterator[Signal]]:
        """The same for `async with`: inside it no signal is missed, so a call that leads to one
        belongs there, and the waiting for it."""
        connection = await self._connected()
        queue: asyncio.Queue[Signal | None] = asyncio.Queue()
        handler = _into(queue)
        connection.add_message_handler(handler)
        ended, end = self._ended, _ending(queue)
        ended.add_done_callback(end)
        added: list[str] = []
        try:
            for rule in rules:
                full = f"type='signal',{rule}"
                await self.call(_BUS, "AddMatch", "s", full)
                added.append(full)
            yield _out_of(queue)
        finally:
            ended.remove_done_callback(end)
            connection.remove_message_handler(handler)
            if connection.connected:
                with contextlib.suppress(DBusCallError):  # then the rules went with the bus
                    for rule in added:
                        await self.call(_BUS, "RemoveMatch", "s", rule)

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _end(connection)

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._connection is None or not self._connection.connected:
                self._connection = await self._connect()
                self._ended = asyncio.create_task(_end_of(self._connection))
            return self._connection

    async def _connect(self, *, descriptors: bool = False) -> MessageBus:
        from dbus_fast import AuthError, InvalidAddressError
        from dbus_fast.aio import MessageBus

        if self.address is None:
            raise BusGoneError("there is no bus: PRIVACY_ROUTER_BUS says so")
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await MessageBus(
                    bus_address=self.address, negotiate_unix_fd=descriptors
                ).connect()
        except (OSError, EOFError, AuthError, InvalidAddressError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            refused = isinstance(error, (PermissionError, EOFError, AuthError))
            raise BusGoneError(f"no bus at {self.address}: {reason}", refused=refused) from error


async def _within(timeout_s: float, task: asyncio.Task[Message], call: Message) -> Message:
    """What comes of the task, which goes on when this is cancelled or gives up."""
    done, _ = await asyncio.wait({task}, timeout=timeout_s)
    if not done:
        raise no_reply(call, timeout_s)
    return task.result()


async def _end(connection: MessageBus) -> None:
    connection.disconnect()
    await _end_of(connection)


async def _end_of(connection: MessageBus) -> None:
    with contextlib.suppress(OSError, EOFError):  # that it ended is all that matters
        await connection.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def _out_of(queue: asyncio.Queue[Signal | None]) -> AsyncIterator[Signal]:
    while (signal := await queue.get()) is not None:
        yield signal
    raise BusGoneError("the bus went away")


def _ending(queue: asyncio.Queue[Signal | None]) -> Callable[[asyncio.Task[None]], None]:
    return lambda _: queue.put_nowait(None)


def _into(queue: asyncio.Queue[Signal | None]) -> Callable[[Message], None]:
    from dbus_fast import MessageType

    def handler(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member not in _UNASKED:
            body = tuple(unwrapped(value) for value in message.body)
            queue.put_nowait(
                Signal(message.path or "", message.interface or "", message.member or "", body)
            )

    return handler
