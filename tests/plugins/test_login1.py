"""The plugin login1 without a login manager: its section, its words, its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from privacy_router.config.plugins.login1 import KeysConfig, Login1Config
from privacy_router.config.validation import validate
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Change, Desired, Mode, Observed, Resource
from privacy_router.errors import StorageError
from privacy_router.host.dbus import Bus, Signal
from privacy_router.plugins.login1 import Login1Plugin
from privacy_router.plugins.login1.drop_in import FILE, DropIn, overriding
from privacy_router.plugins.login1.linger import existing
from privacy_router.plugins.login1.settings import SETTINGS, in_force, text
from privacy_router.plugins.login1.watch import describe
from privacy_router.plugins.target import Machine

MANAGER_PATH = "/org/freedesktop/login1"
MANAGER = "org.freedesktop.login1.Manager"


@pytest.fixture
def place(tmp_path: Path) -> Machine:
    return Machine(Bus(None), tmp_path)


@pytest.fixture
def plugin(place: Machine) -> Login1Plugin:
    return Login1Plugin(place)


@pytest.fixture
def drop_in(place: Machine) -> DropIn:
    return DropIn(place.path(FILE))


def declared(plugin: Login1Plugin, section: dict[str, Any]) -> Desired:
    return plugin.declare(Login1Config.model_validate(section))


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path", "expected"),
    [
        ({"keys": {"handle_lid_switch": "ignroe"}}, "keys.handle_lid_switch", "ignore, poweroff"),
        ({"keys": {"idle_action": {"value": "x"}}}, "keys.idle_action", "an action"),
        ({"keys": {"idle_action_s": -1}}, "keys.idle_action_s", "0 to 1000000000"),
        ({"keys": {"stop_idle_session_s": 0}}, "keys.stop_idle_session_s", "or infinity"),
        ({"keys": {"kill_user_processes": 1}}, "keys.kill_user_processes", "true or false"),
        ({"users": [{"name": "1000", "linger": True}]}, "users[0].name", "not a number"),
        (
            {"users": [{"name": "a", "linger": True}, {"name": "a", "linger": False}]},
            "users",
            "names that differ",
        ),
        (
            {"inhibitors": [{"name": "a", "what": [], "why": "x"}]},
            "inhibitors[0].what",
            "a list of at least 1",
        ),
        (
            {"inhibitors": [{"name": "a", "what": ["sleep"], "why": ""}]},
            "inhibitors[0].why",
            "one line of 1 to 200",
        ),
        (
            {"inhibitors": [{"name": "a", "what": ["idle"], "why": "x", "lock_mode": "delay"}]},
            "inhibitors[0]",
            "nothing but shutdown and sleep can be delayed",
        ),
    ],
)
def test_one_good_sentence_for_each_mistake(
    section: dict[str, Any], path: str, expected: str
) -> None:
    _, problems, _ = validate({"version": 1, "plugins": {"login1": section}})
    assert [problem.path for problem in problems] == [f"plugins.login1.{path}"]
    assert expected in problems[0].expected


def test_every_key_of_the_section_is_a_setting() -> None:
    assert {setting.key for setting in SETTINGS} == set(KeysConfig.model_fields)
    for setting in SETTINGS:
        assert setting.name in (KeysConfig.model_fields[setting.key].description or "")


# --- declaring -----------------------------------------------------------------------------------


def test_no_section_declares_nothing(plugin: Login1Plugin) -> None:
    assert plugin.declare(None) == Desired({}, {}) == plugin.declare(Login1Config())


def test_a_section_declares_settings_locks_and_users(plugin: Login1Plugin) -> None:
    desired = declared(
        plugin,
        {
            "keys": {
                "handle_power_key": "ignore",
                "idle_action_s": 60,
                "remove_ipc": {"value": False, "mode": "observe-only"},
            },
            "inhibitors": [{"name": "a", "what": ["sleep", "idle", "sleep"], "why": "x"}],
            "users": [{"name": "relay", "linger": False}],
        },
    )
    assert dict(desired.resources) == {
        plugin.key("setting", "HandlePowerKey"): Resource("ignore"),
        plugin.key("setting", "IdleActionSec"): Resource(60),
        plugin.key("setting", "RemoveIPC"): Resource(False, Mode.OBSERVE_ONLY),
        plugin.key("inhibitor", "a"): Resource(
            {"what": ["idle", "sleep"], "mode": "block", "why": "x"}
        ),
        plugin.key("linger", "relay"): Resource(False),
    }
    assert desired.payload == {"HandlePowerKey": "ignore", "IdleActionSec": "60s"}


# --- settings ------------------------------------------------------------------------------------


def test_times_are_in_seconds() -> None:
    found = in_force(
        {
            "IdleActionUSec": 1_800_000_000,
            "InhibitDelayMaxUSec": 500_000,
            "StopIdleSessionUSec": 2**64 - 1,
            "HandleLidSwitch": "suspend",
            "RemoveIPC": True,
            "NAutoVTs": 6,
        }
    )
    assert found == {
        "IdleActionSec": 1800,
        "InhibitDelayMaxSec": 0.5,
        "StopIdleSessionSec": "infinity",
        "HandleLidSwitch": "suspend",
        "RemoveIPC": True,
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "yes"), (False, "no"), (0, "0s"), (90, "90s"), (0.5, "500000us"), ("lock", "lock")],
)
def test_values_are_written_as_logind_conf_has_them(value: Any, words: str) -> None:
    assert text(value) == words


# --- the file ------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(drop_in: DropIn) -> None:
    assert drop_in.read() == {}
    lines = {"IdleAction": "lock", "HandleLidSwitch": "ignore"}
    drop_in.write(lines)
    assert drop_in.read() == lines
    first = drop_in.path.read_bytes()
    drop_in.write(dict(reversed(lines.items())))
    assert drop_in.path.read_bytes() == first
    drop_in.write({})
    assert not drop_in.path.exists()
    drop_in.write({})


def test_others_may_read_it_whatever_the_umask_is(drop_in: DropIn) -> None:
    before = os.umask(0o077)
    try:
        drop_in.write({"IdleAction": "lock"})
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (drop_in.path.parent, drop_in.path)]
    assert modes == [0o755, 0o644]


@pytest.mark.parametrize("content", [b"", b"[Login]\nIdleAction=lock\n", bytes(range(256))])
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o000])
def test_a_file_comes_back_whoever_wrote_it(drop_in: DropIn, content: bytes, mode: int) -> None:
    drop_in.path.parent.mkdir(parents=True)
    drop_in.path.write_bytes(content)
    drop_in.path.chmod(mode)
    saved = drop_in.save()
    for _ in range(2):
        drop_in.write({"IdleAction": "reboot"})
        drop_in.restore(saved)
        assert drop_in.path.stat().st_mode & 0o7777 == mode
        drop_in.path.chmod(0o600)
        assert drop_in.path.read_bytes() == content
        drop_in.path.chmod(mode)


def test_a_link_and_nothing_come_back(drop_in: DropIn) -> None:
    nothing = drop_in.save()
    drop_in.path.parent.mkdir(parents=True)
    empty = drop_in.save()
    drop_in.path.symlink_to("/dev/null")
    link = drop_in.save()
    for _ in range(2):
        drop_in.write({"IdleAction": "reboot"})
        drop_in.restore(link)
        drop_in.restore(link)
        assert drop_in.path.readlink() == Path("/dev/null")
    drop_in.restore(empty)
    assert list(drop_in.path.parent.iterdir()) == []
    drop_in.restore(nothing)
    drop_in.restore(nothing)
    assert not drop_in.path.parent.exists()


def test_a_directory_that_others_use_by_now_stays(drop_in: DropIn) -> None:
    nothing = drop_in.save()
    drop_in.write({"IdleAction": "reboot"})
    (drop_in.path.parent / "10-other.conf").touch()
    drop_in.restore(nothing)
    assert [path.name for path in drop_in.path.parent.iterdir()] == ["10-other.conf"]


def test_what_is_no_file_is_an_error(drop_in: DropIn) -> None:
    drop_in.path.mkdir(parents=True)
    with pytest.raises(StorageError, match="Is a directory"):
        drop_in.save()


@pytest.mark.parametrize(
    ("path", "content", "wins"),
    [
        ("etc/systemd/logind.conf.d/60-x.conf", "[Login]\nIdleAction=lock\n", True),
        ("run/systemd/logind.conf.d/60-x.conf", "[Login]\n IdleAction = lock\n", True),
        ("usr/lib/systemd/logind.conf.d/60-x.conf", "[Login]\nIdleAction=lock\n", True),
        ("etc/systemd/logind.conf.d/40-x.conf", "[Login]\nIdleAction=lock\n", False),
        ("etc/systemd/logind.conf.d/60-x.conf", "[Login]\n#IdleAction=lock\n", False),
        ("etc/systemd/logind.conf.d/60-x.conf", "[Other]\nIdleAction=lock\n", False),
        ("etc/systemd/logind.conf.d/60-x.conf", "[Login]\nIdleActionSec=9\n", False),
        ("etc/systemd/logind.conf.d/60-x", "[Login]\nIdleAction=lock\n", False),
        ("etc/systemd/logind.conf", "[Login]\nIdleAction=lock\n", False),
    ],
)
def test_a_file_that_is_read_later_wins(
    place: Machine, path: str, content: str, wins: bool
) -> None:
    other = place.root / path
    other.parent.mkdir(parents=True)
    other.write_text(content)
    assert overriding(place, {"IdleAction"}) == ({"IdleAction": other} if wins else {})


def test_a_file_that_is_hidden_by_another_does_not_win(place: Machine) -> None:
    vendor = place.path("/usr/lib/systemd/logind.conf.d/60-x.conf")
    vendor.parent.mkdir(parents=True)
    vendor.write_text("[Login]\nIdleAction=lock\n")
    hiding = place.path("/etc/systemd/logind.conf.d/60-x.conf")
    hiding.parent.mkdir(parents=True)
    hiding.symlink_to("/dev/null")
    assert overriding(place, {"IdleAction"}) == {}


# --- refusing ------------------------------------------------------------------------------------


async def test_a_setting_that_this_version_has_not_is_refused(plugin: Login1Plugin) -> None:
    desired = declared(plugin, {"keys": {"handle_reboot_key": "ignore"}})
    change = Change(plugin.key("setting", "HandleRebootKey"), None, "ignore")
    with pytest.raises(RefusedError, match="has no HandleRebootKey"):
        await plugin.check(desired, [change])


async def test_a_user_that_is_not_there_is_refused(plugin: Login1Plugin) -> None:
    change = Change(plugin.key("linger", "nobody-at-all"), False, True)
    with pytest.raises(RefusedError, match="no user nobody-at-all"):
        await plugin.check(Desired(), [change])


async def test_a_user_who_was_deleted_does_not_linger_and_is_given_up(plugin: Login1Plugin) -> None:
    key = plugin.key("linger", "nobody-at-all")
    assert await existing({"nobody-at-all", "root"}) == {"root"}
    assert plugin.diff(Desired({key: Resource(False)}), Observed()) == []
    assert plugin.is_lost(key, Desired({key: Resource(True)}), Observed())
    assert not plugin.is_lost(key, Desired({key: Resource(True)}), Observed({key: False}))


async def test_what_is_given_back_is_not_refused_for_a_later_file(
    plugin: Login1Plugin, place: Machine
) -> None:
    other = place.path("/etc/systemd/logind.conf.d/60-x.conf")
    other.parent.mkdir(parents=True)
    other.write_text("[Login]\nIdleAction=lock\n")
    change = Change(plugin.key("setting", "IdleAction"), "lock", "ignore")
    await plugin.check(plugin.declare(None), [change])
    with pytest.raises(RefusedError, match=r"60-x\.conf is read after"):
        await plugin.check(declared(plugin, {"keys": {"idle_action": "ignore"}}), [change])


async def test_without_a_bus_it_is_unavailable(plugin: Login1Plugin) -> None:
    found = await plugin.availability()
    assert not found
    assert "no bus" in found.reason
    assert found.remedy


# --- watching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (Signal(MANAGER_PATH, MANAGER, "SessionNew", ("3", "/x")), "SessionNew 3"),
        (Signal(MANAGER_PATH, MANAGER, "UserRemoved", (1000, "/x")), "UserRemoved 1000"),
        (Signal(MANAGER_PATH, MANAGER, "SeatNew", ("seat0", "/x")), "SeatNew seat0"),
        (Signal(MANAGER_PATH, MANAGER, "PrepareForSleep", (True,)), ""),
        (
            Signal(
                f"{MANAGER_PATH}/session/_33",
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                ("org.freedesktop.login1.Session", {"Active": True, "IdleHint": True}, ["State"]),
            ),
            "Session: Active, State",
        ),
        (
            Signal(
                f"{MANAGER_PATH}/session/_33",
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                ("org.freedesktop.login1.Session", {"IdleHint": True}, ["IdleSinceHint"]),
            ),
            "",
        ),
        (
            Signal(
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "NameOwnerChanged",
                ("org.freedesktop.login1", ":1.2", ""),
            ),
            "the login manager ended",
        ),
        (
            Signal(
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "NameOwnerChanged",
                ("org.freedesktop.systemd1", "", ":1.2"),
            ),
            "",
        ),
        (Signal("/org/freedesktop/systemd1", "x.y", "JobNew", (1, "/x", "a.service")), ""),
    ],
)
def test_signals_in_words(signal: Signal, words: str) -> None:
    assert describe(signal) == words
