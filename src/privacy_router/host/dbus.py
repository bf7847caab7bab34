"""Ask other services on D-Bus: calls, properties and signals, on one connection that comes back.

The only file that knows dbus-fast's low-level client. Services are described by their own
documentation; introspecting each of them first would cost a round trip a call.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import ExitCode, PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

_CONNECT_S: Final = 10.0
_CALL_S: Final = 25.0  # what libdbus takes too
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"


class DBusCallError(PrivacyRouterError):
    """A call failed; `name` is the error's on the bus: org.freedesktop.DBus.Error.NoReply, say.

    `retryable` where the service or the bus was not there or did not answer.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, retryable=name in _PASSING)
        self.name = name


class BusGoneError(DBusCallError):
    """There is no bus, or not any more."""

    def __init__(self, message: str) -> None:
        super().__init__(_DISCONNECTED, message)
        self.remedy = "start the bus (systemctl start dbus), or name another: PRIVACY_ROUTER_BUS"


_DISCONNECTED: Final = "org.freedesktop.DBus.Error.Disconnected"
_PASSING: Final = frozenset(
    {
        _DISCONNECTED,
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.Timeout",
        "org.freedesktop.DBus.Error.TimedOut",
    }
)


@dataclass(frozen=True)
class Remote:
    """An interface of an object of a service."""

    destination: str
    path: str
    interface: str

    def at(self, path: str, interface: str | None = None) -> Remote:
        """The same service's interface at another object."""
        return Remote(self.destination, path, interface or self.interface)


@dataclass(frozen=True)
class Signal:
    """A signal that came in; its body without variants."""

    path: str
    interface: str
    member: str
    body: tuple[Any, ...]


_BUS: Final = Remote("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class Bus:
    """A bus by its address; connected with the first call, and anew after the bus came back.

    Belongs to one event loop.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._connection: MessageBus | None = None
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
        from dbus_fast import Message, MessageFlag, MessageType

        message = Message(
            destination=remote.destination,
            path=remote.path,
            interface=remote.interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE,
        )
        connection = await self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await connection.call(message)
        except TimeoutError:
            text = f"{remote.destination} did not answer {member} within {timeout_s:g} s"
            raise DBusCallError("org.freedesktop.DBus.Error.NoReply", text) from None
        except (OSError, EOFError) as error:
            raise BusGoneError(f"the bus went away: {error}") from error
        if reply is None:
            raise BusGoneError("the bus went away")
        if reply.message_type is MessageType.ERROR:
            name = reply.error_name or ""
            raise DBusCallError(name, str(reply.body[0] if reply.body else name))
        return tuple(unwrapped(value) for value in reply.body)

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
        """Who has that name on the bus now; None when nobody has. Raises DBusCallError."""
        try:
            found: str = (await self.call(_BUS, "GetNameOwner", "s", name))[0]
        except DBusCallError as error:
            if error.name == "org.freedesktop.DBus.Error.NameHasNoOwner":
                return None
            raise
        return found

    async def has(self, name: str) -> bool:
        """Whether a call to that name would reach somebody: it runs, or is started by calling."""
        if await self.owner(name) is not None:
            return True
        return name in (await self.call(_BUS, "ListActivatableNames"))[0]

    async def signals(self, *rules: str) -> AsyncIterator[Signal]:
        """Signals that fit one of these match rules (D-Bus specification, "Match Rules").

        `type='signal'` is added to each. Raises BusGoneError when the bus goes away. Signals of
        others that share the connection come too: look at path, interface and member.
        """
        connection = await self._connected()
        queue: asyncio.Queue[Signal | None] = asyncio.Queue()
        handler = _into(queue)
        connection.add_message_handler(handler)
        ended = asyncio.ensure_future(_end_of(connection))
        ended.add_done_callback(lambda _: queue.put_nowait(None))
        added: list[str] = []
        try:
            for rule in rules:
                full = f"type='signal',{rule}"
                await self.call(_BUS, "AddMatch", "s", full)
                added.append(full)
            while (signal := await queue.get()) is not None:
                yield signal
            raise BusGoneError("the bus went away")
        finally:
            ended.cancel()
            connection.remove_message_handler(handler)
            if connection.connected:
                with contextlib.suppress(DBusCallError):  # then the rules went with the bus
                    for rule in added:
                        await self.call(_BUS, "RemoveMatch", "s", rule)

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._connection is None or not self._connection.connected:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> MessageBus:
        from dbus_fast import AuthError, InvalidAddressError
        from dbus_fast.aio import MessageBus

        if self.address is None:
            raise BusGoneError("there is no bus: PRIVACY_ROUTER_BUS says so")
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await MessageBus(bus_address=self.address).connect()
        except (OSError, EOFError, AuthError, InvalidAddressError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise BusGoneError(f"no bus at {self.address}: {reason}") from error


async def _end_of(connection: MessageBus) -> None:
    with contextlib.suppress(OSError, EOFError):  # that it ended is all that matters
        await connection.wait_for_disconnect()  # type: ignore[no-untyped-call]


def _into(queue: asyncio.Queue[Signal | None]) -> Callable[[Message], None]:
    from dbus_fast import MessageType

    def handler(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            body = tuple(unwrapped(value) for value in message.body)
            queue.put_nowait(
                Signal(message.path or "", message.interface or "", message.member or "", body)
            )

    return handler


def unwrapped(value: Any) -> Any:
    """A value as it came off the bus, with variants replaced by what is in them, at any depth."""
    from dbus_fast import Variant

    if isinstance(value, Variant):
        return unwrapped(value.value)
    if isinstance(value, list):
        return [unwrapped(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrapped(item) for key, item in value.items()}
    return value
