"""The plugin systemd on a real service manager: refusing, observing, watching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode, enforced
from privacy_router.host.dbus import Bus
from privacy_router.plugins.systemd import SystemdPlugin
from privacy_router.plugins.target import Machine
from tests.machine.systemd_units import (
    CONTROL,
    DEMO,
    ETC,
    SLEEPER,
    Run,
    existing,
    heard,
    no_demo_units,
    service,
    shown,
    systemctl,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.machine


@pytest.fixture
def plugin(bus: Bus) -> SystemdPlugin:
    return SystemdPlugin(Machine(bus))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield from no_demo_units()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "wanted", "words"),
    [
        ("systemd-journald.service", {"enabled": True}, "has no \\[Install\\] section"),
        ("dbus-org.freedesktop.resolve1.service", {"active": False}, "systemd-resolved.service"),
        ("apt-daily.timer", {"active": True}, 'declare "masked": false as well'),
        ("apt-daily.timer", {"enabled": True}, 'declare "masked": false as well'),
        ("-.mount", {"active": False}, "stopped by hand"),
        ("systemd-tmpfiles-clean.service", {"active": True}, "it is over once it has run"),
        ("shutdown.target", {"active": True}, "started by hand"),
        ("uplink.service", {"masked": True}, "cannot be masked"),
        ("tests.service", {"active": False}, "could not be brought back"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_touched(
    plugin: SystemdPlugin, unit: str, wanted: dict[str, Any], words: str
) -> None:
    run = Run(plugin, {"units": {unit: wanted}})
    changes = enforced(await run.plan())
    with pytest.raises(RefusedError, match=words) as got:
        await plugin.check(run.desired, changes)
    assert got.value.remedy
    await run.require_as_before()


# --- looking --------------------------------------------------------------------------------------


async def test_observe_only_is_told_and_never_made(plugin: SystemdPlugin) -> None:
    existing()
    run = Run(
        plugin,
        {
            "files": {DEMO: {"content": None, "mode": "observe-only"}},
            "units": {DEMO: {"active": True, "mode": "observe-only"}},
        },
    )
    assert {change.mode for change in await run.plan()} == {Mode.OBSERVE_ONLY}
    assert len(run.changes) == 2
    await run.apply()
    assert shown(DEMO, "ActiveState") == "inactive"
    await run.require_as_before()


async def test_without_keys_it_shows_what_was_decided(plugin: SystemdPlugin) -> None:
    existing()
    systemctl("enable", DEMO)
    systemctl("set-property", DEMO, "TasksMax=9")
    write(ETC / f"{DEMO}.d/1.conf", "[Unit]\nDescription=x\n")
    found = (await plugin.query()).values
    kinds = {
        "unit": DEMO,
        "file": DEMO,
        "drop-in": f"{DEMO}/1.conf",
        "property": f"{DEMO}/TasksMax",
    }
    assert all(plugin.key(kind, name) in found for kind, name in kinds.items())
    keys = [key for key in found if "demo" in key.name]
    assert (await plugin.query(keys)).values == {key: found[key] for key in keys}
    assert (await plugin.query()).canonical() == (await plugin.query()).canonical()
    assert not any(key.name == "packagekit.service" for key in found)


async def test_it_is_unavailable_where_systemd_is_not_on_the_bus() -> None:
    daemon = await asyncio.create_subprocess_exec(
        *("dbus-daemon", "--session", "--nofork", "--print-address"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert daemon.stdout is not None
    bus = Bus((await daemon.stdout.readline()).decode().strip())
    found = await SystemdPlugin(Machine(bus)).availability()
    assert not found
    assert "org.freedesktop.systemd1 is not on the bus" in found.reason
    assert found.remedy
    await bus.close()
    daemon.terminate()
    await daemon.wait()
    assert not await SystemdPlugin(Machine(Bus(None))).availability()


# --- watching -------------------------------------------------------------------------------------


async def test_outside_changes_are_heard(plugin: SystemdPlugin) -> None:
    run = Run(
        plugin,
        service(active=True, properties={"TasksMax": 5})
        | {"drop_ins": {f"{DEMO}/1.conf": {"content": "[Unit]\nDescription=x\n"}}},
    )
    await run.apply()
    drop_in, control = ETC / f"{DEMO}.d/1.conf", CONTROL / f"{DEMO}.d"

    async def hears(act: Any, words: str) -> None:
        await heard(plugin, run.desired, act, words)

    await hears(lambda: systemctl("stop", DEMO), f"{DEMO} is inactive")
    await hears(lambda: systemctl("mask", "demo-other.service"), "enabled, disabled or masked")
    await hears(lambda: systemctl("daemon-reload"), "has read its unit files")
    await hears(lambda: (ETC / DEMO).write_text(SLEEPER), str(ETC / DEMO))
    await hears(drop_in.unlink, str(drop_in))
    await hears(lambda: write(drop_in, "[Unit]\n"), str(drop_in))
    await hears(lambda: systemctl("set-property", DEMO, "TasksMax=6"), str(control))
    (ETC / "demo-other.service").unlink()
    await run.undo()


async def test_a_directory_that_is_made_anew_is_watched(plugin: SystemdPlugin) -> None:
    existing()
    drop_in = ETC / f"{DEMO}.d/1.conf"
    kept = Run(plugin, {"drop_ins": {f"{DEMO}/1.conf": {"content": None}}}).desired
    await heard(plugin, kept, drop_in.parent.mkdir, str(drop_in.parent))

    def both() -> None:
        drop_in.parent.rmdir()
        drop_in.parent.mkdir()
        write(drop_in, "[Unit]\n")

    await heard(plugin, kept, both, f"{DEMO}.d")


async def test_other_units_are_not_heard(plugin: SystemdPlugin) -> None:
    existing()
    existing(name="demo-other.service")
    kept = Run(plugin, {"units": {DEMO: {"active": True}}}).desired

    def act() -> None:
        systemctl("start", "demo-other.service")
        systemctl("start", DEMO)

    assert await heard(plugin, kept, act, "is active") == f"{DEMO} is active"
