"""The daemon's own file: applied once for each content, tried again where the reason passes."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.client.status import FileState
from privacy_router.daemon import config_file
from privacy_router.daemon.config_file import ConfigFile, pause_s
from privacy_router.engine.clock import Clock
from privacy_router.engine.considered import Standing
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import Desired, Observed, Resource
from privacy_router.engine.plugin import Plugin
from privacy_router.errors import PrivacyRouterError, RemoteServiceError
from privacy_router.node.file_note import read_note

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress


BEFORE = 51820


class Port(Plugin):
    """Keeps one number, if the service that it asks first answers."""

    name = "port"
    title = "a port"

    def __init__(self) -> None:
        self.value: Any = None
        self.made: list[Any] = []
        self.error: PrivacyRouterError | None = None
        self.failure: PrivacyRouterError | None = None
        self.tries = 0

    async def prepare(self, section: Any) -> None:
        self.tries += 1
        if self.error is not None:
            raise self.error

    def declare(self, section: Any) -> Desired:
        return Desired({} if section is None else {self.key("port", "x"): Resource(section)})

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        return Observed({} if self.value is None else {self.key("port", "x"): self.value})

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        for change in changes:
            self.value = change.after
            if self.failure is not None and change.after != BEFORE:
                raise self.failure
            self.made.append(change.after)


class Site:
    """An engine with one plugin, and the daemon's file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"
        self.note_path = folder / "run" / "file.json"
        self.folder = folder
        self.now_s = 0.0
        self.port = Port()
        self.start()

    def start(self, boot: str = "this boot") -> None:
        """As a new daemon does, on the machine as it is."""
        journal = Journal(self.folder / "journal.db")
        clock = Clock(boot, lambda: self.now_s)
        self.engine = Engine([self.port], journal, clock=clock, parse=parse)
        self.file = ConfigFile(self.path, self.engine, self.note_path)

    async def restart(self, boot: str = "this boot") -> None:
        await self.engine.close()
        self.start(boot)
        await self.engine.recover()

    def write(self, port: int) -> Source:
        self.path.write_text(json.dumps({"port": port}))
        return config_file.source_of(self.path)

    async def expire(self) -> None:
        self.now_s += 100
        await until(lambda: self.engine.journal.open_run() is None)


def parse(source: Source) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(source.text)
    return {} if "plugins" in found else found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    made.write(BEFORE)
    await made.file.follow()
    yield made
    await made.engine.close()


# --- what was undone stays undone -----------------------------------------------------------------


@pytest.mark.parametrize("again", ["reload", "restart", "reboot"])
async def test_what_was_not_confirmed_is_applied_by_nothing(site: Site, again: str) -> None:
    await site.engine.apply(site.write(51999), 60)
    await site.expire()
    assert site.port.value == 51820
    if again != "reload":
        await site.restart("this boot" if again == "restart" else "another boot")
    assert await site.file.follow() is Standing.REJECTED
    assert site.port.made == [51820, 51999, 51820]
    assert site.file.note is not None
    assert site.file.note.state is FileState.UNDONE
    assert "it was not confirmed in time" in site.file.note.words


async def test_an_operator_may_try_it_again(site: Site) -> None:
    await site.engine.apply(site.write(51999), 60)
    await site.expire()
    await site.file.apply()
    assert site.port.value == 51999
    assert site.file.note is None


async def test_another_content_is_applied(site: Site) -> None:
    await site.engine.apply(site.write(51999), 60)
    await site.expire()
    site.write(52000)
    assert await site.file.follow() is Standing.NEW
    assert site.port.value == 52000
    site.write(51999)
    assert await site.file.follow() is Standing.REJECTED
    assert site.port.value == 52000


async def test_a_file_may_go_back_to_what_was_kept_before(site: Site) -> None:
    site.write(52000)
    await site.file.follow()
    site.write(51820)
    await site.file.follow()
    assert site.port.made == [51820, 52000, 51820]


async def test_a_file_that_did_not_change_does_not_displace_what_was_applied(site: Site) -> None:
    """Another document, as an operator has one applied, or a checkpoint."""
    await site.engine.apply(Source('{"port": 53000}'))
    assert await site.file.follow() is Standing.OVERRULED
    await site.restart()
    assert await site.file.follow() is Standing.OVERRULED
    assert site.port.value == 53000
    assert site.file.note is not None
    assert site.file.note.state is FileState.OVERRULED


async def test_what_an_operator_applied_of_the_file_and_took_back_stays_back(site: Site) -> None:
    running = asyncio.create_task(site.file.run())
    await site.engine.apply(site.write(51999))
    site.file.overrule()
    mark = await site.engine.mark_of(config_file.source_of(site.path))
    await until(lambda: site.engine.journal.ledger().file == mark)
    await site.engine.apply(Source('{"port": 51820}'))
    assert await site.file.follow() is Standing.OVERRULED
    assert site.port.value == 51820
    running.cancel()


async def test_the_note_follows_what_becomes_of_a_run(site: Site) -> None:
    running = asyncio.create_task(site.file.run())
    await site.engine.apply(site.write(51999), 60)
    site.file.stir()
    await site.expire()
    site.file.stir()
    await until(lambda: read_note(site.note_path, os.getpid()) is not None)
    await site.engine.apply(site.write(51999))
    site.file.stir()
    await until(lambda: read_note(site.note_path, os.getpid()) is None)
    running.cancel()


