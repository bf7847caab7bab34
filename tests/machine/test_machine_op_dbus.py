"""op-dbus as a system service, with every service that its plugins keep: the machine as a whole."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.machine import package_repository as packages
from tests.machine.whole_node import CONFIG, ROOT, ROUTER, STATE, eventually, must, run, show

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]

PREFIX = Path("/opt/privacy-router")
FILE = Path("/root/document.json")
SERVICE = "op-dbus.service"
HELLO = "[Service]\nExecStart=sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"
MEMBER, OPERATOR, STRANGER = "looker", "changer", "outsider"
RULE = Path("/etc/polkit-1/rules.d/10-operator.rules")
KEPT = ("packagekit", "net", "dns", "systemd")
WHOLE: dict[str, Any] = {
    "packagekit": {"packages": {"pr-one": {"version": "1.0"}}},
    "net": {"interfaces": {"lo": {"addresses": ["198.18.7.7/32"]}}},
    "dns": {"servers": ["192.0.2.53"], "search": ["example.net"]},
    "systemd": {
        "files": {"hello.service": {"content": HELLO}},
        "units": {
            "hello.service": {"active": True, "enabled": True, "properties": {"MemoryMax": "64M"}}
        },
    },
    "login1": {
        "keys": {"handle_lid_switch": "ignore"},
        "inhibitors": [{"name": "tunnel", "what": ["sleep"], "why": "clients are connected"}],
    },
    "sessdecl": {
        "sessions": [
            {
                "name": "nobody-graphical",
                "selector": {"kind": "x11"},
                "state": "absent",
            }
        ]
    },
}


@pytest.fixture(scope="module")
def service() -> Iterator[None]:
    """The service with nothing declared, users of all sorts, and a repository of packages."""
    packages.build()
    shutil.rmtree(STATE, ignore_errors=True)
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text('{"version": 1, "plugins": {}}')
    (PREFIX / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("op-dbus", "privacy-router"):
        (PREFIX / "bin" / name).unlink(missing_ok=True)
        (PREFIX / "bin" / name).symlink_to(ROOT / ".venv/bin" / name)
    must(ROOT / "packaging/install", "--files-only")
    must("useradd", "--groups", "privacy-router", MEMBER)
    must("useradd", "--groups", "privacy-router", OPERATOR)
    must("useradd", STRANGER)
    must("systemctl", "start", SERVICE)
    yield
    must(ROOT / "packaging/install", "--uninstall")
    shutil.rmtree(PREFIX)
    for user in (MEMBER, OPERATOR, STRANGER):
        must("userdel", user)
    packages.purge()


@pytest.fixture(autouse=True)
def nothing_declared(service: None) -> Iterator[None]:
    """Every test begins and ends with a machine of which nothing was taken over."""
    packages.GATE.unlink(missing_ok=True)
    yield
    packages.GATE.touch()
    eventually(lambda: run(ROUTER, "apply", document()).returncode == 0, "it is not given back", 90)
    assert packages.installed() == {}


def document(**plugins: Any) -> Path:
    FILE.write_text(json.dumps({"version": 1, "plugins": plugins}))
    return FILE


def say(*command: str | Path) -> Any:
    return json.loads(must(ROUTER, *command, "--json"))


def observed() -> str:
    """What the plugins see, byte for byte."""
    return json.dumps([say("query", name) for name in KEPT], sort_keys=True)


def as_user(user: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return run("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command)


def status_of(package: str) -> str:
    return run("dpkg-query", "-W", "-f", "${db:Status-Status}", package).stdout


def main_pid() -> str:
    return show(SERVICE)["MainPID"]


# --- the whole machine ----------------------------------------------------------------------------


def test_every_plugin_has_its_service_here(service: None) -> None:
    found = {one["Name"]: one for one in say("plugins")}
    assert len(found) == 12
    away = {name for name, one in found.items() if not one["Available"]}
    assert away <= {"netmaker"}
    assert (say("query", "systemd"), say("query", "packagekit")) != ([], [])


def test_the_machine_becomes_as_declared_and_is_given_back(service: None) -> None:
    before = observed()
    done = say("apply", document(**WHOLE))
    assert {row["plugin"] for row in done["changes"]} == set(WHOLE) - {"sessdecl"}
    assert packages.installed() == {"pr-one": "1.0"}
    assert "198.18.7.7/32" in must("ip", "address", "show", "dev", "lo")
    assert "192.0.2.53" in must("resolvectl", "dns")
    hello = show("hello.service")
    assert (hello["ActiveState"], hello["UnitFileState"]) == ("active", "enabled")
    assert hello["MemoryMax"] == str(64 * 1024 * 1024)
    assert "op-dbus tunnel" in must("systemd-inhibit", "--list")
    again = say("apply", FILE)
    assert (again["run"], again["changes"]) == (0, [])
    say("apply", document())
    assert observed() == before
    assert run("systemctl", "cat", "hello.service").returncode != 0


def test_the_plan_says_what_apply_does_and_touches_nothing(service: None) -> None:
    before = observed()
    planned = say("plan", "--config", document(**WHOLE))["changes"]
    assert observed() == before
    assert say("apply", FILE)["changes"] == planned


def test_a_unit_that_does_not_start_undoes_everything(service: None) -> None:
    """Packages, addresses, resolver and files are changed by then: all of it goes back."""
    say("apply", document(net={"interfaces": {"lo": {"addresses": ["198.18.7.9/32"]}}}))
    before = observed()
    bad: dict[str, dict[str, Any]] = {
        "files": {"bad.service": {"content": "[Service]\nExecStart=/bin/false\n"}},
        "units": {"bad.service": {"active": True}, "hello.service": {"active": True}},
    }
    bad["files"]["hello.service"] = {"content": HELLO}
    failed = run(ROUTER, "apply", document(**{**WHOLE, "systemd": bad}))
    assert failed.returncode != 0
    assert "bad.service" in failed.stderr
    assert observed() == before
    last = say("runs")[0]
    assert (last["phase"], "bad.service" in last["reason"]) == ("undone", True)


def test_killed_in_the_middle_the_next_start_undoes_it(service: None) -> None:
    """dpkg is at work when the daemon goes; it is waited for, and then everything goes back."""
    before = observed()
    slow = {"packages": {"pr-slow": {}, "pr-lib": {"version": "1.0"}}}
    path = document(net=WHOLE["net"], packagekit=slow)
    applying = subprocess.Popen([ROUTER, "apply", path], stderr=subprocess.PIPE)
    try:
        eventually(lambda: status_of("pr-slow") == "half-configured", "dpkg does not begin")
        pid = main_pid()
        must("kill", "-KILL", pid)
        applying.communicate(timeout=30)
        assert applying.returncode != 0
    finally:
        applying.kill()
        applying.communicate()
    packages.GATE.touch()
    eventually(lambda: main_pid() not in {"0", pid}, "systemd does not start it again")
    eventually(lambda: run(ROUTER, "runs").returncode == 0, "it is not on the bus", 120)
    eventually(lambda: say("runs")[0]["phase"] == "undone", "it is not undone", 120)
    assert say("runs")[0]["reason"] == "cut short"
    assert observed() == before


def test_drift_is_put_right_within_moments(service: None) -> None:
    say("apply", document(**WHOLE))
    must("systemctl", "stop", "hello.service")
    eventually(lambda: show("hello.service")["ActiveState"] == "active", "it is not started again")
    must("ip", "address", "del", "198.18.7.7/32", "dev", "lo")
    eventually(lambda: "198.18.7.7" in must("ip", "address", "show", "lo"), "it does not come back")
    Path("/etc/systemd/resolved.conf.d/50-privacy-router.conf").unlink()
    must("systemctl", "restart", "systemd-resolved.service")
    eventually(lambda: "192.0.2.53" in must("resolvectl", "dns"), "the resolver is not put right")
    last = {one["Name"]: one["LastDrift"][1] for one in say("plugins")}
    assert all(last[name] for name in ("systemd", "net", "dns"))


def test_what_waits_to_be_confirmed_goes_on_waiting_in_the_next_daemon(service: None) -> None:
    before = observed()
    done = say("apply", document(**WHOLE), "--confirm-within", "20")
    assert done["confirm_within_s"] == 20
    must("systemctl", "restart", SERVICE)
    assert packages.installed() == {"pr-one": "1.0"}
    eventually(lambda: say("runs")[0]["phase"] == "undone", "it was not confirmed", 60)
    assert say("runs")[0]["reason"] == "it was not confirmed in time"
    assert observed() == before


# --- the service ----------------------------------------------------------------------------------


def test_reload_applies_the_file(service: None) -> None:
    try:
        CONFIG.write_text(json.dumps({"version": 1, "plugins": {"net": WHOLE["net"]}}))
        must("systemctl", "reload", SERVICE)
        eventually(lambda: "198.18.7.7" in must("ip", "address", "show", "lo"), "it is not applied")
        eventually(lambda: show(SERVICE)["StatusText"].startswith("keeps "), "it says nothing")
        CONFIG.write_text("{")
        must("systemctl", "reload", SERVICE)
        assert show(SERVICE)["ActiveState"] == "active"
        assert "198.18.7.7" in must("ip", "address", "show", "lo")
    finally:
        CONFIG.write_text('{"version": 1, "plugins": {}}')


def test_a_broken_file_does_not_take_away_what_was_declared(service: None) -> None:
    say("apply", document(net=WHOLE["net"]))
    try:
        CONFIG.write_text("{")
        must("ip", "address", "del", "198.18.7.7/32", "dev", "lo")
        must("systemctl", "restart", SERVICE)
        eventually(lambda: "198.18.7.7" in must("ip", "address", "show", "lo"), "it is forgotten")
    finally:
        CONFIG.write_text('{"version": 1, "plugins": {}}')


def status_text() -> str:
    return show(SERVICE)["StatusText"]


def has_address() -> bool:
    return "198.18.7.7" in must("ip", "address", "show", "lo")


def test_what_was_not_confirmed_comes_by_no_reload_and_no_restart(service: None) -> None:
    try:
        CONFIG.write_text(json.dumps({"version": 1, "plugins": {"net": WHOLE["net"]}}))
        say("apply", CONFIG, "--confirm-within", "1")
        eventually(lambda: say("runs")[0]["phase"] == "undone", "it was not confirmed")
        before = len(say("runs"))
        for verb in ("reload", "restart"):
            must("systemctl", verb, SERVICE)
            eventually(lambda: f"{CONFIG} was undone at " in status_text(), "it does not say so")
            assert not has_address()
        assert len(say("runs")) == before
        must("systemctl", "reload", SERVICE)
        must(ROUTER, "apply", CONFIG)
        assert has_address()
        eventually(lambda: "undone" not in status_text(), "it still says so")
    finally:
        CONFIG.write_text('{"version": 1, "plugins": {}}')


def test_a_first_start_without_internet_is_told_and_goes_on(service: None) -> None:
    """The account service refuses connections; nothing else of the machine waits for it."""
    own = {"warp": {"accept_terms": True, "api_url": "https://127.0.0.1:1"}}
    try:
        CONFIG.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": own}}))
        for _ in range(2):
            must("systemctl", "restart", SERVICE)
            assert show(SERVICE)["ActiveState"] == "active"
            for words in (f"{CONFIG} is not applied yet", "cannot be reached", "next try at"):
                assert words in status_text()
        shown = run(ROUTER, "status", "--no-probe").stdout
        assert "is not applied yet" in shown
        assert "nothing is declared" not in shown
        must("ip", "address", "add", "198.18.7.99/32", "dev", "lo")
        first = status_text()
        eventually(lambda: status_text() != first, "a change of the network is not heard of")
        must(ROUTER, "down")  # an operator's word: it is not tried any more
        eventually(lambda: "not applied yet" not in status_text(), "it goes on trying")
        must("systemctl", "restart", SERVICE)
        assert "not applied yet" not in status_text()
    finally:
        run("ip", "address", "del", "198.18.7.99/32", "dev", "lo")
        CONFIG.write_text('{"version": 1, "plugins": {}}')


def test_a_daemon_that_hangs_is_started_anew_by_the_watchdog(service: None) -> None:
    override = Path("/run/systemd/system/op-dbus.service.d/watchdog.conf")
    override.parent.mkdir(parents=True, exist_ok=True)
    override.write_text("[Service]\nWatchdogSec=2\n")
    must("systemctl", "daemon-reload")
    must("systemctl", "restart", SERVICE)
    try:
        pid = main_pid()
        must("kill", "-STOP", pid)
        eventually(lambda: main_pid() not in {"0", pid}, "nobody notices")
        eventually(lambda: show(SERVICE)["ActiveState"] == "active", "it is not ready")
    finally:
        shutil.rmtree(override.parent)
        must("systemctl", "daemon-reload")
        must("systemctl", "restart", SERVICE)


def test_down_gives_everything_back_and_the_service_goes_on(service: None) -> None:
    before = observed()
    say("apply", document(**WHOLE))
    must(ROUTER, "down")
    assert observed() == before
    assert show(SERVICE)["ActiveState"] == "active"
    must("systemctl", "restart", SERVICE)
    assert observed() == before


# --- who may --------------------------------------------------------------------------------------


def test_the_group_looks_and_others_do_not(service: None) -> None:
    assert as_user(MEMBER, ROUTER, "plugins").returncode == 0
    assert as_user(MEMBER, ROUTER, "query", "net").returncode == 0
    assert as_user(STRANGER, ROUTER, "plugins").returncode != 0
    for user in (MEMBER, STRANGER):
        refused = as_user(user, ROUTER, "confirm")
        assert refused.returncode == 3, refused.stderr
        assert "administrators" in refused.stderr


def test_whom_polkit_lets_may_change(service: None) -> None:
    RULE.write_text(
        "polkit.addRule(function (action, subject) {\n"
        f'    if (action.id == "org.opdbus.apply" && subject.user == "{OPERATOR}")\n'
        "        return polkit.Result.YES;\n"
        "});\n"
    )
    RULE.chmod(0o644)
    path = Path("/tmp/document.json")  # noqa: S108 - others have to read it, in a machine of our own
    path.write_text(json.dumps({"version": 1, "plugins": {"net": WHOLE["net"]}}))
    path.chmod(0o644)
    try:
        eventually(
            lambda: as_user(OPERATOR, ROUTER, "apply", path).returncode == 0, "polkit says no"
        )
        assert "198.18.7.7" in must("ip", "address", "show", "lo")
        assert as_user(MEMBER, ROUTER, "apply", path).returncode == 3
        assert as_user(OPERATOR, ROUTER, "rollback", "before-run-1").returncode == 3
    finally:
        RULE.unlink()
