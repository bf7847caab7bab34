"""The plugin login1 on a real systemd-logind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.plugins.login1 import Login1Config
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, Resource, enforced
from privacy_router.errors import VerificationError
from privacy_router.plugins.login1 import Login1Plugin
from privacy_router.plugins.login1 import linger as lingering
from privacy_router.plugins.login1.drop_in import FILE
from privacy_router.plugins.login1.logind import MANAGER, reload
from privacy_router.plugins.target import Machine
from tests.machine.login_sessions import USER, Heard, end_all, have_user, run, session, tried, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from privacy_router.engine.model import Change
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

DROP_IN = Path(FILE)
LID = {"keys": {"handle_lid_switch": "ignore", "idle_action": "lock", "idle_action_s": 600}}
LOCK = {
    "name": "tunnel",
    "what": ["sleep", "shutdown"],
    "lock_mode": "delay",
    "why": "the tunnel is up",
}


@pytest.fixture
async def plugin(bus: Bus) -> AsyncIterator[Login1Plugin]:
    await have_user()
    one = Login1Plugin(Machine(bus))
    yield one
    nothing = one.declare(Login1Config())
    held = await one.query()
    ours = [key for key in held.values if key.kind == "inhibitor" and " " not in key.name]
    back = Desired({key: Resource(None) for key in ours})
    await one.apply(back, one.diff(back, held), silent)
    await lingering.set_linger(bus, USER, linger=False)
    DROP_IN.unlink(missing_ok=True)
    if DROP_IN.parent.is_dir():
        DROP_IN.parent.rmdir()
    await reload(bus)
    await end_all(bus)
    assert not nothing.resources


def silent(_: str) -> None:
    """Nobody looks on."""


def declared(plugin: Login1Plugin, section: dict[str, Any]) -> Desired:
    return plugin.declare(Login1Config.model_validate(section))


async def differences(plugin: Login1Plugin, desired: Desired) -> list[Change]:
    return plugin.diff(desired, await plugin.query(list(desired.resources)))


async def applied(plugin: Login1Plugin, desired: Desired) -> Any:
    """Apply as the engine does; the checkpoint."""
    changes = enforced(await differences(plugin, desired))
    await plugin.check(desired, changes)
    checkpoint = await plugin.checkpoint(changes)
    await plugin.apply(desired, changes, silent)
    assert enforced(await plugin.verify(desired)) == []
    assert enforced(await differences(plugin, desired)) == []
    return checkpoint


async def value(plugin: Login1Plugin, kind: str, name: str) -> Any:
    key = plugin.key(kind, name)
    return (await plugin.query([key])).values.get(key)


@asynccontextmanager
async def someone_elses_lock(bus: Bus) -> AsyncIterator[int]:
    """Held by that process."""
    holder = await asyncio.create_subprocess_exec(
        *("systemd-inhibit", "--what=sleep:idle", "--who=me", "--why=because", "sleep", "inf")
    )

    async def is_held() -> bool:
        return bool(await bus.get(MANAGER, "BlockInhibited"))

    try:
        await until(is_held)
        yield holder.pid
    finally:
        holder.kill()
        await holder.wait()


# --- looking -------------------------------------------------------------------------------------


async def test_it_shows_sessions_seats_users_locks_and_settings(
    bus: Bus, plugin: Login1Plugin
) -> None:
    async with someone_elses_lock(bus) as pid, session(bus, kind="tty") as one:
        found = {(k.kind, k.name): v for k, v in (await plugin.query()).values.items()}
        again = await plugin.query()
        assert again.canonical() == (await plugin.query()).canonical()
    shown = found["session", one.id]
    assert (shown["user"], shown["type"], shown["tty"]) == (USER, "tty", one.tty)
    assert (shown["session_class"], shown["remote"]) == ("user", False)
    assert found["seat", "seat0"] == {"active_session": "", "sessions": []}
    theirs = found["user", USER]["sessions"]
    # from systemd 256 on, the user's service manager has one of its own
    assert [s for s in theirs if found["session", s]["session_class"] == "user"] == [one.id]
    assert found["setting", "HandleLidSwitch"] == "suspend"
    assert found["setting", "IdleActionSec"] == 1800
    assert found["setting", "StopIdleSessionSec"] == "infinity"
    assert found["inhibitor", f"me (pid {pid})"] == {
        "what": ["idle", "sleep"],
        "who": "me",
        "why": "because",
        "mode": "block",
        "uid": 0,
        "pid": pid,
    }


async def test_all_that_can_be_declared_is_complete_when_it_is_asked_for(
    plugin: Login1Plugin,
) -> None:
    desired = declared(plugin, LID | {"users": [{"name": USER, "linger": True}]})
    observed = await plugin.query(list(desired.resources))
    assert observed.values.keys() == desired.resources.keys()


# --- settings ------------------------------------------------------------------------------------


async def test_settings_come_into_force_and_go_back_byte_for_byte(plugin: Login1Plugin) -> None:
    before = await plugin.query()
    assert not DROP_IN.parent.exists()
    checkpoint = await applied(plugin, declared(plugin, LID))
    assert await value(plugin, "setting", "IdleActionSec") == 600
    assert DROP_IN.read_text().splitlines()[1:] == [
        "[Login]",
        "HandleLidSwitch=ignore",
        "IdleAction=lock",
        "IdleActionSec=600s",
    ]
    assert (DROP_IN.stat().st_mode & 0o7777, DROP_IN.parent.stat().st_mode & 0o7777) == (
        0o644,
        0o755,
    )
    await plugin.rollback(checkpoint, silent)
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()
    assert not DROP_IN.parent.exists()


@pytest.mark.parametrize(
    "section",
    [
        {"handle_lid_switch_external_power": "lock", "handle_lid_switch_docked": "suspend"},
        {"handle_power_key": "ignore", "handle_power_key_long_press": "poweroff"},
        {"handle_reboot_key": "ignore", "handle_reboot_key_long_press": "ignore"},
        {"handle_suspend_key": "lock", "handle_suspend_key_long_press": "hybrid-sleep"},
        {"handle_hibernate_key": "halt", "handle_hibernate_key_long_press": "kexec"},
        {"kill_user_processes": True, "remove_ipc": False},
        {"user_stop_delay_s": "infinity", "stop_idle_session_s": 3600},
        {"inhibit_delay_max_s": 30, "holdoff_timeout_s": 0, "user_stop_delay_s": 1},
    ],
)
async def test_every_setting_is_taken(plugin: Login1Plugin, section: dict[str, Any]) -> None:
    before = await plugin.query()
    checkpoint = await applied(plugin, declared(plugin, {"keys": section}))
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()


async def test_a_reload_is_over_when_it_returns(bus: Bus, plugin: Login1Plugin) -> None:
    for action in ["lock", "ignore", "reboot"] * 20:
        desired = declared(plugin, {"keys": {"handle_power_key": action}})
        await plugin.apply(desired, await differences(plugin, desired), silent)
        assert await bus.get(MANAGER, "HandlePowerKey") == action


async def test_a_reload_keeps_sessions_and_locks(bus: Bus, plugin: Login1Plugin) -> None:
    await applied(plugin, declared(plugin, {"inhibitors": [LOCK]}))
    async with session(bus) as one:
        await applied(plugin, declared(plugin, LID | {"inhibitors": [LOCK]}))
        assert await value(plugin, "session", one.id)
        assert await value(plugin, "inhibitor", "tunnel")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o4755])
async def test_somebody_elses_file_comes_back(plugin: Login1Plugin, mode: int) -> None:
    content = b"# mine \xff\n[Login]\nHandleLidSwitch=lock\n"
    DROP_IN.parent.mkdir()
    DROP_IN.write_bytes(content)
    DROP_IN.chmod(mode)
    await reload(plugin._bus)
    before = await plugin.query()
    checkpoint = await applied(plugin, declared(plugin, LID))
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()
    assert DROP_IN.read_bytes() == content
    assert DROP_IN.stat().st_mode & 0o7777 == mode


async def test_a_link_comes_back(plugin: Login1Plugin) -> None:
    DROP_IN.parent.mkdir()
    DROP_IN.symlink_to("/dev/null")
    before = await plugin.query()
    checkpoint = await applied(plugin, declared(plugin, LID))
    assert not DROP_IN.is_symlink()
    await plugin.rollback(checkpoint, silent)
    assert str(DROP_IN.readlink()) == "/dev/null"
    assert (await plugin.query()).canonical() == before.canonical()


async def test_a_run_that_was_cut_short_is_undone_by_another_process(plugin: Login1Plugin) -> None:
    before = await plugin.query()
    desired = declared(plugin, LID | {"inhibitors": [LOCK]})
    changes = await differences(plugin, desired)
    checkpoint = await plugin.checkpoint(changes)
    await asyncio.to_thread(plugin._drop_in.write, desired.payload)  # and killed before reloading
    await Login1Plugin(plugin._machine).rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()
    assert not DROP_IN.parent.exists()


async def test_a_setting_that_is_given_back_leaves_the_file(plugin: Login1Plugin) -> None:
    await applied(plugin, declared(plugin, LID))
    rest = declared(plugin, {"keys": {"handle_lid_switch": "ignore"}})
    back = {plugin.key("setting", "IdleAction"): Resource("ignore")}
    back |= {plugin.key("setting", "IdleActionSec"): Resource(1800)}
    await applied(plugin, Desired({**rest.resources, **back}, rest.payload))
    assert DROP_IN.read_text().splitlines()[1:] == ["[Login]", "HandleLidSwitch=ignore"]
    back[plugin.key("setting", "HandleLidSwitch")] = Resource("suspend")
    await applied(plugin, Desired(back, plugin.declare(None).payload))
    assert not DROP_IN.exists()


async def test_a_setting_that_was_otherwise_before_us_is_given_back_so(
    plugin: Login1Plugin,
) -> None:
    back = Desired({plugin.key("setting", "IdleAction"): Resource("lock")}, {})
    await applied(plugin, back)
    assert await value(plugin, "setting", "IdleAction") == "lock"


async def test_observed_settings_are_only_reported(plugin: Login1Plugin) -> None:
    before = await plugin.query()
    observed = {"value": "ignore", "mode": "observe-only"}
    section = {"keys": {"handle_lid_switch": observed, "idle_action": "lock"}}
    desired = declared(plugin, section)
    assert len(await differences(plugin, desired)) == 2
    checkpoint = await applied(plugin, desired)
    assert await value(plugin, "setting", "HandleLidSwitch") == "suspend"
    assert [change.key.name for change in await plugin.verify(desired)] == ["HandleLidSwitch"]
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()


@pytest.mark.parametrize("directory", ["/etc", "/run", "/usr/lib"])
async def test_a_file_that_wins_over_ours_is_refused(plugin: Login1Plugin, directory: str) -> None:
    other = Path(directory) / "systemd/logind.conf.d/99-other.conf"
    other.parent.mkdir(exist_ok=True)
    other.write_text("[Login]\nIdleAction=reboot\n")
    try:
        desired = declared(plugin, LID)
        with pytest.raises(RefusedError, match=str(other)) as caught:
            await plugin.check(desired, await differences(plugin, desired))
        assert "IdleAction" in caught.value.remedy
        assert not DROP_IN.exists()
    finally:
        other.unlink()
        other.parent.rmdir()


async def test_what_the_login_manager_does_not_take_is_an_error(plugin: Login1Plugin) -> None:
    before = await plugin.query()
    desired = Desired({plugin.key("setting", "IdleAction"): Resource("dance")})
    changes = await differences(plugin, desired)
    checkpoint = await plugin.checkpoint(changes)
    with pytest.raises(VerificationError, match="does not take it"):
        await plugin.apply(desired, changes, silent)
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()


async def test_a_setting_of_another_version_is_refused(plugin: Login1Plugin) -> None:
    desired = Desired({plugin.key("setting", "SecureAttentionKey"): Resource("ignore")}, {})
    with pytest.raises(RefusedError, match="has no SecureAttentionKey"):
        await plugin.check(desired, await differences(plugin, desired))


# --- locks ---------------------------------------------------------------------------------------


async def test_a_lock_is_held_changed_and_released(bus: Bus, plugin: Login1Plugin) -> None:
    before = await plugin.query()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    first = await applied(plugin, declared(plugin, {"inhibitors": [LOCK]}))
    listed = (await bus.call(MANAGER, "ListInhibitors"))[0]
    assert [(who, why, mode, pid) for _, who, why, mode, _, pid in listed] == [
        ("op-dbus tunnel", "the tunnel is up", "delay", os.getpid())
    ]
    assert await bus.get(MANAGER, "DelayInhibited") == "shutdown:sleep"
    second = await applied(
        plugin, declared(plugin, {"inhibitors": [LOCK | {"lock_mode": "block"}]})
    )
    assert (await bus.get(MANAGER, "DelayInhibited"), await bus.get(MANAGER, "BlockInhibited")) == (
        "",
        "shutdown:sleep",
    )
    await plugin.rollback(second, silent)
    assert await bus.get(MANAGER, "DelayInhibited") == "shutdown:sleep"
    await plugin.rollback(first, silent)
    assert (await plugin.query()).canonical() == before.canonical()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


async def test_a_lock_outlives_the_plugins_object_and_a_restart_of_the_login_manager(
    bus: Bus, plugin: Login1Plugin
) -> None:
    desired = declared(plugin, {"inhibitors": [LOCK]})
    await applied(plugin, desired)
    other = Login1Plugin(plugin._machine)
    assert await differences(other, desired) == []
    await run("systemctl", "restart", "systemd-logind")
    assert await differences(other, desired) == []
    back = Desired({key: Resource(None) for key in desired.resources})
    await applied(other, back)
    assert (await bus.call(MANAGER, "ListInhibitors"))[0] == []


HOLDER = """
import asyncio
from privacy_router.config.plugins.login1 import Login1Config
from privacy_router.host.dbus import Bus
from privacy_router.plugins.login1 import Login1Plugin
from privacy_router.plugins.target import Machine

