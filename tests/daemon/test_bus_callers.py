"""Limits are the user's, name themselves, and leave root alone."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dbus_fast import DBusError, Message

from privacy_router.daemon.bus.callers import TEXT_CHARS, Callers, Limits
from privacy_router.host.threads import CALLERS, in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

NOBODY = 65534


def callers_of(uids: dict[str, int], **limits: Any) -> Callers:
    async def call(_: object, member: str, __: str, sender: str) -> Sequence[int]:
        return (uids[sender] if member == "GetConnectionUnixUser" else 7,)

    return Callers(SimpleNamespace(call=call), Limits(**limits))  # type: ignore[arg-type]


def call_from(callers: Callers, sender: str, member: str = "Plan") -> None:
    callers.note(Message(path="/a", interface="a.b", member=member, sender=sender))


async def look(callers: Callers, sender: str, *texts: str, until: asyncio.Event) -> str:
    call_from(callers, sender)
    async with callers.admitted(texts, TEXT_CHARS, looks=True):
        await until.wait()
    return "answered"


async def test_more_connections_give_no_more_calls() -> None:
    callers = callers_of({":1.1": NOBODY, ":1.2": NOBODY, ":1.3": 0}, at_once=2)
    go = asyncio.Event()
    calls = [asyncio.create_task(look(callers, f":1.{n}", until=go)) for n in (1, 2)]
    for _ in range(10):
        await asyncio.sleep(0)
    with pytest.raises(DBusError, match="2 calls at once") as refused:
        await look(callers, ":1.1", until=go)
    assert refused.value.type == "org.freedesktop.DBus.Error.LimitsExceeded"
    calls += [asyncio.create_task(look(callers, ":1.3", until=go)) for _ in range(9)]  # root
    go.set()
    assert await asyncio.gather(*calls) == ["answered"] * 11
    assert await look(callers, ":1.1", until=go) == "answered"


async def test_a_long_text_and_a_long_call() -> None:
    callers = callers_of({":1.1": NOBODY, ":1.2": 0}, call_s=0.05)
    done, never = asyncio.Event(), asyncio.Event()
    done.set()
    with pytest.raises(DBusError, match="4096 characters"):
        await look(callers, ":1.1", "x" * 5000, until=done)
    assert await look(callers, ":1.2", "x" * 5000, until=done) == "answered"
    with pytest.raises(DBusError, match=r"0\.05 s for a call"):
        await look(callers, ":1.1", until=never)


async def test_a_flood_is_refused_before_anything_is_done() -> None:
    callers = callers_of({":1.1": NOBODY, ":1.2": 0}, per_second=1.0, burst=100.0)
    for sender in (":1.1", ":1.2"):
        await look(callers, sender, until=_set())
    call_from(callers, ":1.1", "GetManagedObjects")
    with pytest.raises(DBusError, match="1 calls a second"):
        for _ in range(200):
            call_from(callers, ":1.1")
    for _ in range(200):
        call_from(callers, ":1.2")


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_looks_have_threads_of_their_own() -> None:
    callers = callers_of({":1.1": NOBODY})
    call_from(callers, ":1.1")
    async with callers.admitted((), TEXT_CHARS, looks=True):
        name = await in_thread(lambda: threading.current_thread().name)
    assert name.startswith(CALLERS.name)
    assert not (await in_thread(lambda: threading.current_thread().name)).startswith(CALLERS.name)
