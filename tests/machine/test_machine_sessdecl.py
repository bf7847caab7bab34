"""The plugin sessdecl on real sessions."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.plugins.sessdecl import SessdeclConfig
from privacy_router.engine.model import Capability, Desired, enforced
from privacy_router.plugins.sessdecl import SessdeclPlugin, apply
from privacy_router.plugins.target import Machine
from tests.machine.login_sessions import (
    USER,
    Heard,
    end_all,
    have_user,
    logins,
    run,
    session,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from privacy_router.engine.model import Change
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

STUBBORN = "trap '' TERM HUP; touch {}; while :; do sleep 0.1; done"


@pytest.fixture
async def plugin(bus: Bus) -> AsyncIterator[SessdeclPlugin]:
    await have_user()
    yield SessdeclPlugin(Machine(bus))
    await end_all(bus)


def silent(_: str) -> None:
    """Nobody looks on."""


def declared(plugin: SessdeclPlugin, **words: Any) -> Desired:
    one = {"name": "one", "state": "absent", "selector": {"user": USER}} | words
    return plugin.declare(SessdeclConfig.model_validate({"sessions": [one]}))


async def differences(plugin: SessdeclPlugin, desired: Desired) -> list[Change]:
    return plugin.diff(desired, await plugin.query(list(desired.resources)))


async def applied(plugin: SessdeclPlugin, desired: Desired) -> None:
    """Apply as the engine does."""
    changes = enforced(await differences(plugin, desired))
    await plugin.check(desired, changes)
    await plugin.checkpoint(changes)
    await plugin.apply(desired, changes, silent)
    assert enforced(await plugin.verify(desired)) == []
    assert enforced(await differences(plugin, desired)) == []


async def ids(bus: Bus) -> set[str]:
    return {one.id for one in await logins(bus)}


async def test_a_session_that_must_not_be_is_ended(bus: Bus, plugin: SessdeclPlugin) -> None:
    async with session(bus) as one, session(bus, user="root") as other:
        desired = declared(plugin)
        (change,) = await differences(plugin, desired)
        assert change.before == {"sessions": [f"{one.id} {USER} login"]}
        await applied(plugin, desired)
        assert await ids(bus) == {other.id}


@pytest.mark.parametrize(
    ("selector", "kinds"),
    [
        ({"kind": "tty"}, {"tty"}),
        ({"tty": "pts/*"}, {"tty"}),
        ({"kind": "graphical"}, {"x11", "wayland"}),
        ({"kind": "wayland", "user": USER}, {"wayland"}),
        ({"service": "log*", "kind": "unspecified"}, {"unspecified"}),
        ({"remote": False}, {"tty", "x11", "wayland", "unspecified"}),
        ({"remote": True}, set()),
        ({"seat": "seat0"}, set()),
        ({"session_class": "background"}, {"unspecified"}),
    ],
)
async def test_only_what_is_selected_is_ended(
    bus: Bus, plugin: SessdeclPlugin, selector: dict[str, Any], kinds: set[str]
) -> None:
    async with (
        session(bus, kind="tty"),
        session(bus, kind="x11"),
        session(bus, kind="wayland"),
        session(bus),
        session(bus, session_class="greeter"),
        session(bus, session_class=""),
    ):
        before = await logins(bus)
        await applied(plugin, declared(plugin, selector=selector))
        gone = [one for one in before if one.id not in await ids(bus)]
        assert {one.type for one in gone} == kinds
        assert {one.session_class for one in gone} <= {selector.get("session_class", "user")}


async def test_what_does_not_end_by_itself_is_killed(
    bus: Bus, plugin: SessdeclPlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "_GRACE_S", 0.3)
    said: list[str] = []
    ready = tmp_path / "ready"

    async def is_ready() -> bool:
        return ready.exists()

    async with session(bus, user="root", command=STUBBORN.format(ready)) as one:
        await until(is_ready)
        desired = declared(plugin, selector={"user": "root"})
        await plugin.apply(desired, await differences(plugin, desired), said.append)
        assert await ids(bus) == set()
    assert f"session {one.id} does not end by itself, and is killed" in said


async def test_what_a_user_left_behind_is_ended(bus: Bus, plugin: SessdeclPlugin) -> None:
    async with session(bus, command="setsid sleep infinity &") as one:

        async def is_closing() -> bool:
            return [found.state for found in await logins(bus)] == ["closing"]

        await until(is_closing)
        missing = await differences(plugin, declared(plugin, state="present"))
        assert [change.before for change in missing] == [{"present": False}]
        await applied(plugin, declared(plugin))
        assert one.id not in await ids(bus)


async def test_an_observed_session_stays(bus: Bus, plugin: SessdeclPlugin) -> None:
    async with session(bus) as one:
        desired = declared(plugin, mode="observe-only")
        assert len(await differences(plugin, desired)) == 1
        await applied(plugin, desired)
        assert await ids(bus) == {one.id}
        assert len(await plugin.verify(desired)) == 1


async def test_a_session_that_should_be_is_reported_until_it_comes(
    bus: Bus, plugin: SessdeclPlugin
) -> None:
    desired = declared(plugin, state="present")
    (missing,) = await differences(plugin, desired)
    assert (missing.before, missing.after) == ({"present": False}, {"present": True})
    await applied(plugin, desired)
    async with Heard(plugin.watch(Desired())) as heard, session(bus):
        await heard.until("SessionNew")
        assert await differences(plugin, desired) == []


async def test_watching_hears_of_a_session_that_ends(bus: Bus, plugin: SessdeclPlugin) -> None:
    async with Heard(plugin.watch(Desired())) as heard:
        async with session(bus):
            pass
        await heard.until("SessionRemoved")


async def test_everything_is_every_session(bus: Bus, plugin: SessdeclPlugin) -> None:
    async with session(bus, kind="tty") as one, session(bus, session_class="greeter") as other:
        found = {key.name: value for key, value in (await plugin.query()).values.items()}
        again = (await plugin.query()).canonical()
        assert again == (await plugin.query()).canonical()
    managers = {name for name, row in found.items() if row["session_class"].startswith("manager")}
    assert found.keys() - managers == {one.id, other.id}
    assert found[one.id] == {
        "user": USER,
        "kind": "tty",
        "tty": one.tty,
        "seat": "",
        "service": "login",
        "remote": False,
        "session_class": "user",
        "state": "active",
    }
    assert found[other.id]["session_class"] == "greeter"


INSIDE = """
import asyncio, sys
from privacy_router.config.plugins.sessdecl import SessdeclConfig
from privacy_router.engine.errors import RefusedError
from privacy_router.host.dbus import Bus
from privacy_router.plugins.target import Machine
from privacy_router.plugins.sessdecl import SessdeclPlugin