async def main():
    plugin = Login1Plugin(Machine(Bus("unix:path=/run/dbus/system_bus_socket")))
    lock = {"name": "tunnel", "what": ["sleep", "shutdown"], "lock_mode": "delay",
            "why": "the tunnel is up"}
    desired = plugin.declare(Login1Config.model_validate({"inhibitors": [lock]}))
    observed = await plugin.query(list(desired.resources))
    await plugin.apply(desired, plugin.diff(desired, observed), print)
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_lock_ends_with_the_process_and_is_taken_again(
    bus: Bus, plugin: Login1Plugin
) -> None:
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, stdout=-1)
    assert holder.stdout is not None
    assert b"held\n" in [await holder.stdout.readline() for _ in range(2)]
    desired = declared(plugin, {"inhibitors": [LOCK]})
    assert len(await differences(plugin, desired)) == 1  # another process's does not count
    async with Heard(plugin.watch(Desired())) as heard:
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        await heard.until("DelayInhibited")

    async def is_free() -> bool:
        return not await bus.get(MANAGER, "DelayInhibited")

    await until(is_free)
    await applied(plugin, desired)
    assert await bus.get(MANAGER, "DelayInhibited") == "shutdown:sleep"


async def test_a_delay_holds_a_suspend_up(bus: Bus, plugin: Login1Plugin) -> None:
    await applied(plugin, declared(plugin, {"inhibitors": [LOCK | {"lock_mode": "block"}]}))
    blocked = await tried("systemctl", "suspend", "--check-inhibitors=yes")
    assert blocked.returncode != 0
    assert "the tunnel is up" in blocked.stderr


