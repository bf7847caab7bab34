"""What goes over D-Bus: calls and their answers, signals, errors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from dbus_fast import Message


class DBusCallError(PrivacyRouterError):
    """A call failed; `name` is the error's on the bus: org.freedesktop.DBus.Error.NoReply, say.

    `retryable` where the service or the bus was not there or did not answer.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, retryable=name in _PASSING)
        self.name = name


class BusGoneError(DBusCallError):
    """There is no bus, or not any more; `refused`: there is one, which does not let us in."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(_DISCONNECTED, message)
        self.refused = refused
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


def question(
    remote: Remote, member: str, signature: str, body: Sequence[Any], *, interactive: bool = False
) -> Message:
    """A method call."""
    from dbus_fast import Message, MessageFlag

    return Message(
        destination=remote.destination,
        path=remote.path,
        interface=remote.interface,
        member=member,
        signature=signature,
        body=list(body),
        flags=MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE,
    )


def no_reply(message: Message, timeout_s: float) -> DBusCallError:
    """The error for a call that was not answered in time."""
    text = f"{message.destination} did not answer {message.member} within {timeout_s:g} s"
    return DBusCallError("org.freedesktop.DBus.Error.NoReply", text)


def answer(reply: Message | None) -> tuple[Any, ...]:
    """What a call is answered, without variants. Raises DBusCallError."""
    from dbus_fast import MessageType

    if reply is None:
        raise BusGoneError("the bus went away")
    if reply.message_type is MessageType.ERROR:
        name = reply.error_name or ""
        raise DBusCallError(name, str(reply.body[0] if reply.body else name))
    return tuple(unwrapped(value) for value in reply.body)


def with_descriptors(reply: Message) -> tuple[Any, ...]:
    """The same with descriptors in place of what a message has for them: their indexes."""
    body = list(answer(reply))
    for place, kind in enumerate(reply.signature_tree.types):
        if kind.signature == "h":
            body[place] = reply.unix_fds[body[place]]
            os.set_inheritable(body[place], False)
    return tuple(body)


def close_descriptors(task: asyncio.Task[Message]) -> None:
    """Close what came with an answer that no caller waits for any more."""
    if not task.cancelled() and task.exception() is None:
        for descriptor in task.result().unix_fds:
            os.close(descriptor)


def unwrapped(value: Any) -> Any:
    """A value as it came off the bus, with variants replaced by what is in them, at any depth.

    Structures are tuples, arrays are lists.
    """
    from dbus_fast import Variant

    if isinstance(value, Variant):
        return unwrapped(value.value)
    if isinstance(value, list | tuple):
        return type(value)(unwrapped(item) for item in value)
    if isinstance(value, dict):
        return {key: unwrapped(item) for key, item in value.items()}
    return value
