"""Who calls on the bus, and how much of the daemon each of them may have.

A caller is the user (uid) that the bus vouches for, not the connection: more connections give no
more. Root has no limits. A caller who may only look has few calls at once, each of them short,
little text, and threads that nothing else uses, so that no look holds up a repair or the daemon's
end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dbus_fast import DBusError, Message, MessageFlag, MessageType

from privacy_router.client.errors import DENIED, LIMITED
from privacy_router.config.syntax import DOCUMENT_MAX_BYTES
from privacy_router.host.dbus import DBusCallError, Remote
from privacy_router.host.threads import CALLERS, by_lane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from privacy_router.host.dbus import Bus

_DRIVER: Final = Remote("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_ROOT: Final = 0
_KNOWN_MOST: Final = 4096
TEXT_CHARS: Final = 4096
"""The longest text in a call of a user other than root."""
DOCUMENT_CHARS: Final = 128 * 1024
"""The longest document that is planned for a user other than root."""
_COSTS: Final = {"GetManagedObjects": 50.0, "GetAll": 5.0, "Introspect": 5.0}


@dataclass(frozen=True)
class Limits:
    """What a user other than root may have: calls at once, seconds for a call that looks, and
    messages a second (after `burst` of them; those with long answers count for several). Of all
    such users together, `carried_out` looks go on at a time; the others wait."""

    at_once: int = 4
    carried_out: int = 2
    call_s: float = 20.0
    per_second: float = 200.0
    burst: float = 400.0


@dataclass(frozen=True)
class Identity:
    """Who calls: the process and its user, as the bus knows them."""

    sender: str
    uid: int
    pid: int
    interactive: bool

    @property
    def is_root(self) -> bool:
        """Whether it may do everything."""
        return self.uid == _ROOT


@dataclass
class _Bucket:
    """Messages that may still come; filled again as time passes."""

    left: float
    at_s: float = field(default_factory=time.monotonic)

    def take(self, cost: float, limits: Limits) -> bool:
        """Whether a message of that cost may come now."""
        now_s = time.monotonic()
        self.left = min(limits.burst, self.left + (now_s - self.at_s) * limits.per_second)
        self.at_s = now_s
        self.left -= cost
        if self.left < 0:
            self.left = max(self.left, -limits.per_second)  # a caller that goes on waits a second
            return False
        return True


_message: ContextVar[tuple[str, bool]] = ContextVar("message", default=("", False))


class Callers:
    """The callers on one bus. `bus` is another connection to it, to ask the bus about them."""

    def __init__(self, bus: Bus, limits: Limits | None = None) -> None:
        self._bus = bus
        self._limits = limits or Limits()
        self._known: dict[str, asyncio.Task[tuple[int, int]]] = {}
        self._calls: Counter[int] = Counter()
        self._turn = asyncio.Semaphore(self._limits.carried_out)
        self._buckets: dict[int | str, _Bucket] = {}

    def note(self, message: Message) -> None:
        """A message handler: what is called because of this message is called by its sender.

        Raises DBusError for a user who calls too often.
        """
        if message.message_type is not MessageType.METHOD_CALL:
            return
        sender = message.sender or ""
        interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
        _message.set((sender, interactive))
        user = self._user_of(sender)
        if user == _ROOT:
            return
        if len(self._buckets) > _KNOWN_MOST:
            self._buckets.clear()
        bucket = self._buckets.setdefault(user, _Bucket(self._limits.burst))
        if not bucket.take(_COSTS.get(message.member or "", 1.0), self._limits):
            raise _limited(f"{self._limits.per_second:g} calls a second")

    def _user_of(self, sender: str) -> int | str:
        """The user, or the connection while the bus has not said yet whose it is."""
        task = self._ask(sender)
        known = task.done() and not task.cancelled() and task.exception() is None
        return task.result()[0] if known else sender

    def _ask(self, sender: str) -> asyncio.Task[tuple[int, int]]:
        """Ask the bus who that is, once: names of connections are never used again."""
        if sender not in self._known:
            if len(self._known) >= _KNOWN_MOST:
                self._known.pop(next(iter(self._known)))
            self._known[sender] = asyncio.create_task(self._credentials(sender))
            self._known[sender].add_done_callback(lambda task: self._answered(sender, task))
        return self._known[sender]

    def _answered(self, sender: str, task: asyncio.Task[tuple[int, int]]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._known.pop(sender, None)

    async def _credentials(self, sender: str) -> tuple[int, int]:
        (uid,) = await self._bus.call(_DRIVER, "GetConnectionUnixUser", "s", sender)
        (pid,) = await self._bus.call(_DRIVER, "GetConnectionUnixProcessID", "s", sender)
        return (uid, pid)

    async def identity(self) -> Identity:
        """Who calls at present. Raises DBusError when the bus does not say."""
        sender, interactive = _message.get()
        try:
            uid, pid = await asyncio.shield(self._ask(sender))
        except DBusCallError as error:
            raise DBusError(DENIED, f"it cannot be found out who asks: {error}") from error
        return Identity(sender, uid, pid, interactive)

    @asynccontextmanager
    async def admitted(
        self, arguments: Sequence[Any], longest: int, *, looks: bool
    ) -> AsyncIterator[Identity]:
        """Have a call carried out inside, within the limits of its caller.

        `looks`: it changes nothing and may be given up at any time. Raises DBusError, which names
        the limit.
        """
        caller = await self.identity()
        if caller.is_root:
            yield caller
            return
        _require_short(arguments, longest if looks else max(longest, DOCUMENT_MAX_BYTES))
        if self._calls[caller.uid] >= self._limits.at_once:
            raise _limited(f"{self._limits.at_once} calls at once")
        self._calls[caller.uid] += 1
        try:
            if not looks:
                yield caller
                return
            async with self._in_time(), self._turn:
                with by_lane(CALLERS):
                    yield caller
        finally:
            self._calls -= Counter({caller.uid: 1})

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.call_s) as clock:
                yield
        except TimeoutError:
            if not clock.expired():
                raise
            raise _limited(f"{self._limits.call_s:g} s for a call") from None


def _require_short(arguments: Sequence[Any], longest: int) -> None:
    if sum(len(one) for one in arguments if isinstance(one, str)) > longest:
        raise _limited(f"{longest} characters of text")


def _limited(limit: str) -> DBusError:
    return DBusError(
        LIMITED, f"a user other than root may have {limit}\nremedy: ask for less, or as root"
    )