# --- users ---------------------------------------------------------------------------------------


async def test_a_user_lingers_and_no_longer(bus: Bus, plugin: Login1Plugin) -> None:
    before = await plugin.query()
    desired = declared(plugin, {"users": [{"name": USER, "linger": True}]})
    checkpoint = await applied(plugin, desired)
    assert (await plugin.query()).values[plugin.key("user", USER)]["state"] in {
        "lingering",
        "opening",
    }
    await plugin.rollback(checkpoint, silent)
    assert (await plugin.query()).canonical() == before.canonical()


async def test_an_observed_user_is_only_reported(plugin: Login1Plugin) -> None:
    user = {"name": USER, "linger": True, "mode": "observe-only"}
    desired = declared(plugin, {"users": [user]})
    await applied(plugin, desired)
    assert len(await differences(plugin, desired)) == 1
    assert await value(plugin, "linger", USER) is False


async def test_an_unknown_user_is_refused(plugin: Login1Plugin) -> None:
    desired = declared(plugin, {"users": [{"name": "nobody-at-all", "linger": True}]})
    with pytest.raises(RefusedError, match="no user nobody-at-all") as caught:
        await plugin.check(desired, await differences(plugin, desired))
    assert "useradd" in caught.value.remedy


# --- watching ------------------------------------------------------------------------------------


