"""Real sessions for the tests in the machine: a service with PAM, and a terminal if asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from privacy_router.plugins.login1.logind import Session, sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from privacy_router.host.dbus import Bus

DEADLINE_S = 20
USER = "alice"


async def tried(*words: str) -> subprocess.CompletedProcess[str]:
    """What comes of the command."""
    return await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True)


async def run(*words: str) -> str:
    """What the command prints; it has to succeed."""
    done = await tried(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def have_user() -> None:
    """Alice is there."""
    if (await tried("id", USER)).returncode:
        await run("useradd", "--create-home", USER)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def logins(bus: Bus) -> list[Session]:
    """All sessions but those of service managers: from systemd 256 on, the manager of a user who
    has a session has one too."""
    found = await sessions(bus)
    return [one for one in found if not one.session_class.startswith("manager")]


@asynccontextmanager
async def session(
    bus: Bus, *, user: str = USER, kind: str = "", session_class: str = "user", command: str = ""
) -> AsyncIterator[Session]:
    """A session with a terminal (kind tty), or without. Without a class pam_systemd takes one with
    neither terminal nor type for a job in the background."""
    before = {one.id for one in await logins(bus)}
    master, slave = os.openpty()
    unit = f"session-of-{user}-{os.urandom(4).hex()}"
    terminal = [f"TTYPath={os.ttyname(slave)}", "StandardInput=tty-force"] if kind == "tty" else []
    words = {"XDG_SESSION_TYPE": "" if kind == "tty" else kind, "XDG_SESSION_CLASS": session_class}
    environment = [f"Environment={name}={word}" for name, word in words.items() if word]
    properties = ["PAMName=login", f"User={user}", *terminal, *environment]
    await run(
        *("systemd-run", "--quiet", "--collect", f"--unit={unit}"),
        *(f"--property={one}" for one in properties),
        *("sh", "-c", command or "exec sleep infinity"),
    )
    try:
        yield await _new(bus, before)
    finally:
        await tried("systemctl", "kill", "-s", "KILL", unit)
        await tried("systemctl", "stop", unit)
        os.close(master)
        os.close(slave)


async def _new(bus: Bus, before: set[str]) -> Session:
    found: list[Session] = []

    async def is_there() -> bool:
        found[:] = [one for one in await logins(bus) if one.id not in before]
        return bool(found) and found[0].state != "opening"

    await until(is_there)
    return found[0]


async def end_all(bus: Bus) -> None:
    """No session is left."""
    for one in await logins(bus):
        await tried("loginctl", "terminate-session", one.id)  # it may be gone by now
        await tried("loginctl", "kill-session", "--signal=KILL", one.id)

    async def none_left() -> bool:
        return not await logins(bus)

    await until(none_left)


class Heard:
    """What a plugin's watch tells, while inside `async with`."""

    def __init__(self, watch: AsyncIterator[str]) -> None:
        self._watch = watch
        self._words: asyncio.Queue[str | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        # Whatever makes the login manager talk, until it is heard: from then on nothing is missed.
        while self._words.empty():
            await run("systemd-inhibit", "--what=idle", "true")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async for words in self._watch:
            self._words.put_nowait(words)
        self._words.put_nowait(None)

    async def until(self, part: str | None) -> None:
        """Wait for words with this in them, or with None for the end of the watch."""
        async with asyncio.timeout(DEADLINE_S):
            while (words := await self._words.get()) is not None:
                if part is not None and part in words:
                    return
        assert part is None, f"{part} was not heard"
