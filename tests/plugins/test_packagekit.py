"""The plugin `packagekit`, as far as it needs no machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import ConfigError, parse_document
from privacy_router.config.models import Plugins
from privacy_router.engine.errors import PluginFailedError, RefusedError
from privacy_router.engine.model import Desired, Observed, Resource
from privacy_router.errors import (
    ConflictError,
    PrivacyRouterError,
    PrivilegeError,
    RemoteServiceError,
    StorageError,
)
from privacy_router.host.dbus import Bus
from privacy_router.plugins.packagekit import PackagekitPlugin
from privacy_router.plugins.packagekit.apt import parse_dry_run
from privacy_router.plugins.packagekit.declare import pin_file, pin_value, pinned_name
from privacy_router.plugins.packagekit.dry_run import (
    PackageChanges,
    effects_of,
    may_go,
    require_allowed,
    require_versions,
)
from privacy_router.plugins.packagekit.failures import Code, failure
from privacy_router.plugins.packagekit.packages import (
    Info,
    Naming,
    Package,
    State,
    parse_package,
)
from privacy_router.plugins.target import Machine

PLUGIN = PackagekitPlugin(Machine(Bus(None), Path("/nowhere")))
DEBIAN = Naming.of_distro("debian;12;x86_64")


def declared(packages: dict[str, Any], **more: Any) -> Desired:
    section = {"packages": packages, **more}
    return PLUGIN.declare(Plugins.model_validate({"packagekit": section}).packagekit)


def problem(packages: dict[str, Any]) -> str:
    section = {"packagekit": {"packages": packages}}
    text = json.dumps({"version": 1, "plugins": section})
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "the document", None)
    return str(caught.value)


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "-rf", "htop=1", "htop;1", "a b", "libc6:i386", "../x"])
def test_what_is_no_package_is_named(name: str) -> None:
    assert "the name of a package such as htop" in problem({name: {}})


@pytest.mark.parametrize("version", ["", "latest", "1 0", "1;0", "1.*", "1\n0", "=1"])
def test_what_is_no_version_is_named(version: str) -> None:
    assert "a whole version such as 3.2.2-2" in problem({"htop": {"version": version}})


@pytest.mark.parametrize("state", ["removed", "latest"])
def test_a_version_is_of_an_installed_package(state: str) -> None:
    found = problem({"htop": {"state": state, "version": "1.0"}})
    assert 'state "installed" with a version' in found


# --- what it comes to ----------------------------------------------------------------------------


def test_a_pin_belongs_to_a_version_that_is_enforced() -> None:
    observe = {"version": "1.0", "mode": "observe-only"}
    desired = declared({"one": {"version": "1.0"}, "two": observe, "three": {}})
    assert [key.name for key in desired.resources if key.kind == "pin"] == ["one"]


@pytest.mark.parametrize("name", ["htop", "libstdc++6", "g++-12", "python3.11", "a.b-c+d"])
def test_pin_files_are_read_by_apt_and_found_again(name: str) -> None:
    assert set(pin_file(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert pinned_name(pin_file(name)) == name


def test_files_of_others_are_no_pins_of_ours() -> None:
    assert pinned_name("50-backports.pref") is None
    assert pinned_name("50-privacy-router-htop") is None


def test_a_pin_names_one_package_and_one_version() -> None:
    assert pin_value("htop", "3.2.2-2")["content"].splitlines()[1:] == [
        "Package: htop",
        "Pin: version 3.2.2-2",
        "Pin-Priority: 1001",
    ]


def test_what_is_given_back_keeps_its_version() -> None:
    key, gone, back = (PLUGIN.key("package", name) for name in ("kept", "gone", "back"))
    originals = {key: {"version": "1.0"}, gone: None, back: {"version": "3.0", "automatic": True}}
    payload = PLUGIN.declare(None).payload
    desired = Desired({k: Resource(v) for k, v in originals.items()}, payload)
    offered = PLUGIN.key("available", "back")
    observed = Observed(
        {key: {"version": "2.0"}, gone: {"version": "1.0"}, offered: {"version": "3.1"}}
    )
    assert [(c.key, c.after) for c in PLUGIN.diff(desired, observed)] == [
        (back, {"version": "3.1", "automatic": True}),
        (gone, None),
    ]
    assert not PLUGIN.is_lost(back, desired, observed)
    assert PLUGIN.is_lost(back, desired, Observed({offered: {"version": None}}))
    assert not PLUGIN.is_lost(back, Desired(desired.resources), Observed()), "a run took it away"


def test_the_newest_is_not_known_before_the_pin_is_gone() -> None:
    package, pin = PLUGIN.key("package", "htop"), PLUGIN.key("pin", "htop")
    desired = declared({"htop": {"state": "latest"}})
    both = Desired({**desired.resources, pin: Resource(None)}, desired.payload)
    observed = Observed(
        {package: {"version": "1.0", "available": "1.0"}, pin: pin_value("htop", "1.0")}
    )
    changes = {change.key: change.after for change in PLUGIN.diff(both, observed)}
    assert changes == {package: {"version": "latest"}, pin: None}


# --- packages on the bus -------------------------------------------------------------------------


def test_an_urgent_update_is_an_update() -> None:
    found = parse_package(5 << 16 | 5, "htop;3.2.2-2;amd64;Debian:bookworm-main")
    assert (found.info, found.version, found.data) == (5, "3.2.2-2", "Debian:bookworm-main")


@pytest.mark.parametrize("text", ["", "htop", "htop;1;all", ";1;all;local"])
def test_what_is_no_id_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not the id of a package"):
        parse_package(1, text)


@pytest.mark.parametrize(
    ("data", "automatic"),
    [("manual:local", False), ("auto:local", True), ("+auto:x", True), ("local", False)],
)
def test_what_came_by_itself(data: str, automatic: bool) -> None:
    assert parse_package(1, f"htop;1;all;{data}").automatic is automatic


def test_another_architecture_is_part_of_the_name() -> None:
    names = [DEBIAN.name_of(Package(1, "libc6", "1", a)) for a in ("amd64", "all", "i386")]
    assert names == ["libc6", "libc6", "libc6:i386"]
    fedora = Naming.of_distro("fedora;40;x86_64")
    assert fedora.name_of(Package(1, "htop", "1", "x86_64")) == "htop"


def test_ids_of_versions() -> None:
    state = State(installed=Package(1, "htop", "1.0", "amd64", "manual:local"))
    assert state.package_id("2.0") == "htop;2.0;amd64;"
    assert state.package_id("2.0", automatic=True) == "htop;2.0;amd64;+auto:"
    assert State().package_id("2.0") is None


@pytest.mark.parametrize(
    ("code", "details", "kind", "words"),
    [
        (Code.CANNOT_GET_LOCK, "E: Could not get lock", ConflictError, "another program"),
        (Code.CANNOT_GET_LOCK, "dpkg was interrupted, you", ConflictError, "cut short"),
        (Code.NOT_AUTHORIZED, "no", PrivilegeError, "polkit"),
        (Code.DEP_RESOLUTION_FAILED, "a\n\n b", RefusedError, "a; b"),
        (Code.PACKAGE_DOWNLOAD_FAILED, "404", RemoteServiceError, "404"),
        (Code.NO_SPACE_ON_DEVICE, "full", StorageError, "full"),
        (4, "x\n" * 50, PluginFailedError, "x …"),
    ],
)
def test_failures_have_a_remedy(
    code: int, details: str, kind: type[PrivacyRouterError], words: str
) -> None:
    error = failure(code, details)
    assert isinstance(error, kind)
    assert words in error.message
    assert error.remedy
    locked = code == Code.CANNOT_GET_LOCK and "interrupted" not in details
    assert error.retryable is (locked or kind is RemoteServiceError)


# --- what would happen ---------------------------------------------------------------------------


def rows(*found: tuple[Info, str, str]) -> list[Package]:
    return [Package(info, name, version, "all") for info, name, version in found]


def test_effects_of_a_simulation() -> None:
    found = rows(
        (Info.INSTALLING, "a", "1"),
        (Info.UPDATING, "b", "2"),
        (Info.DOWNGRADING, "c", "0"),
        (Info.REMOVING, "d", "1"),
        (Info.OBSOLETING, "b", "1"),
        (Info.DOWNLOADING, "e", "1"),
    )
    assert effects_of(found, DEBIAN) == {"a": "1", "b": "2", "c": "0", "d": None}


def test_what_nobody_signed_is_refused() -> None:
    with pytest.raises(RefusedError, match="a: not signed"):
        effects_of(rows((Info.UNTRUSTED, "a", "1"), (Info.INSTALLING, "a", "1")), DEBIAN)


def test_others_may_go_when_named_or_allowed() -> None:
    section = {"old": {"state": "removed"}, "new": {}}
    packages = PackageChanges(removals=["old"])
    require_allowed({"old": None, "new": "1"}, may_go(declared(section), packages))
    with pytest.raises(RefusedError, match="lib, new would be removed along"):
        require_allowed(
            {"old": None, "new": None, "lib": None}, may_go(declared(section), packages)
        )
    require_allowed(
        {"lib": None}, may_go(declared(section, allow_remove_dependents=True), packages)
    )
    seen = {"lib": {"state": "removed", "mode": "observe-only"}}
    with pytest.raises(RefusedError, match="lib would be removed along"):
        require_allowed({"old": None, "lib": None}, may_go(declared(section | seen), packages))


def test_another_version_than_asked_for_is_refused() -> None:
    require_versions({"a": "1", "b": "2"}, {"a": "1"})
    with pytest.raises(RefusedError, match="a 3 cannot be had: 1 would be installed"):
        require_versions({"a": "1"}, {"a": "3"})
    with pytest.raises(RefusedError, match="a 3 cannot be had: nothing would be installed"):
        require_versions({}, {"a": "3"})


def test_what_apt_would_do() -> None:
    output = """Reading package lists...
The following packages will be REMOVED:
  foe
Remv foe [1.0]
Inst lib [1.0] (2.0 Debian:12/stable [all]) []
Inst new:i386 (1:2.0-1 Debian:12/stable, Debian-Security:12/stable [i386])
Conf lib (2.0 Debian:12/stable [all])
"""
    assert parse_dry_run(output) == {"foe": None, "lib": "2.0", "new:i386": "1:2.0-1"}


@given(st.text())
def test_whatever_apt_says_is_read(output: str) -> None:
    assert all(name for name in parse_dry_run(output))


def test_work_that_is_left() -> None:
    states = {
        "same": State(installed=Package(1, "same", "1", "all")),
        "older": State(installed=Package(1, "older", "1", "all")),
        "there": State(installed=Package(1, "there", "1", "all")),
        "offered": State(offered=Package(2, "offered", "1", "all")),
    }
    wishes = {name: {"version": "1" if name == "same" else "2"} for name in ("same", "older")}
    left = PackageChanges({**wishes, "offered": {"version": "1"}}, ["there", "offered", "unknown"])
    assert left.left(states) == PackageChanges(
        {"older": {"version": "2"}, "offered": {"version": "1"}}, ["there"]
    )
