"""Bus against a message bus of the test's own, and a service on it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from dbus_fast import DBusError, NameFlag, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusDict, DBusSignature, DBusStr, DBusUInt32, DBusUnixFd
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from privacy_router.host.dbus import Bus, BusGoneError, DBusCallError, Remote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


NAME = "org.example.Clock"
CLOCK = Remote(NAME, "/org/example/Clock", "org.example.Clock")
RULE = f"sender='{NAME}',interface='{NAME}'"


class Clock(ServiceInterface):
    """Something to ask."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.alarm = "never"
        self.read_end, self.write_end = os.pipe()
        self.asked = asyncio.Event()

    @dbus_method()
    def Add(self, one: DBusUInt32, other: DBusUInt32) -> DBusUInt32:  # noqa: N802
        return one + other

    @dbus_method()
    def Fail(self) -> Annotated[None, DBusSignature("")]:  # noqa: N802
        raise DBusError(f"{NAME}.Error.Stopped", "the clock has stopped")

    @dbus_method()
    async def Hang(self) -> DBusStr:  # noqa: N802
        self.asked.set()
        await asyncio.Event().wait()
        return "never"

    @dbus_method()
    def Nested(self) -> DBusDict:  # noqa: N802
        return {
            "a": Variant("av", [Variant("s", "b"), Variant("(suv)", ["c", 1, Variant("s", "d")])])
        }

    @dbus_method()
    def Pipe(self) -> Annotated[list[Any], DBusSignature("sh")]:  # noqa: N802
        return ["pipe", self.write_end]

    @dbus_method()
    async def HangPipe(self) -> DBusUnixFd:  # noqa: N802
        self.asked.set()
        await asyncio.Event().wait()
        return self.write_end

    @dbus_signal()
    def Rang(self, times: int) -> DBusUInt32:  # noqa: N802
        return times

    @dbus_property()
    def Alarm(self) -> DBusStr:  # noqa: N802
        return self.alarm

    @Alarm.setter  # type: ignore[no-redef]  # mypy knows no property but the built-in one
    def Alarm(self, value: DBusStr) -> None:  # noqa: N802
        self.alarm = value

    @dbus_property(access=PropertyAccess.READ)
    def Hour(self) -> DBusUInt32:  # noqa: N802
        return 12


class Daemon:
    """A dbus-daemon of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.address = f"unix:path={directory / 'bus'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "dbus-daemon",
                "--session",
                "--nofork",
                "--print-address=1",
                "--address",
                self.address,
            ],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline()  # printed once it listens

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None
            Path(self.address.removeprefix("unix:path=")).unlink(missing_ok=True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture
async def bus(daemon: Daemon) -> AsyncIterator[Bus]:
    one = Bus(daemon.address)
    yield one
    await one.close()


class Service:
    """A clock on the bus."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.clock = Clock()

    async def __aenter__(self) -> Clock:
        self._connection: Any = MessageBus(bus_address=self._address, negotiate_unix_fd=True)
        await self._connection.connect()
        self._connection.export(CLOCK.path, self.clock)
        await self._connection.request_name(NAME, NameFlag.REPLACE_EXISTING)
        return self.clock

    async def __aexit__(self, *_: object) -> None:
        self._connection.disconnect()
        with contextlib.suppress(EOFError, OSError):  # where the bus was killed under it
            await self._connection.wait_for_disconnect()
        os.close(self.clock.read_end)
        os.close(self.clock.write_end)


@pytest.fixture
async def clock(daemon: Daemon) -> AsyncIterator[Clock]:
    async with Service(daemon.address) as one:
        yield one


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_call_returns_what_it_is_answered(bus: Bus, clock: Clock) -> None:
    assert await bus.call(CLOCK, "Add", "uu", 2, 3) == (5,)


