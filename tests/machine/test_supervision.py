"""Where systemd runs the machine, the hops' processes are units of it, each confined."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import MissingPrerequisiteError
from privacy_router.host import processes, units
from privacy_router.host.units import UnitError
from privacy_router.values.confinement import Capability, Confinement
from privacy_router.values.processes import ProcessSpec
from tests.machine.whole_node import (
    PROFILE,
    ROOT,
    ROUTER,
    RUN,
    STATE,
    eventually,
    must,
    pids,
    run,
    show,
    unit_of,
    write_configuration,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.machine

ADMIN, RAW, BIND = Capability.NET_ADMIN, Capability.NET_RAW, Capability.NET_BIND_SERVICE

# What each process may do at most, and the network namespace that it lives in (None: the host's).
ALLOWED: dict[str, tuple[set[Capability], str | None]] = {
    "ovsdb-server": (set(), "pr-switch"),
    "ovs-vswitchd": ({ADMIN, RAW}, "pr-switch"),
    "wg100": ({ADMIN, BIND}, None),
    "wgcf": ({ADMIN, BIND}, None),
    "xray": ({ADMIN, BIND}, "pr-xray"),
}


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def our_units() -> set[str]:
    listed = must("systemctl", "list-units", "--all", "--plain", "--no-legend", "privacy-router*")
    return {line.split()[0] for line in listed.splitlines() if ".service" in line.split()[0]}


def failed_units() -> str:
    return must("systemctl", "list-units", "--failed", "--plain", "--no-legend")


def up() -> None:
    must(ROUTER, "up", "--detach", "--wait", "0")


def is_as_planned() -> bool:
    return bool(json.loads(must(ROUTER, "plan", "--json"))["changes"] == [])


def controller_pid() -> int:
    return int((RUN / "controller.lock").read_text())


@pytest.fixture(scope="module")
def node() -> Iterator[None]:
    """A whole node that was brought up by hand."""
    write_configuration()
    up()
    yield
    must(ROUTER, "down")


@pytest.mark.parametrize("process", ALLOWED)
def test_a_process_is_the_main_one_of_its_unit(node: None, process: str) -> None:
    shown = show(unit_of(process))
    assert int(shown["MainPID"]) == pids()[process]
    assert shown["Slice"] == "privacy-router.slice"
    assert shown["ActiveState"] == "active"


@pytest.mark.parametrize("process", ALLOWED)
def test_a_process_has_only_what_it_needs(node: None, process: str) -> None:
    capabilities, namespace = ALLOWED[process]
    pid = pids()[process]
    status = status_of(pid)
    mask = f"{sum(1 << one for one in capabilities):016x}"
    assert (status["CapBnd"], status["CapPrm"], status["CapEff"]) == (mask, mask, mask)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    home = Path("/run/netns") / namespace if namespace else Path("/proc/1/ns/net")
    assert Path(f"/proc/{pid}/ns/net").stat().st_ino == home.stat().st_ino
    mounts = [Path(f"/proc/{one}/ns/mnt").readlink() for one in (pid, 1)]
    assert mounts[0] != mounts[1]


@pytest.mark.parametrize("process", ALLOWED)
def test_systemd_rates_a_unit_as_confined(node: None, process: str) -> None:
    rated = run("systemd-analyze", "security", "--threshold=30", "--no-pager", unit_of(process))
    assert rated.returncode == 0, rated.stdout


def test_what_a_unit_may_write_and_open(node: None) -> None:
    assert show(unit_of("ovsdb-server"))["BindPaths"].startswith(f"{RUN}/ovs:{RUN}/ovs")
    assert show(unit_of("ovsdb-server"))["RestrictAddressFamilies"] == "AF_UNIX"
    assert show(unit_of("ovs-vswitchd"))["DeviceAllow"].startswith("/dev/net/tun rw")
    for process in ("wg100", "wgcf"):
        assert "/run/wireguard:/run/wireguard" in show(unit_of(process))["BindPaths"]
        assert show(unit_of(process))["DeviceAllow"].startswith("/dev/net/tun rw")
    xray = show(unit_of("xray"))
    assert ("BindPaths" in xray, xray["PrivateDevices"]) == (False, "yes")
    assert "tun" not in xray["DeviceAllow"]
    assert show(unit_of("xray"))["BindReadOnlyPaths"].startswith(f"{RUN}/xray.json:")


def test_no_secret_is_in_what_everybody_may_read(node: None) -> None:
    profile = PROFILE.read_text().split()
    gateway = (STATE / "gateway.key").read_text().strip()
    identity = json.loads((STATE / "xray.json").read_text())
    secrets = {profile[3], gateway, *(text for text in identity.values() if len(str(text)) > 15)}
    assert len(secrets) >= 4
    for process in ALLOWED:
        shown = must("systemctl", "show", unit_of(process))
        assert not [secret for secret in secrets if str(secret) in shown]


def test_what_processes_print_is_for_root_alone(node: None) -> None:
    log = RUN / "log" / "xray.log"
    eventually(lambda: "Xray" in log.read_text(), "XRay says nothing")
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("process", ALLOWED)
def test_a_process_that_is_killed_comes_back_as_a_unit(node: None, process: str) -> None:
    before = pids()[process]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pids().get(process, before) != before, "it did not come back")
    eventually(lambda: show(unit_of(process))["ActiveState"] == "active", "its unit is not there")
    assert int(show(unit_of(process))["MainPID"]) == pids()[process]
    eventually(is_as_planned, "the rest of its hop did not come back")
    for name in ALLOWED:
        assert show(unit_of(name))["Result"] == "success"
    assert failed_units() == ""


def test_units_outlive_the_controller_and_are_adopted(node: None) -> None:
    before = pids()
    assert set(before) == set(ALLOWED)
    controller = controller_pid()
    os.kill(controller, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{controller}").exists(), "it lives")
    assert pids() == before
    up()
    assert pids() == before
    assert our_units() == {unit_of(process) for process in ALLOWED}


def test_down_leaves_nothing(node: None) -> None:
    must(ROUTER, "down")
    eventually(lambda: our_units() == set(), "units are left", timeout_s=5)
    assert failed_units() == ""
    assert [path.name for path in RUN.iterdir()] == ["controller.lock"]
    assert not Path("/run/wireguard").exists()
    assert not Path("/run/netns").exists()


# --- Units on their own ---------------------------------------------------------------------------

OWNER = "/run/supervision-test"
LOG = Path(OWNER) / "log"


@pytest.fixture
def clean() -> Iterator[None]:
    yield
    for process in processes.running(OWNER):
        processes.stop(process)


def test_nodes_with_other_run_directories_have_other_units(clean: None) -> None:
    spec = ProcessSpec("sleeper", ("sleep", "1000"))
    owners = ("/run/privacy-router", OWNER)
    started = [processes.start(spec, owner, LOG) for owner in owners]
    try:
        assert [len(processes.running(owner)) for owner in owners] == [1, 1]
        assert show(unit_of("sleeper"))["MainPID"] == str(started[0].pid)
        assert (
            Path(f"/proc/{started[1].pid}/cgroup")
            .read_text()
            .count(units.name_of("sleeper", OWNER))
        )
    finally:
        processes.stop(started[0])


def test_a_process_can_be_replaced_the_moment_it_is_killed(clean: None) -> None:
    spec = ProcessSpec("sleeper", ("sleep", "1000"))
    seen = set()
    for _ in range(5):
        process = processes.start(spec, OWNER, LOG)
        seen.add(process.pid)
        os.kill(process.pid, signal.SIGKILL)
    assert len(seen) == 5
    assert failed_units() == ""


def test_one_that_runs_already_gives_way(clean: None) -> None:
    spec = ProcessSpec("sleeper", ("sleep", "1000"))
    first, second = (processes.start(spec, OWNER, LOG) for _ in range(2))
    assert [process.pid for process in processes.running(OWNER)] == [second.pid]
    assert first.pid != second.pid


def test_a_program_that_is_not_installed_is_named() -> None:
    spec = ProcessSpec("gone", ("wireguard-gone", "wg0"))
    with pytest.raises(MissingPrerequisiteError, match="wireguard-gone is not installed"):
        processes.start(spec, OWNER, LOG)


def test_a_namespace_that_is_not_there_leaves_no_failed_unit() -> None:
    spec = ProcessSpec("lost", ("sleep", "1000"), namespace=Path("/run/netns/nowhere"))
    with pytest.raises(UnitError, match=r"does not run .*lost.service: its start failed") as caught:
        processes.start(spec, OWNER, LOG)
    assert "journalctl -u" in caught.value.remedy
    assert failed_units() == ""


def test_what_is_not_declared_cannot_be_reached(clean: None, tmp_path: Path) -> None:
    home = Path("/root/checkout")
    home.mkdir()
    (home / "program").write_text(
        "#!/bin/sh\n"
        "cat /root/checkout/data /root/secret\n"
        f"touch {tmp_path}/made /etc/made /root/made /run/made\n"
        "cat /dev/net/tun; unshare -n true; ls /run /run/dbus\n"
        "busctl status; systemctl stop systemd-resolved\n"
        "exec sleep 1000\n"
    )
    (home / "program").chmod(0o755)
    (home / "data").write_text("readable\n")
    Path("/root/secret").write_text("secret\n")
    may = Confinement(writable=(str(tmp_path),), readable=(str(home),))
    spec = ProcessSpec("probe", (str(home / "program"),), confinement=may)
    process = processes.start(spec, OWNER, LOG)
    eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it hangs")
    said = LOG.read_text()
    assert "readable" in said
    assert "secret\n" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert not [path for path in ("/etc/made", "/root/made", "/run/made") if Path(path).exists()]
    for complaint in (
        "/etc/made': Read-only",
        "/run/made': Read-only",
        "/dev/net/tun: No such file",
        "unshare: unshare failed",
        "/run/dbus': No such file",  # whoever asks the other services as root is obeyed
        "Failed to connect to ",  # "bus", or newer: "system scope bus via local transport"
    ):
        assert complaint in said
    assert must("systemctl", "is-active", "systemd-resolved") == "active\n"


def test_in_a_network_of_its_own_a_node_does_without_systemd() -> None:
    program = "from privacy_router.host import units; print(units.are_used())"
    python = ROOT / ".venv/bin/python"
    assert must(python, "-c", program) == "True\n"
    assert must("unshare", "--net", python, "-c", program) == "False\n"
    assert must("unshare", "--mount", python, "-c", program) == "False\n"
