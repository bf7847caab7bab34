"""Commands on a node that is up: clients come and go, and secrets stay secret."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.host.netlink import Netlink
from privacy_router.lab.hosts import NODE_CONFIG
from tests.e2e.gateway import wireguard_peers

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

RUN = "/run/privacy-router"
STATE = "/var/lib/privacy-router"
PATIENCE_S = 10.0
USABLE_WITHIN_S = 2.0
CONTROLLER_LOG = Path(RUN) / "log/controller.log"

SECOND_DEVICE = """
import socket, sys, time
from ipaddress import ip_network
from privacy_router.host.netlink import Netlink
from privacy_router.values.network import Route
from privacy_router.lab import device, internet
from privacy_router.lab.tunnel import Tunnel

configuration = device.parse_untrusted(sys.stdin.read())
tunnel = Tunnel("wg1")
tunnel.start()
tunnel.configure(configuration.wireguard, configuration.interfaces, configuration.mtu_bytes)
with Netlink() as netlink:
    netlink.replace_route(Route(ip_network(internet.WEB[0]), None, "wg1"))
started = time.monotonic()
while time.monotonic() < started + 10:
    try:
        socket.create_connection((str(internet.WEB[0]), 80), 0.5).close()
        break
    except OSError:
        pass
print(time.monotonic() - started)
"""

TRY_FOR_A_WHILE = """
import socket, sys, time
from privacy_router.lab import internet

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.connect((str(internet.WEB[0]), 7))
    asker.settimeout(0.1)
    answers = 0
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        try:
            asker.send(b"?")
            answers += bool(asker.recv(100))
        except OSError:
            pass