async def test_calls_at_the_same_time_share_a_connection(bus: Bus, clock: Clock) -> None:
    before = open_descriptors()
    answers = await asyncio.gather(*(bus.call(CLOCK, "Add", "uu", n, 1) for n in range(20)))
    assert answers == [(n + 1,) for n in range(20)]
    assert open_descriptors() - before <= 2  # a socket and its file


async def test_variants_are_taken_out_at_any_depth(bus: Bus, clock: Clock) -> None:
    assert await bus.call(CLOCK, "Nested") == ({"a": ["b", ("c", 1, "d")]},)


async def test_an_error_has_the_name_that_the_service_gave_it(bus: Bus, clock: Clock) -> None:
    with pytest.raises(DBusCallError, match="the clock has stopped") as caught:
        await bus.call(CLOCK, "Fail")
    assert caught.value.name == f"{NAME}.Error.Stopped"
    assert not caught.value.retryable


async def test_nobody_there_may_pass(bus: Bus) -> None:
    with pytest.raises(DBusCallError) as caught:
        await bus.call(CLOCK, "Add", "uu", 2, 3)
    assert caught.value.name == "org.freedesktop.DBus.Error.ServiceUnknown"
    assert caught.value.retryable


async def test_an_unknown_method_does_not_pass(bus: Bus, clock: Clock) -> None:
    with pytest.raises(DBusCallError) as caught:
        await bus.call(CLOCK, "Subtract", "uu", 2, 3)
    assert caught.value.name == "org.freedesktop.DBus.Error.UnknownMethod"
    assert not caught.value.retryable


async def test_no_answer_in_time_is_an_error(bus: Bus, clock: Clock) -> None:
    with pytest.raises(DBusCallError, match="did not answer Hang within") as caught:
        await bus.call(CLOCK, "Hang", timeout_s=0.05)
    assert caught.value.name == "org.freedesktop.DBus.Error.NoReply"
    assert await bus.call(CLOCK, "Add", "uu", 1, 1) == (2,)


async def test_properties(bus: Bus, clock: Clock) -> None:
    assert await bus.get(CLOCK, "Alarm") == "never"
    await bus.set(CLOCK, "Alarm", "s", "07:00")
    assert clock.alarm == "07:00"
    assert await bus.get_all(CLOCK) == {"Alarm": "07:00", "Hour": 12}
    with pytest.raises(DBusCallError):
        await bus.set(CLOCK, "Hour", "u", 13)


async def test_names(bus: Bus, daemon: Daemon) -> None:
    assert await bus.owner(NAME) is None
    assert not await bus.has(NAME)
    async with Service(daemon.address):
        assert (await bus.owner(NAME) or "").startswith(":")
        assert await bus.has(NAME)
    assert await bus.has("org.freedesktop.DBus")


async def test_signals_come_in_their_order(bus: Bus, clock: Clock) -> None:
    async with bus.subscribed(RULE) as signals:
        for times in range(3):
            clock.Rang(times)
        heard = [await anext(signals) for _ in range(3)]
    assert [(s.path, s.member, s.body) for s in heard] == [
        (CLOCK.path, "Rang", (times,)) for times in range(3)
    ]


async def test_signals_that_fit_no_rule_do_not_come(bus: Bus, clock: Clock) -> None:
    async with bus.subscribed(f"{RULE},member='Struck'", f"{RULE},arg0='x'") as signals:
        clock.Rang(1)
        await bus.call(CLOCK, "Add", "uu", 1, 1)  # answered after the signal was sent
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(signals)


async def test_a_rule_ends_with_its_subscription(bus: Bus, daemon: Daemon, clock: Clock) -> None:
    async with bus.subscribed(RULE):
        assert await matches(bus, daemon) == 1
    assert await matches(bus, daemon) == 0


async def matches(bus: Bus, daemon: Daemon) -> int:
    stats = Remote(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats"
    )
    rules = (await bus.call(stats, "GetAllMatchRules"))[0]
    return sum(NAME in rule for found in rules.values() for rule in found)


