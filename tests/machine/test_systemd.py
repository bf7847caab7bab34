"""The plugin systemd on a real service manager: units with their files, there and back."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.errors import PluginFailedError
from privacy_router.engine.journal import Journal
from privacy_router.plugins.systemd import SystemdPlugin
from privacy_router.plugins.systemd.rollback import Rollback
from privacy_router.plugins.target import Machine
from tests.machine.systemd_units import (
    DEMO,
    ETC,
    SLEEPER,
    Run,
    existing,
    nice_of,
    no_demo_units,
    service,
    shown,
    silent,
    stop_after,
    systemctl,
    tree,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine


@pytest.fixture
def plugin(bus: Bus) -> SystemdPlugin:
    return SystemdPlugin(Machine(bus))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield from no_demo_units()


# --- a unit of our own ----------------------------------------------------------------------------


async def test_a_new_service_with_its_file_comes_and_goes(plugin: SystemdPlugin) -> None:
    section = service(active=True, enabled=True, properties={"MemoryMax": "512M"}) | {
        "drop_ins": {f"{DEMO}/10-more.conf": {"content": "[Service]\nNice=5\n"}}
    }
    run = Run(plugin, section)
    await run.apply()
    assert shown(DEMO, "ActiveState") == "active"
    assert shown(DEMO, "Nice") == "5"
    assert systemctl("is-enabled", DEMO) == "enabled"
    assert shown(DEMO, "MemoryMax") == str(512 * 1024**2)
    assert (ETC / DEMO).stat().st_mode & 0o7777 == 0o644
    await run.undo()
    assert shown(DEMO, "LoadState") == "not-found"
    await run.undo()  # again is no harm


async def test_what_is_declared_no_longer_is_given_back(plugin: SystemdPlugin) -> None:
    first = Run(plugin, service(active=True, enabled=True, properties={"TasksMax": 50}))
    await first.apply()
    second = Run(plugin, {}, first.taken())
    await second.apply()
    assert tree() == first.tree
    assert shown(DEMO, "LoadState") == "not-found"
    await second.undo()
    assert (shown(DEMO, "ActiveState"), shown(DEMO, "TasksMax")) == ("active", "50")


async def test_a_unit_that_was_purged_is_given_up(plugin: SystemdPlugin, tmp_path: Path) -> None:
    existing()
    systemctl("enable", "--now", DEMO)
    engine = Engine([plugin], Journal(tmp_path / "journal"))
    units = {DEMO: {"active": False, "enabled": False, "properties": {"TasksMax": 9}}}
    document = {"version": 1, "plugins": {"systemd": {"units": units}}}
    await engine.apply(Source(json.dumps(document)))
    (ETC / DEMO).unlink()
    systemctl("daemon-reload")
    await engine.apply(Source())
    assert engine.journal.managed() == {}
    await engine.close()


async def test_a_run_that_is_killed_anywhere_is_undone(plugin: SystemdPlugin, bus: Bus) -> None:
    existing(SLEEPER.replace("sleeps", "slept before"))
    systemctl("start", DEMO)
    section = service(active=True, enabled=True, properties={"MemoryMax": "1G"}) | {
        "drop_ins": {f"{DEMO}/10-more.conf": {"content": "[Service]\nNice=5\n"}}
    }
    count, killed = 0, True
    while killed:
        run = Run(plugin, section)
        await run.prepare()
        killed = await stop_after(run, count)
        run.plugin = SystemdPlugin(Machine(bus))
        await run.undo()
        assert shown(DEMO, "ActiveState") == "active"
        assert shown(DEMO, "Description") == "slept before"
        assert shown(DEMO, "Nice") == "0"
        assert nice_of(DEMO) == "0"
        count += 1
    assert count > 4


async def test_going_back_is_finished_by_the_next_one(plugin: SystemdPlugin) -> None:
    existing(SLEEPER.replace("[Install]", "Nice=3\n[Install]"))
    systemctl("start", DEMO)
    run = Run(plugin, service(active=True, properties={"TasksMax": 5}))
    await run.apply()
    back = Rollback(plugin._systemd, plugin._paths, run.checkpoint, silent)
    await asyncio.to_thread(back._put_entries)  # and killed then
    await run.undo()
    assert (shown(DEMO, "Nice"), shown(DEMO, "TasksMax") == "5") == ("3", False)
    assert nice_of(DEMO) == "3"


async def test_a_run_that_is_given_up_while_a_unit_starts_is_undone(plugin: SystemdPlugin) -> None:
    slow = SLEEPER.replace("ExecStart=", "ExecStartPre=/bin/sleep infinity\nExecStart=")
    run = Run(plugin, {"files": {DEMO: {"content": slow}}, "units": {DEMO: {"active": True}}})
    await run.prepare()
    starts = asyncio.Event()

    def tell(words: str) -> None:
        if words == f"start {DEMO}":
            starts.set()

    making = asyncio.create_task(run.make(tell))
    async with asyncio.timeout(20):
        await starts.wait()
        while shown(DEMO, "SubState") != "start-pre":
            await asyncio.sleep(0.05)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    await run.undo()
    assert shown(DEMO, "LoadState") == "not-found"


async def test_a_service_that_does_not_start_says_why_and_leaves_nothing(
    plugin: SystemdPlugin,
) -> None:
    failing = SLEEPER.replace("/bin/sleep infinity", "/bin/nothing")
    section = {"files": {DEMO: {"content": failing}}, "units": {DEMO: {"active": True}}}
    run = Run(plugin, section)
    await run.prepare()
    with pytest.raises(PluginFailedError, match=r"demo\.service does not start: exit-code") as got:
        await run.make()
    assert f"journalctl -u {DEMO}" in got.value.remedy
    await run.undo()
    assert shown(DEMO, "ActiveState") == "inactive"
    assert systemctl("--failed", "--plain", "--no-legend") == ""


async def test_a_condition_that_does_not_hold_is_told(plugin: SystemdPlugin) -> None:
    text = SLEEPER.replace("Description=sleeps", "ConditionPathExists=/nowhere")
    run = Run(plugin, {"files": {DEMO: {"content": text}}, "units": {DEMO: {"active": True}}})
    await run.prepare()
    with pytest.raises(PluginFailedError, match="a condition in its file does not hold"):
        await run.make()
    await run.undo()


async def test_a_file_that_systemd_cannot_use_is_an_error(plugin: SystemdPlugin) -> None:
    run = Run(plugin, {"files": {DEMO: {"content": "[Service]\nType=simple\n"}}})
    await run.prepare()
    with pytest.raises(PluginFailedError, match=r"cannot use the file of demo\.service"):
        await run.make()
    await run.undo()


async def test_a_unit_that_is_nowhere_is_an_error(plugin: SystemdPlugin) -> None:
    run = Run(plugin, {"units": {DEMO: {"active": True}}})
    await run.prepare()
    with pytest.raises(PluginFailedError, match="does not start") as got:
        await run.make()
    assert "install the package" in got.value.remedy
    await run.undo()


async def test_a_unit_that_is_nowhere_is_neither_active_nor_enabled(plugin: SystemdPlugin) -> None:
    run = Run(plugin, {"units": {DEMO: {"active": False, "enabled": False, "masked": False}}})
    assert await run.plan() == []


# --- files ----------------------------------------------------------------------------------------


async def test_a_changed_file_restarts_and_going_back_restarts_again(
    plugin: SystemdPlugin,
) -> None:
    existing(SLEEPER + "# as it was\n", mode=0o600)
    systemctl("start", DEMO)
    first = shown(DEMO, "InvocationID")
    run = Run(plugin, service(active=True))
    await run.apply()
    second = shown(DEMO, "InvocationID")
    await run.undo()
    third = shown(DEMO, "InvocationID")
    assert len({first, second, third}) == 3
    await run.undo()  # another plugin did not go back, so all of it is tried again
    assert shown(DEMO, "InvocationID") == third


async def test_a_service_may_be_left_running_with_its_old_file(plugin: SystemdPlugin) -> None:
    existing(SLEEPER + "# as it was\n")
    systemctl("start", DEMO)
    first = shown(DEMO, "InvocationID")
    run = Run(plugin, service(active=True, restart_on_change=False))
    await run.apply()
    assert shown(DEMO, "NeedDaemonReload") == "no"
    await run.undo()
    assert shown(DEMO, "InvocationID") == first


async def test_drop_ins_that_come_and_go_restart_once(plugin: SystemdPlugin) -> None:
    units = {"units": {DEMO: {"active": True}}}
    existing()
    old = {"drop_ins": {f"{DEMO}/20-a.conf": {"content": "[Service]\nNice=1\n"}}}
    first = Run(plugin, units | old)
    await first.apply()
    new = {"drop_ins": {f"{DEMO}/10-b.conf": {"content": "[Service]\nNice=2\n"}}}
    gone = {key: value for key, value in first.taken().items() if key.kind == "drop-in"}
    second = Run(plugin, units | new, gone)
    await second.prepare()
    told: list[str] = []
    await second.make(told.append)
    await second.verify()
    assert told.count(f"restart {DEMO}") == 1
    assert shown(DEMO, "Nice") == "2"
    await second.undo()
    assert shown(DEMO, "Nice") == "1"


async def test_files_that_are_not_to_be_there_and_links_come_back_as_they_were(
    plugin: SystemdPlugin,
) -> None:
    write(Path("/root/demo-elsewhere.service"), SLEEPER)
    (ETC / "demo-linked.service").symlink_to("/root/demo-elsewhere.service")
    (ETC / "demo-bytes.service").write_bytes(b"[Unit]\n# \xff\xfe\n")
    (ETC / "demo-bytes.service").chmod(0o640)
    shutil.chown(ETC / "demo-bytes.service", "daemon", "daemon")
    (ETC / "demo-bytes.service.d").mkdir()
    names = ["demo-linked.service", "demo-bytes.service"]
    run = Run(
        plugin,
        {
            "files": {name: {"content": None} for name in names},
            "drop_ins": {"demo-bytes.service/a.conf": {"content": "[Unit]\nDescription=x\n"}},
        },
    )
    await run.apply()
    assert not any((ETC / name).is_symlink() or (ETC / name).exists() for name in names)
    await run.undo()


async def test_a_unit_is_stopped_and_disabled_before_its_file_goes(
    plugin: SystemdPlugin,
) -> None:
    existing(mode=0o640)
    systemctl("enable", "--now", DEMO)
    run = Run(
        plugin,
        {
            "files": {DEMO: {"content": None}},
            "units": {DEMO: {"active": False, "enabled": False}},
        },
    )
    await run.apply()
    assert shown(DEMO, "LoadState") == "not-found"
    assert not (ETC / "multi-user.target.wants" / DEMO).is_symlink()
    await run.undo()
    assert (shown(DEMO, "ActiveState"), systemctl("is-enabled", DEMO)) == ("active", "enabled")


async def test_drop_ins_of_a_template_and_of_a_prefix_restart_an_instance(
    plugin: SystemdPlugin,
) -> None:
    existing(name="demo-x@.service")
    systemctl("start", "demo-x@1.service")
    for drop_in in ("demo-x@.service/a.conf", "demo-.service/b.conf"):
        first = shown("demo-x@1.service", "InvocationID")
        run = Run(
            plugin,
            {
                "drop_ins": {drop_in: {"content": "[Service]\nNice=3\n"}},
                "units": {"demo-x@1.service": {"active": True}},
            },
        )
        await run.apply()
        assert shown("demo-x@1.service", "InvocationID") != first
        assert shown("demo-x@1.service", "Nice") == "3"
        await run.undo()
