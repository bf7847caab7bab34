"""The parts of the plugin systemd that need no service manager: names, texts, values, files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.engine.model import Change, Desired, Observed, Resource, ResourceKey
from privacy_router.errors import StorageError
from privacy_router.host.dbus import Bus, Signal
from privacy_router.host.file_state import (
    file_value,
    link_value,
    put_entry,
    read_entry,
    redacted,
    remove_if_empty,
)
from privacy_router.host.systemd1 import MANAGER, OBJECT
from privacy_router.plugins.systemd.diff import is_lost
from privacy_router.plugins.systemd.names import concerns, is_own, names_with_drop_ins
from privacy_router.plugins.systemd.properties import PROPERTIES
from privacy_router.plugins.systemd.rollback import picture
from privacy_router.plugins.systemd.unit_paths import UnitPaths
from privacy_router.plugins.systemd.unit_text import also, can_be_enabled, runs_once, settings
from privacy_router.plugins.systemd.watch import path_of, words_of
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from pathlib import Path

_UNSET = 2**64 - 1


# --- names ---------------------------------------------------------------------------------------


def test_drop_ins_are_looked_for_where_systemd_does() -> None:
    assert list(names_with_drop_ins("foo-bar-baz@x.service")) == [
        "foo-bar-baz@x.service",
        "foo-bar-baz@.service",
        "foo-.service",
        "foo-bar-.service",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "unit", "does"),
    [
        ("file", "a@.service", "a@1.service", True),
        ("file", "a.service", "a.service", True),
        ("file", "a.socket", "a.service", False),
        ("drop-in", "a-.service/x.conf", "a-b.service", True),
        ("drop-in", "a-.socket/x.conf", "a-b.service", False),
        ("property", "a.service/TasksMax", "a.service", False),
    ],
)
def test_which_files_concern_a_unit(kind: str, name: str, unit: str, does: bool) -> None:
    assert concerns(kind, name, unit) is does


@pytest.mark.parametrize(
    ("unit", "own"),
    [
        ("op-dbus.service", True),
        ("privacy-router.slice", True),
        ("privacy-router-warp.service", True),
        ("privacy-router-.service", True),
        ("privacy-.service", True),
        ("privacy.service", False),
        ("op.service", False),
        ("my-privacy-router-x.service", False),
    ],
)
def test_own_units_are_known(unit: str, own: bool) -> None:
    assert is_own(unit) is own


# --- texts ---------------------------------------------------------------------------------------


def test_a_unit_file_is_read_as_systemd_does() -> None:
    text = (
        "[Unit]\n# a comment\n; another\nDescription=one \\\n# between\n  two\nAfter = x\n"
        "[Install]\nAlso=a.socket \\\n b.timer\n"
    )
    assert list(settings(text)) == [
        ("Unit", "Description", "one  two"),
        ("Unit", "After", "x"),
        ("Install", "Also", "a.socket  b.timer"),
    ]
    assert also([text]) == {"a.socket", "b.timer"}


def test_what_a_text_allows() -> None:
    assert can_be_enabled("[Install]\nAlias=x.service\n")
    assert not can_be_enabled("[Unit]\nWantedBy=x.target\n[Install]\nWantedBy=\n")
    assert runs_once("[Service]\nType=oneshot\n")
    assert not runs_once("[Service]\nType=oneshot\nRemainAfterExit=true\n")
    assert not runs_once("[Service]\nExecStart=/bin/true\n")


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert all(isinstance(key, str) for _, key, _ in settings(text))


# --- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "on_bus"),
    [
        ("MemoryMax", 4096, 4096),
        ("MemoryMax", "infinity", _UNSET),
        ("CPUWeight", "idle", 0),
        ("CPUWeight", "default", _UNSET),
        ("IOWeight", "default", _UNSET),
        ("CPUQuota", "150%", 1_500_000),
        ("CPUQuota", "12.5%", 125_000),
        ("CPUQuota", "infinity", _UNSET),
        ("AllowedCPUs", "0-3,9", b"\x0f\x02"),
        ("AllowedCPUs", "", b""),
        ("DeviceAllow", ["/dev/a b rw"], [["/dev/a b", "rw"]]),
        ("IPAddressDeny", ["10.0.0.0/8"], [[2, bytes([10, 0, 0, 0]), 8]]),
        ("IPAddressDeny", ["::/0"], [[10, bytes(16), 0]]),
        ("CPUAccounting", True, True),
    ],
)
def test_values_go_to_the_bus_and_back(name: str, value: Any, on_bus: Any) -> None:
    known = PROPERTIES[name]
    assert known.to_bus(value) == on_bus
    assert known.from_bus(on_bus) == value


def test_a_list_is_emptied_before_it_is_set() -> None:
    assert PROPERTIES["DeviceAllow"].assignments(["/dev/null r"]) == [
        ("DeviceAllow", "a(ss)", []),
        ("DeviceAllow", "a(ss)", [["/dev/null", "r"]]),
    ]


def test_networks_that_others_cover_are_not_told_twice() -> None:
    found = [(2, bytes([10, 0, 0, 0]), 8), (2, bytes([10, 1, 0, 0]), 16), (10, bytes(16), 128)]
    assert PROPERTIES["IPAddressAllow"].from_bus(found) == ["10.0.0.0/8", "::/128"]


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"[Unit]\n", b"", b"\xff\xfe", b"base64:abc", "ü".encode()])
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o4755])
def test_a_file_comes_back_byte_for_byte(tmp_path: Path, data: bytes, mode: int) -> None:
    path = tmp_path / "a.service"
    path.write_bytes(data)
    path.chmod(mode)
    kept = read_entry(path)
    own = {"owner": f"{os.getuid()}:{os.getgid()}"}
    assert put_entry(path, link_value("/dev/null") | own)
    assert read_entry(path)["link"] == "/dev/null"
    assert put_entry(path, kept)
    assert not put_entry(path, kept)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == mode
    assert put_entry(path, None)
    assert read_entry(path) is None


def test_a_link_is_kept_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.service"
    path.symlink_to(".//../b.service")
    kept = read_entry(path)
    path.unlink()
    put_entry(path, kept)
    assert os.readlink(path) == ".//../b.service"  # noqa: PTH115 - as it is, not tidied up


def test_directories_are_made_for_everybody_to_read_and_go_when_empty(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        own = {"owner": f"{os.getuid()}:{os.getgid()}"}
        put_entry(tmp_path / "a.service.d" / "x.conf", file_value("[Unit]\n") | own)
    finally:
        os.umask(old)
    made = tmp_path / "a.service.d"
    assert made.stat().st_mode & 0o777 == 0o755
    remove_if_empty(made)
    assert made.is_dir()
    put_entry(made / "x.conf", None)
    remove_if_empty(made)
    remove_if_empty(made)
    assert not made.exists()


def test_what_only_root_may_read_is_not_shown() -> None:
    private = file_value("PASSWORD=hunter2\n") | {"mode": "0640"}
    public = file_value("[Unit]\n")
    shown = redacted({"drop_in": private, "others": [public, link_value("/dev/null"), None]})
    assert "hunter2" not in str(shown)
    assert shown["drop_in"]["content"].startswith("(not for every user to read, ")
    assert shown["drop_in"]["mode"] == "0640"
    assert shown["others"] == [public, link_value("/dev/null"), None]
    assert redacted(private) == shown["drop_in"]
    assert redacted(private | {"content": "other"}) != shown["drop_in"]


def test_what_is_neither_file_nor_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.service").mkdir()
    with pytest.raises(StorageError, match="neither a file nor a link"):
        put_entry(tmp_path / "a.service", None)


# --- pictures ------------------------------------------------------------------------------------


def test_a_unit_is_lost_when_it_is_gone_and_its_file_does_not_come_back() -> None:
    unit, limit = ResourceKey("systemd", "unit", "a.service"), "a.service/TasksMax"
    of_unit = ResourceKey("systemd", "property", limit)
    file = ResourceKey("systemd", "file", "a.service")
    back = Desired({unit: Resource({"active": True}), of_unit: Resource({"stored": "runtime"})})
    for key in back.resources:
        assert is_lost(key, back, Observed())
        assert not is_lost(key, back, Observed({key: {"active": False}}))
        with_file = Desired({**back.resources, file: Resource(file_value("[Unit]\n"))})
        assert not is_lost(key, with_file, Observed())
        without = Desired({**back.resources, file: Resource(None)})
        assert is_lost(key, without, Observed())
    assert not is_lost(file, back, Observed())


def test_a_picture_has_all_links_that_enabling_may_touch_and_no_others(tmp_path: Path) -> None:
    etc, vendor = tmp_path / "etc/systemd/system", tmp_path / "usr/lib/systemd/system"
    (etc / "multi-user.target.wants").mkdir(parents=True)
    (etc / "sockets.target.wants").mkdir()
    vendor.mkdir(parents=True)
    (vendor / "a.service").write_text("[Install]\nAlso=a.socket\n")
    (vendor / "a.socket").write_text("[Install]\nWantedBy=sockets.target\n")
    links = {
        etc / "multi-user.target.wants/a.service": "/usr/lib/systemd/system/a.service",
        etc / "sockets.target.wants/a.socket": "/usr/lib/systemd/system/a.socket",
        etc / "other-name.service": "/usr/lib/systemd/system/a.service",
        etc / "b.timer": "/dev/null",
        etc / "multi-user.target.wants/c.service": "/usr/lib/systemd/system/c.service",
    }
    for path, target in links.items():
        path.symlink_to(target)
    unit = Change(
        ResourceKey("systemd", "unit", "a.service"), {"enabled": True}, {"enabled": False}
    )
    text = file_value("[Install]\nAlso=b.timer\n")
    drop_in = Change(ResourceKey("systemd", "drop-in", "a.service/x.conf"), None, text)
    kept = picture(UnitPaths(Machine(Bus(None), tmp_path)), [unit, drop_in])
    assert kept["family"] == ["a.service", "a.socket", "b.timer"]
    assert set(kept["entries"]) == {str(path) for path in links if path.name != "c.service"}
    assert str(etc / "sockets.target.wants") in kept["directories"]


# --- watching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("a.service", "a_2eservice"),
        ("foo-bar@1.service", "foo_2dbar_401_2eservice"),
        ("-.mount", "_2d_2emount"),
        ("3proxy.service", "_33proxy_2eservice"),
        (r"dev-a\x2db.swap", "dev_2da_5cx2db_2eswap"),
    ],
)
def test_objects_of_units_are_found(unit: str, path: str) -> None:
    assert path_of(unit) == f"{OBJECT}/unit/{path}"


def test_only_what_matters_is_told() -> None:
    def told(path: str, interface: str, member: str, *body: Any) -> str:
        return words_of(Signal(path, interface, member, body), {"a.service"})

    manager, changed = MANAGER.interface, "org.freedesktop.DBus.Properties"
    unit = f"{OBJECT}/unit/a_2eservice"
    state: tuple[Any, ...] = ("org.freedesktop.systemd1.Unit", {"ActiveState": "failed"}, [])
    assert told(unit, changed, "PropertiesChanged", *state) == "a.service is failed"
    assert told(f"{OBJECT}/unit/b_2eservice", changed, "PropertiesChanged", *state) == ""
    assert "enabled" in told(OBJECT, manager, "UnitFilesChanged")
    assert told(OBJECT, manager, "Reloading", True) == ""
    assert told(OBJECT, manager, "Reloading", False)
    assert told(OBJECT, manager, "UnitNew", "a.service", unit) == ""
    assert told("/org/freedesktop/login1", "x", "y") == ""