print(answers)
"""


def node(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab["node"].run(("privacy-router", *arguments))


def ask(lab: Lab, *arguments: str) -> Any:
    result = node(lab, *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def await_(condition: Callable[[], bool], what: str) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        pause.wait(0.01)


def log_of(lab: Lab) -> str:
    return lab["node"].file(CONTROLLER_LOG).read_text()


# --- clients -------------------------------------------------------------------------------------


@pytest.fixture
def second_device(lab: Lab) -> Iterator[None]:
    """The client host has room for another device; it is gone afterwards."""
    yield
    with Netlink(lab["client"].network) as netlink:
        netlink.delete_link("wg1")


def test_a_client_comes_while_the_node_is_up_and_is_cut_off_when_removed(
    lab: Lab, second_device: None
) -> None:
    added = ask(lab, "client", "add", "laptop", "--json")
    lab["client"].write(Path("/run/lab/laptop.conf"), added["configuration"].encode())
    script = f"exec {sys.executable} -c '{SECOND_DEVICE}' < /run/lab/laptop.conf"
    connected = lab["client"].run(("sh", "-c", script))
    assert connected.returncode == 0, connected.stderr
    assert float(connected.stdout) < USABLE_WITHIN_S
    try_it = (sys.executable, "-c", TRY_FOR_A_WHILE, "0.5")
    assert int(lab["client"].run(try_it).stdout) > 0
    assert node(lab, "client", "remove", "laptop").returncode == 0
    await_(lambda: len(wireguard_peers(lab)) == 1, "the end of the peer")
    assert int(lab["client"].run(try_it).stdout) == 0
    (phone,) = ask(lab, "client", "list", "--json")
    assert phone["name"] == "phone"
    assert phone["handshake_age_s"] is not None, "it was connected"


def test_two_clients_added_at_once_get_different_addresses(lab: Lab) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda n: ask(lab, "client", "add", n, "--json"), ("one", "two")))
    for kind in ("ipv4", "ipv6", "public_key"):
        assert both[0][kind] != both[1][kind]
    known = ask(lab, "client", "list", "--json")
    assert sorted(client["name"] for client in known) == ["one", "phone", "two"]
    await_(lambda: len(wireguard_peers(lab)) == 3, "news of both clients")
    for name in ("one", "two"):
        assert node(lab, "client", "remove", name).returncode == 0


def test_a_name_that_is_taken_or_not_allowed_or_unknown(lab: Lab) -> None:
    for arguments, code, words in (
        (("add", "phone"), ExitCode.CONFLICT, ("phone", "client remove")),
        (("add", "no spaces"), ExitCode.INVALID_CONFIG, ("no spaces", "letters")),
        (("show", "nobody"), ExitCode.CONFLICT, ("nobody", "phone")),
        (("remove", "nobody"), ExitCode.CONFLICT, ("nobody", "phone")),
    ):
        result = node(lab, "client", *arguments)
        assert result.returncode == code, result.stderr
        assert all(word in result.stderr for word in words), result.stderr
    assert len(ask(lab, "client", "list", "--json")) == 1


# --- a changed configuration ---------------------------------------------------------------------


def test_a_broken_configuration_does_not_touch_the_running_node(lab: Lab) -> None:
    before = ask(lab, "status", "--json")
    whole = lab["node"].file(NODE_CONFIG).read_bytes()
    refusals = log_of(lab).count("the old one stays")
    lab["node"].write(NODE_CONFIG, b'{"version": 1, "plugins": {"privacy_router": 7}}')
    try:
        told = lab["node"].run(("kill", "-HUP", str(before["controller_pid"])))
        assert told.returncode == 0
        await_(lambda: log_of(lab).count("the old one stays") > refusals, "a refusal in the log")
        assert node(lab, "check", str(NODE_CONFIG)).returncode == ExitCode.INVALID_CONFIG
        shown = node(lab, "status")  # of the node that is up
        assert shown.returncode == 0, shown.stdout
        assert f"{NODE_CONFIG} was refused at " in shown.stdout
    finally:
        lab["node"].write(NODE_CONFIG, whole)
    after = ask(lab, "status", "--json")
    assert after["ok"]
    assert after["controller_pid"] == before["controller_pid"]
    assert after["processes"] == before["processes"]


def test_clients_that_come_in_a_hurry_do_not_end_the_controller(lab: Lab) -> None:
    """The signal that tells of a new client comes at any moment, also while one is worked on."""
    before = ask(lab, "status", "--json")
    pid = str(before["controller_pid"])
    loop = f"for i in 1 2 3 4 5 6 7 8 9 10; do kill -{signal.SIGHUP.name[3:]} {pid}; done"
    assert lab["node"].run(("sh", "-c", loop)).returncode == 0
    after = ask(lab, "status", "--json")
    assert after["controller_pid"] == before["controller_pid"]


# --- what commands tell --------------------------------------------------------------------------


def test_nothing_is_pending_and_plan_agrees(lab: Lab) -> None:
    assert ask(lab, "plan", "--json") == {"changes": [], "obstacles": []}
    flows = ask(lab, "flows", "dump", "--json")
    assert flows
    assert all(row["reason"] != "not of this configuration" for row in flows)


def secrets_of(lab: Lab) -> dict[str, str]:
    """Every secret that the node keeps, by where it is kept."""
    state = lab["node"].file(STATE)
    identity = json.loads((state / "xray.json").read_text())
    profile = (state / "wgcf-profile.conf").read_text()
    account = (state / "wgcf-account.toml").read_text()
    found = {
        "gateway": (state / "gateway.key").read_text().strip(),
        **{f"xray {key}": identity[key] for key in ("uuid", "reality_private_key", "short_id")},
    }
    for number, client in enumerate(json.loads((state / "clients.json").read_text())):
        found[f"client {number}"] = client["preshared_key"]
    for name, text in (("profile", profile), ("account", account)):
        for key, value in re.findall(r"(?im)^(\w*(?:key|token)\w*)\s*=\s*['\"]?([^'\"\n]+)", text):
            if not key.lower().startswith("public"):
                found[f"{name} {key}"] = value.strip()
    return found


QUESTIONS = (
    ("status", "--json"),
    ("status",),
    ("plan", "--json"),
    ("plan",),
    ("flows", "dump", "--json"),
    ("flows", "dump"),
    ("client", "list", "--json"),
    ("client", "show", "phone", "--json"),
    ("client", "show", "phone"),
    ("check", str(NODE_CONFIG), "--json"),
)


def test_no_output_log_argument_or_environment_holds_a_secret(lab: Lab) -> None:
    secrets = secrets_of(lab)
    assert {"gateway", "client 0", "xray uuid", "profile PrivateKey"} <= secrets.keys()
    heard = {}
    with ThreadPoolExecutor(2) as pool:
        for question, result in zip(
            QUESTIONS, pool.map(lambda q: node(lab, *q), QUESTIONS), strict=True
        ):
            assert result.returncode == 0, result.stderr
            heard[" ".join(question)] = result.stdout + result.stderr
    for log in lab["node"].file(RUN).joinpath("log").iterdir():
        heard[log.name] = log.read_text(errors="replace")
    for process in lab["node"].file("/proc").iterdir():
        for name in ("cmdline", "environ"):
            if process.name.isdigit():
                heard[f"{process.name} {name}"] = (process / name).read_text(errors="replace")
    assert len(heard) > len(QUESTIONS) + 2 * 6
    for place, text in heard.items():
        for whose, secret in secrets.items():
            assert secret not in text, f"{whose} is in {place}"


def test_files_are_private(lab: Lab) -> None:
    for root in (STATE, RUN):
        top = lab["node"].file(root)
        assert top.stat().st_mode & 0o777 == 0o700
        ours = (path for path in top.rglob("*") if path.parent.name != "ovs")
        files = [path for path in ours if path.is_file()]
        assert files
        for path in files:
            assert path.stat().st_mode & 0o777 == 0o600, path.name
        for path in top.rglob("*"):
            if path.is_dir():
                assert path.stat().st_mode & 0o777 == 0o700, path.name


def test_terminal_output_without_a_terminal_has_no_escape_codes(lab: Lab) -> None:
    for question in (("status",), ("flows", "dump"), ("plan",)):
        result = node(lab, *question)
        assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_cannot_encode_what_is_said(lab: Lab, encoding: str) -> None:
    """The work is done by then; and JSON stays JSON."""
    shown = (*QUESTIONS, ("flows", "explain"), ("client", "add", "tablet"))
    for question in (*shown, ("client", "list"), ("client", "remove", "tablet")):
        command = ("privacy-router", *question)
        result = lab["node"].run(command, env={"PYTHONIOENCODING": encoding})
        assert result.returncode == 0, (question, result.stderr)
        assert "Traceback" not in result.stderr
        if "--json" in question:
            json.loads(result.stdout)
    assert [client["name"] for client in ask(lab, "client", "list", "--json")] == ["phone"]


def test_vps_export_is_written_once_and_privately(lab: Lab) -> None:
    file = "/run/lab/server.json"
    assert node(lab, "vps", "export", "--output", file).returncode == 0
    assert lab["node"].file(file).stat().st_mode & 0o777 == 0o600
    again = node(lab, "vps", "export", "--output", file)
    assert again.returncode == ExitCode.CONFLICT
    assert "--force" in again.stderr