async def main():
    plugin = SessdeclPlugin(Machine(Bus("unix:path=/run/dbus/system_bus_socket")))
    one = {"name": "one", "selector": {"user": "root"}, "state": "absent",
           "force": sys.argv[1] == "force"}
    desired = plugin.declare(SessdeclConfig.model_validate({"sessions": [one]}))
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    for step in (plugin.check(desired, changes), plugin.apply(desired, changes, print)):
        try:
            await step
        except RefusedError as error:
            print("refused", error.message)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def inside(bus: Bus, tmp_path: Path, how: str) -> AsyncIterator[Path]:
    """A session of root's in which the plugin is asked to end root's sessions; what it says."""
    script, said = tmp_path / "inside.py", tmp_path / "said"
    script.write_text(INSIDE)
    # One more process in between, as a shell is.
    command = f"{sys.executable} -u {script} {how} >{said} 2>&1; true"
    async with session(bus, user="root", command=command):
        yield said


async def test_its_own_session_is_not_ended(
    bus: Bus, plugin: SessdeclPlugin, tmp_path: Path
) -> None:
    async with inside(bus, tmp_path, "gently") as said:

        async def has_refused_twice() -> bool:
            return said.exists() and said.read_text().count("refused") == 2

        await until(has_refused_twice)
        assert "in which op-dbus itself runs" in said.read_text()
        assert len(await ids(bus)) == 1


async def test_its_own_session_is_ended_by_force(
    bus: Bus, plugin: SessdeclPlugin, tmp_path: Path
) -> None:
    async with inside(bus, tmp_path, "force") as said:

        async def is_gone() -> bool:
            return not await ids(bus)

        await until(is_gone)
        assert "refused" not in said.read_text()


async def test_there_is_no_going_back(bus: Bus, plugin: SessdeclPlugin) -> None:
    assert Capability.ROLLBACK not in plugin.capabilities
    assert not plugin.can_roll_back
    said: list[str] = []
    async with session(bus) as one:
        desired = declared(plugin)
        changes = await differences(plugin, desired)
        checkpoint = await plugin.checkpoint(changes)
        await plugin.apply(desired, changes, silent)
        await plugin.rollback(checkpoint, said.append)
        assert said == [f"one: session {one.id} {USER} login stays ended"]
        assert await ids(bus) == set()


async def test_without_a_login_manager_it_is_unavailable(plugin: SessdeclPlugin) -> None:
    assert await plugin.availability()
    units = ["systemd-logind.service", "dbus-org.freedesktop.login1.service"]
    await run("systemctl", "mask", "--runtime", "--now", *units)
    try:
        found = await plugin.availability()
        assert not found
        assert "systemd-logind" in found.remedy
    finally:
        await run("systemctl", "unmask", "--runtime", *units)
        await run("systemctl", "start", "systemd-logind")