async def test_what_is_refused_is_not_tried_again(site: Site) -> None:
    site.port.error = PrivacyRouterError("the terms are not accepted")
    site.write(51999)
    with pytest.raises(PrivacyRouterError):
        await site.file.follow()
    site.port.error = None
    await site.restart()
    assert await site.file.follow() is Standing.REJECTED
    assert site.file.note is not None
    assert site.file.note.state is FileState.REFUSED


# --- what fails for a passing reason is tried again -----------------------------------------------

GONE = RemoteServiceError("no way there", remedy="check the network", retryable=True)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """What the kernel tells of the host's network; and tries follow each other soon."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def changes(*_: object) -> AsyncGenerator[str, None]:
        yield "listening from now on"
        while True:
            yield await told.get()

    monkeypatch.setattr(config_file, "changes", changes)
    monkeypatch.setattr(config_file, "_LEAST_S", 0.0)
    monkeypatch.setattr(config_file, "_SETTLE_S", 0.0)
    return told


async def fail(site: Site, error: PrivacyRouterError) -> asyncio.Task[None]:
    site.port.error = error
    site.write(51999)
    with pytest.raises(PrivacyRouterError):
        await site.file.follow()
    return asyncio.create_task(site.file.run())


async def test_it_says_what_failed_and_when_it_is_tried_next(site: Site) -> None:
    running = await fail(site, GONE)
    note = read_note(site.note_path, os.getpid())
    assert note is not None
    assert (note.state, note.reason, note.remedy) == (FileState.WAITING, GONE.message, GONE.remedy)
    assert note.next_s is not None
    assert note.next_s - note.at_s == config_file.FIRST_PAUSE_S
    running.cancel()


async def test_what_an_operator_asks_for_is_one_try_and_leaves_the_file_new(site: Site) -> None:
    site.port.error = GONE
    site.write(51999)
    with pytest.raises(PrivacyRouterError):
        await site.file.apply()
    assert (site.file.note, site.file._waiting) == (None, None)
    site.port.error = None
    assert await site.file.follow() is Standing.NEW
    assert site.port.value == 51999


async def test_it_is_tried_again_by_the_clock(
    site: Site, network: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "FIRST_PAUSE_S", 0.01)
    running = await fail(site, GONE)
    tries = site.port.tries
    await until(lambda: site.port.tries > tries + 2)
    site.port.error = None
    await until(lambda: site.port.value == 51999)
    await until(lambda: site.file.note is None)
    running.cancel()
    assert network.empty()


async def test_it_is_tried_at_once_when_the_network_changes(
    site: Site, network: asyncio.Queue[str]
) -> None:
    running = await fail(site, GONE)
    tries = site.port.tries
    network.put_nowait("an address")
    await until(lambda: site.port.tries == tries + 1)
    site.port.error = None
    network.put_nowait("a route")
    await until(lambda: site.port.value == 51999)
    running.cancel()


async def test_a_service_that_says_how_long_to_wait_is_not_hurried(
    site: Site, network: asyncio.Queue[str]
) -> None:
    busy = RemoteServiceError("too many requests", retryable=True, retry_after_s=900.0)
    running = await fail(site, busy)
    tries = site.port.tries
    network.put_nowait("a route")
    site.file.stir()
    await until(lambda: not site.file._is_stale)
    assert (site.port.tries, network.qsize()) == (tries, 1)
    running.cancel()


async def test_a_run_that_fails_for_a_passing_reason_is_tried_a_few_times(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package manager is busy, say: each try is a run, and is undone."""
    monkeypatch.setattr(config_file, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(config_file, "LONGEST_PAUSE_S", 0.02)
    busy = PrivacyRouterError("another program has the lock", retryable=True)
    running = await fail(site, GONE)
    await until(lambda: site.port.tries > config_file.RUN_TRIES + 1)  # these were no runs
    site.port.error, site.port.failure = None, busy
    await until(lambda: site.file.note and site.file.note.state is FileState.UNDONE)
    assert len(site.engine.journal.runs()) == 1 + config_file.RUN_TRIES
    assert site.port.value == 51820
    assert await site.file.follow() is Standing.REJECTED
    running.cancel()


@pytest.mark.parametrize("text", ['{"port": 53000}', '{"version": 1, "plugins": {}}'])
async def test_what_an_operator_has_applied_meanwhile_stands(
    site: Site, network: asyncio.Queue[str], text: str
) -> None:
    """Also when a try waits for that very run to end, and at the next start."""
    running = await fail(site, GONE)
    site.port.error = None
    async with site.engine.lock:
        network.put_nowait("a route")
        await until(site.file._lock.locked)
        site.file.overrule()
    await site.engine.apply(Source(text))
    value = site.port.value
    await until(lambda: not site.file._is_stale and not site.file._lock.locked())
    await site.restart()
    assert await site.file.follow() is Standing.OVERRULED
    assert site.port.value == value != 51999
    running.cancel()


@pytest.mark.parametrize(
    ("tries", "error", "expected_s"),
    [
        (1, GONE, 5),
        (2, GONE, 10),
        (7, GONE, 300),
        (99999, GONE, 300),
        (1, RemoteServiceError("limited", retry_after_s=900), 900),
        (1, PrivacyRouterError("else"), 5),
    ],
)
def test_the_pause_doubles_up_to_five_minutes(
    tries: int, error: PrivacyRouterError, expected_s: float
) -> None:
    assert pause_s(tries, error) == expected_s