async def test_watching_hears_of_what_others_do(bus: Bus, plugin: Login1Plugin) -> None:
    async with Heard(plugin.watch(Desired())) as heard:
        async with session(bus):
            await heard.until("SessionNew")
        await heard.until("SessionRemoved")
        await run("loginctl", "enable-linger", USER)
        await heard.until(f"linger/{USER} changed")
        await run("systemctl", "restart", "systemd-logind")
        await heard.until("the login manager started")
        Path("/etc/systemd/logind.conf").touch()
        await heard.until("logind.conf changed")


async def test_watching_ends_when_there_is_another_directory_to_watch(
    plugin: Login1Plugin,
) -> None:
    async with Heard(plugin.watch(Desired())) as heard:
        DROP_IN.parent.mkdir()
        await heard.until("logind.conf.d changed")
        await heard.until(None)
    async with Heard(plugin.watch(Desired())) as heard:
        DROP_IN.write_text("[Login]\n")
        await heard.until("50-privacy-router.conf changed")
        DROP_IN.unlink()
        DROP_IN.parent.rmdir()
        await heard.until(None)


# --- without a login manager ---------------------------------------------------------------------


async def test_without_a_login_manager_it_is_unavailable(plugin: Login1Plugin) -> None:
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
    assert await plugin.availability()