async def test_a_bad_rule_is_an_error(bus: Bus) -> None:
    with pytest.raises(DBusCallError) as caught:
        async with bus.subscribed("nonsense"):
            pass
    assert caught.value.name == "org.freedesktop.DBus.Error.MatchRuleInvalid"


async def test_a_descriptor_is_the_callers(bus: Bus, clock: Clock) -> None:
    word, descriptor = await bus.call_for_descriptors(CLOCK, "Pipe")
    assert word == "pipe"
    assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.write(descriptor, b"tick")
    assert os.read(clock.read_end, 10) == b"tick"
    os.close(descriptor)


async def test_a_descriptor_costs_one_descriptor(bus: Bus, clock: Clock) -> None:
    before = open_descriptors()
    _, descriptor = await bus.call_for_descriptors(CLOCK, "Pipe")
    assert open_descriptors() == before + 1
    os.close(descriptor)


async def test_descriptors_are_for_who_asks_for_them(bus: Bus, clock: Clock) -> None:
    await bus.get(CLOCK, "Alarm")
    before = open_descriptors()
    with pytest.raises(DBusCallError):
        await bus.call(CLOCK, "Pipe", timeout_s=1)
    assert open_descriptors() == before


async def test_an_error_instead_of_a_descriptor(bus: Bus, clock: Clock) -> None:
    before = open_descriptors()
    with pytest.raises(DBusCallError, match="the clock has stopped"):
        await bus.call_for_descriptors(CLOCK, "Fail")
    assert open_descriptors() == before


async def test_a_descriptor_that_comes_too_late_leaves_nothing(bus: Bus, clock: Clock) -> None:
    before = open_descriptors()
    with pytest.raises(DBusCallError, match="did not answer HangPipe"):
        await bus.call_for_descriptors(CLOCK, "HangPipe", timeout_s=0.05)
    assert open_descriptors() == before


async def test_a_cancelled_call_for_descriptors_leaves_nothing(bus: Bus, clock: Clock) -> None:
    before = open_descriptors()
    task = asyncio.create_task(bus.call_for_descriptors(CLOCK, "HangPipe"))
    await clock.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_descriptors() == before


async def test_no_bus() -> None:
    for address in (None, "unix:path=/nonexistent/bus", "nonsense"):
        with pytest.raises(BusGoneError) as caught:
            await Bus(address).call(CLOCK, "Add", "uu", 1, 1)
        assert caught.value.retryable
        assert "PRIVACY_ROUTER_BUS" in caught.value.remedy


async def test_a_bus_that_goes_away_ends_calls_and_signals(bus: Bus, daemon: Daemon) -> None:
    async with Service(daemon.address) as clock:
        call = asyncio.create_task(bus.call(CLOCK, "Hang"))
        listening = asyncio.create_task(first_signal(bus))
        await clock.asked.wait()
        daemon.stop()
        with pytest.raises(BusGoneError):
            await call
        with pytest.raises(BusGoneError):
            await listening
        with pytest.raises(BusGoneError, match="no bus at"):
            await bus.call(CLOCK, "Add", "uu", 1, 1)


async def first_signal(bus: Bus) -> None:
    async for _ in bus.signals(RULE):
        return


async def test_a_bus_that_comes_back_is_used_again(bus: Bus, daemon: Daemon) -> None:
    async with Service(daemon.address):
        assert await bus.call(CLOCK, "Add", "uu", 1, 1) == (2,)
        daemon.stop()
    daemon.start()
    async with Service(daemon.address) as clock:
        assert await bus.call(CLOCK, "Add", "uu", 2, 2) == (4,)
        async with bus.subscribed(RULE) as signals:
            clock.Rang(7)
            assert (await anext(signals)).body == (7,)


async def test_closing_leaves_nothing_open(daemon: Daemon) -> None:
    before = open_descriptors()
    bus = Bus(daemon.address)
    assert await bus.owner(NAME) is None
    await bus.close()
    assert open_descriptors() == before
