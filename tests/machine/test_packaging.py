"""What packaging/install puts on a node: systemd, polkit and the bus take it, and let go of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.machine.whole_node import (
    ROOT,
    ROUTER,
    RUN,
    STATE,
    eventually,
    must,
    pids,
    run,
    show,
    write_configuration,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.machine

PREFIX = Path("/opt/privacy-router")
UNIT = Path("/usr/lib/systemd/system/op-dbus.service")
FILES = [
    UNIT,
    Path("/usr/lib/sysusers.d/privacy-router.conf"),
    Path("/usr/share/dbus-1/system.d/org.opdbus.conf"),
    Path("/usr/share/polkit-1/actions/org.opdbus.policy"),
]
ACTIONS = {f"org.opdbus.{name}" for name in ("apply", "confirm", "restore", "flows")}
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
GROUP, NOBODY = "member", "stranger"


def as_user(user: str, *command: str) -> subprocess.CompletedProcess[str]:
    return run("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command)


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """The files in place, and the checkout's programs where they belong (there is no network).

    The node is new: nobody took it down before.
    """
    shutil.rmtree(STATE, ignore_errors=True)
    (PREFIX / "bin").mkdir(parents=True)
    for name in ("op-dbus", "privacy-router"):
        (PREFIX / "bin" / name).symlink_to(ROOT / ".venv/bin" / name)
    must(ROOT / "packaging/install", "--files-only")
    must("useradd", "--groups", "privacy-router", GROUP)
    must("useradd", NOBODY)
    yield
    must(ROOT / "packaging/install", "--uninstall")


def test_installing_again_touches_nothing(installed: None) -> None:
    before = [path.stat().st_mtime_ns for path in FILES]
    must(ROOT / "packaging/install", "--files-only")
    assert [path.stat().st_mtime_ns for path in FILES] == before
    assert {path.stat().st_mode & 0o777 for path in FILES} == {0o644}


def test_systemd_finds_nothing_wrong_with_the_unit(installed: None) -> None:
    result = run("systemd-analyze", "verify", "op-dbus.service")
    assert (result.returncode, result.stderr) == (0, "")
    shown = must("systemctl", "show", "op-dbus.service", "-p", "LoadState,KillMode,Restart")
    assert shown.split() == ["Restart=always", "KillMode=process", "LoadState=loaded"]


def test_the_unit_has_no_mount_namespace_of_its_own(installed: None) -> None:
    # the network namespaces that it makes would not be there for anybody else
    shown = must("systemctl", "show", "op-dbus.service").splitlines()
    settings = dict(line.split("=", 1) for line in shown)
    for name in ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectProc"):
        assert settings[name] in {"no", "default"}


def test_polkit_knows_the_actions_in_words(installed: None) -> None:
    described = must("pkaction", "--verbose")
    blocks = {block.split(":")[0]: block for block in described.split("\n\n")}
    assert {name for name in blocks if name.startswith("org.opdbus.")} == ACTIONS
    for name in ACTIONS:
        assert "Authentication is required to" in blocks[name]
        assert "implicit any:      auth_admin" in blocks[name]


@pytest.mark.parametrize(
    ("user", "action", "allowed"),
    [
        (GROUP, "org.opdbus.apply", False),
        (GROUP, "org.opdbus.flows", False),
        (NOBODY, "org.opdbus.confirm", False),
        ("root", "org.opdbus.restore", True),
    ],
)
def test_who_may_do_what_without_a_password(
    installed: None, user: str, action: str, allowed: bool
) -> None:
    script = f"exec pkcheck --action-id {action} --process $$"
    result = as_user(user, "sh", "-c", script)
    assert (result.returncode == 0) is allowed, result.stderr


def own_the_name(user: str) -> str:
    """Try to be org.opdbus for a moment; what the bus says."""
    result = as_user(user, "busctl", "call", *BUS, "RequestName", "su", "org.opdbus", "4")
    return result.stdout.strip() or result.stderr.strip()


def test_only_root_can_be_the_controller_on_the_bus(installed: None) -> None:
    assert own_the_name("root") == "u 1"
    assert "Access denied" in own_the_name(GROUP)
    assert "Access denied" in own_the_name(NOBODY)


HOPS = {"ovsdb-server", "ovs-vswitchd", "wg100", "wgcf", "xray"}


def test_the_service_keeps_a_node_from_within_its_sandbox(installed: None) -> None:
    write_configuration()
    must("systemctl", "start", "op-dbus.service")  # returns once it said that it is ready
    started = show("op-dbus.service")
    assert (started["ActiveState"], started["Result"]) == ("active", "success")
    assert set(pids()) == HOPS
    assert json.loads(must(ROUTER, "plan", "--json"))["changes"] == []
    # what it bound in its namespace is there for everybody
    spaces = {"pr-gateway", "pr-warp", "pr-xray", "pr-switch"}
    assert spaces <= set(must("ip", "netns", "list").split())
    owner = must("busctl", "call", *BUS, "GetConnectionUnixProcessID", "s", "org.opdbus")
    assert owner.split() == ["u", started["MainPID"]]


def test_the_service_stops_and_the_tunnel_stays(installed: None) -> None:
    before = pids()
    assert set(before) == HOPS
    must("systemctl", "stop", "op-dbus.service")
    assert show("op-dbus.service")["Result"] == "success"
    assert pids() == before
    must("systemctl", "start", "op-dbus.service")
    assert pids() == before


def test_a_service_that_is_killed_comes_back_to_the_same_tunnel(installed: None) -> None:
    before, main = pids(), show("op-dbus.service")["MainPID"]
    must("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "op-dbus.service")
    eventually(lambda: show("op-dbus.service")["MainPID"] not in {"0", main}, "it stays away")
    eventually(lambda: show("op-dbus.service")["ActiveState"] == "active", "it is not ready")
    assert pids() == before


def test_reloading_reads_the_configuration_again(installed: None) -> None:
    before = pids()
    must("systemctl", "reload", "op-dbus.service")
    eventually(lambda: show("op-dbus.service")["ActiveState"] == "active", "it does not settle")
    assert pids() == before


def test_uninstalling_leaves_nothing(installed: None) -> None:
    must(ROOT / "packaging/install", "--uninstall")
    assert pids() == {}
    assert [path.name for path in RUN.iterdir()] == ["controller.lock"]
    assert not [path for path in FILES if path.exists()]
    assert run("systemctl", "cat", "op-dbus.service").returncode != 0
    assert not ACTIONS & set(must("pkaction").split())
    assert "Access denied" in own_the_name("root")
    must(ROOT / "packaging/install", "--files-only")


def test_uninstalling_leaves_what_is_not_the_nodes(installed: None) -> None:
    """By each of its names: another program's device, and its network namespace."""
    must("ip", "link", "add", "wgcf", "type", "bridge")
    must("ip", "netns", "add", "pr-gateway")
    try:
        must(ROOT / "packaging/install", "--uninstall")
        must("ip", "link", "show", "wgcf")
        must("ip", "-n", "pr-gateway", "link", "show", "lo")
    finally:
        must("ip", "link", "delete", "wgcf")
        must("ip", "netns", "delete", "pr-gateway")
        must(ROOT / "packaging/install", "--files-only")
