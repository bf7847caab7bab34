"""Bad places: whatever is missing, taken, broken or killed, a clear word and nothing half-done.

Exit codes are those of docs/commands.md.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.host.netlink import Netlink
from privacy_router.lab import internet, stage
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for
from privacy_router.lab.hosts import NODE_CONFIG, LabHost
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.lab.hosts import LabHost
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

UP = ("privacy-router", "up", "--detach", "--wait", "0")
DOWN = ("privacy-router", "down")
NOBODY = ("setpriv", "--reuid", "65534", "--clear-groups")
RUN = "/run/privacy-router"
STATE_BYTES = 8 * 1024 * 1024
PATIENCE_S = 15.0


@pytest.fixture(scope="module")
def site(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is not up, and has little room for its state."""
    try:
        yield stage.up(lab_prefix, with_node=False, state_size_bytes=STATE_BYTES)
    finally:
        stage.down(lab_prefix)


@dataclass(frozen=True)
class Traces:
    """What the node could leave behind on a host."""

    namespaces: frozenset[str]
    links: frozenset[str]
    processes: tuple[str, ...]
    files: frozenset[str]
    tables: str

    @classmethod
    def of(cls, host: LabHost) -> Traces:
        with Netlink(host.network) as netlink:
            links = frozenset(netlink.links())
        return cls(
            namespaces=names_in(host.file("/run/netns")),
            links=links,
            processes=tuple(sorted(commands_of(host))),
            files=names_in(host.file(RUN)) | names_in(host.file("/run/wireguard")),
            tables=host.run(("nft", "list", "ruleset")).stdout,
        )


def names_in(directory: Path) -> frozenset[str]:
    found = directory.rglob("*") if directory.is_dir() else ()
    return frozenset(path.name for path in found) - {"controller.lock"}


def commands_of(host: LabHost) -> Iterator[str]:
    """What runs in the host beside its PID 1."""
    home = Path(f"/proc/{host.pid}/ns/pid").stat().st_ino
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and (entry / "ns/pid").stat().st_ino == home
            if mine and int(entry.name) != host.pid and b"zombie" not in status_of(entry):
                yield (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended, or is none of our business
            continue


def status_of(entry: Path) -> bytes:
    return (entry / "status").read_bytes()


@pytest.fixture(scope="module")
def clean(site: Lab) -> Traces:
    return Traces.of(site["node"])


@pytest.fixture
def untouched(site: Lab, clean: Traces) -> Iterator[None]:
    """The node's machine is afterwards what it was before."""
    yield
    assert Traces.of(site["node"]) == clean


def refused(result: subprocess.CompletedProcess[str], code: ExitCode, *words: str) -> None:
    """The command ended with that code, a message and a remedy that hold the words."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    message, _, remedy = result.stderr.partition("remedy:")
    assert "error:" in message
    assert remedy.strip()
    for word in words:
        assert word in result.stderr, f"{word!r} is not in {result.stderr!r}"


def await_(condition: Callable[[], bool], what: str) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        pause.wait(0.005)


def status(lab: Lab, *options: str) -> dict[str, Any]:
    result = lab["node"].run(("privacy-router", "status", "--json", *options))
    assert result.stdout, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def configure(host: LabHost, path: str, base: Lab, **sections: dict[str, Any]) -> str:
    """Write the lab's configuration with other wishes to another file."""
    document = json.loads(base["node"].file(NODE_CONFIG).read_text())
    for name, wishes in sections.items():
        document["plugins"]["privacy_router"].setdefault(name, {}).update(wishes)
    host.write(Path(path), json.dumps(document).encode())
    return path


# --- not allowed, not installed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("up",), ("down",), ("client", "add", "tablet"), ("status",), ("plan",), ("flows", "dump")],
    ids=" ".join,
)
def test_not_root(site: Lab, untouched: None, command: tuple[str, ...]) -> None:
    result = site["node"].run((*NOBODY, "privacy-router", *command))
    refused(result, ExitCode.NOT_PRIVILEGED, "root", "sudo")


HIDE_TUN = "mount -t tmpfs none /dev/net"
FALSE_TUN = "mount --bind /dev/null /dev/net/tun"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (HIDE_TUN, ("/dev/net/tun", "modprobe tun")),
        (FALSE_TUN, ("/dev/net/tun", "modprobe tun")),
        (
            "for p in ovs-vswitchd ovsdb-server; do mount --bind /dev/null $(command -v $p); done",
            ("ovs-vswitchd", "apt-get install openvswitch-common openvswitch-switch"),
        ),
    ],
    ids=["no-tun", "false-tun", "no-ovs"],
)
def test_something_is_missing(
    site: Lab, untouched: None, spoil: str, words: tuple[str, ...]
) -> None:
    script = f"{spoil}; exec {' '.join(UP)}"
    result = site["node"].run(("unshare", "--mount", "sh", "-c", script))
    refused(result, ExitCode.MISSING_PREREQUISITE, *words)


def test_wireguard_go_is_missing(site: Lab, untouched: None) -> None:
    script = f"mount --bind /dev/null $(command -v wireguard-go); exec {' '.join(UP)}"
    result = site["node"].run(("unshare", "--mount", "sh", "-c", script))
    if kernel_has_wireguard(site["isp"]):
        assert result.returncode == 0, result.stderr
        assert_goes_down(site)
        return
    words = ("wireguard-go", "apt-get install wireguard-go")
    refused(result, ExitCode.MISSING_PREREQUISITE, *words)


def kernel_has_wireguard(host: LabHost) -> bool:
    with Netlink(host.network) as netlink:
        try:
            netlink.add_wireguard("question")
        except OSError:
            return False
        netlink.delete_link("question")
        return True


# --- taken ---------------------------------------------------------------------------------------


def test_the_port_is_taken(site: Lab, untouched: None) -> None:
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.bind(('0.0.0.0', 51820)); print('bound', flush=True); s.recv(1)"
    )
    argv = (sys.executable, "-c", code)
    with site["node"].popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        result = site["node"].run(UP)
        holder.kill()
    refused(result, ExitCode.CONFLICT, "51820", "wireguard.listen_port")


def test_a_foreign_device_has_a_name_of_the_nodes(site: Lab) -> None:
    for name in ("wg100", "wgcf"):
        with Netlink(site["node"].network) as netlink:
            netlink.add_veth(name, "foreign")
            before = Traces.of(site["node"])
            result = site["node"].run(UP)
            assert Traces.of(site["node"]) == before, "the foreign device stays as it was"
            netlink.delete_link(name)
        refused(result, ExitCode.CONFLICT, name, "rename or remove it")


# --- WARP's account ------------------------------------------------------------------------------

FAULTY_APIS = """
import asyncio, sys
from ipaddress import ip_address
from privacy_router.lab.standins.warp_accounts import TunnelOffer
from privacy_router.lab.standins.warp_api import Fault, WarpApiStandIn

FAULTS = {
    8429: Fault(429, retry_after="77"),
    8403: Fault(403),
    8500: Fault(500),
    8999: Fault(hang=True),
}

async def serve():
    address = ip_address(sys.argv[1])
    offer = TunnelOffer("unused", address, ip_address("2001:db8::1"))
    for port, fault in FAULTS.items():
        await WarpApiStandIn(offer, [], lambda key: None, fault=fault).listen([address], port)
    print("serving", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


@dataclass(frozen=True)
class Attempts:
    """`up` on a machine where nothing else goes on, once for each way in which the API fails."""

    before: Traces
    running: Mapping[int, subprocess.Popen[bytes]]


def paths_for(port: int) -> dict[str, str]:
    return {
        "PRIVACY_ROUTER_STATE": f"/var/lib/attempt-{port}",
        "PRIVACY_ROUTER_RUN": f"/run/attempt-{port}",
    }


@pytest.fixture(scope="module")
def attempts(site: Lab) -> Iterator[Attempts]:
    """Started all at once: the one that meets with silence takes a quarter of a minute."""
    address = str(internet.WARP_API[0])
    before = Traces.of(site["client"])
    argv = (sys.executable, "-c", FAULTY_APIS, address)
    with site["cloudflare"].popen(argv, stdout=subprocess.PIPE) as apis:
        assert apis.stdout is not None
        apis.stdout.readline()
        running = {}
        for port in (8999, 8429, 8403, 8500):
            url = {"api_url": f"http://{address}:{port}"}
            config = configure(site["client"], f"/run/lab/{port}.json", site, warp=url)
            running[port] = site["client"].popen(
                (*UP, "--config", config),
                env=paths_for(port),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        yield Attempts(before, running)
        for process in running.values():
            with process:
                process.kill()
        apis.kill()


def assert_registration_refused(site: Lab, attempts: Attempts, port: int, *words: str) -> None:
    process = attempts.running[port]
    _, errors = process.communicate(timeout=30)
    result = subprocess.CompletedProcess((), process.returncode, "", errors.decode())
    refused(result, ExitCode.REMOTE, "WARP", "warp.wgcf_config", *words)
    state = site["client"].file(paths_for(port)["PRIVACY_ROUTER_STATE"])
    assert not {name for name in names_in(state) if name.startswith("wgcf")}
    assert not names_in(site["client"].file(paths_for(port)["PRIVACY_ROUTER_RUN"]))


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (8429, ("429", "77 s")),
        (8403, ("403", "another network")),
        (8500, ("500", "try again later")),
    ],
)
def test_the_warp_api_refuses(
    site: Lab, attempts: Attempts, port: int, words: tuple[str, ...]
) -> None:
    assert_registration_refused(site, attempts, port, *words)


def test_a_client_that_comes_while_a_start_waits_does_not_end_it(
    site: Lab, attempts: Attempts
) -> None:
    """That start goes on to its own end, which test_the_warp_api_is_silent sees."""
    command = ("privacy-router", "client", "add", "tablet", "--config", "/run/lab/8999.json")
    added = site["client"].run(command, env=paths_for(8999))
    assert added.returncode == 0, added.stderr


def test_down_ends_a_start_that_waits(site: Lab, attempts: Attempts, untouched: None) -> None:
    url = {"api_url": f"http://{internet.WARP_API[0]}:8999"}
    config = configure(site["node"], "/run/lab/waiting.json", site, warp=url)
    env = {"PRIVACY_ROUTER_STATE": "/var/lib/waiting"}
    with site["node"].popen((*UP, "--config", config), env=env) as waiting:
        await_(site["node"].file("/var/lib/waiting/gateway.key").exists, "a start")
        assert_goes_down(site)
        assert waiting.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_the_terms_are_not_accepted(site: Lab, untouched: None) -> None:
    config = configure(site["node"], "/run/lab/terms.json", site, warp={"accept_terms": False})
    result = site["node"].run((*UP, "--config", config))
    refused(result, ExitCode.CONFLICT, "terms", "warp.accept_terms", "https://www.cloudflare.com")
    assert not site["node"].file("/var/lib/privacy-router/wgcf-account.toml").exists()


def test_a_broken_wgcf_profile(site: Lab, untouched: None) -> None:
    secret = "c2VjcmV0LXRoYXQtbm8tbWVzc2FnZS1tYXktc2hvdw"
    text = f"[Interface]\nPrivateKey = {secret}\nAddress = 172.16.0.2/32\n[Peer]\nEndpoint = x:1\n"
    site["node"].write(Path("/run/lab/broken.conf"), text.encode())
    wishes = {"wgcf_config": "/run/lab/broken.conf"}
    config = configure(site["node"], "/run/lab/broken.json", site, warp=wishes)
    result = site["node"].run((*UP, "--config", config))
    refused(result, ExitCode.INVALID_CONFIG, "/run/lab/broken.conf", "wgcf generate")
    assert secret not in result.stderr + result.stdout


# --- files ---------------------------------------------------------------------------------------


@contextmanager
def full_disk(host: LabHost) -> Iterator[None]:
    filler = host.file("/var/lib/filler")
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass  # it is full
    try:
        yield
    finally:
        filler.unlink()


def test_the_disk_is_full_when_keys_are_written(site: Lab, untouched: None) -> None:
    node, state = site["node"], site["node"].file("/var/lib/narrow")
    env = {"PRIVACY_ROUTER_STATE": "/var/lib/narrow"}
    with full_disk(node):
        result = node.run(UP, env=env)
        refused(result, ExitCode.STORAGE, "journal.db", "free some space")
        assert not names_in(state)
    assert node.run(("privacy-router", "client", "list"), env=env).returncode == 0
    made = node.run(("privacy-router", "client", "add", "tablet", "--json"), env=env)
    assert made.returncode == 0, made.stderr
    with full_disk(node):
        result = node.run(UP, env=env)  # no account is asked for that there is no room to keep
        refused(result, ExitCode.STORAGE, "journal.db", "free some space")
        assert names_in(state) == {"gateway.key", "clients.json", "clients.lock", "made"}
        result = node.run(("privacy-router", "client", "add", "laptop"), env=env)
        refused(result, ExitCode.STORAGE, "clients.json")
    listed = node.run(("privacy-router", "client", "list", "--json"), env=env)
    assert [client["name"] for client in json.loads(listed.stdout)] == ["tablet"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("clients.json", '[{"name": "phone"}]', ("clients.json", "backup")),
        ("gateway.key", "not a key", ("gateway.key", "wg genkey")),
        ("xray.json", '{"version": 1}', ("XRay identity", "backup")),
    ],
)
def test_a_damaged_file_of_the_state(
    site: Lab, untouched: None, name: str, content: str, words: tuple[str, ...]
) -> None:
    state = Path("/var/lib/privacy-router") / name
    file = site["node"].file(state)
    whole = file.read_bytes()
    site["node"].write(state, content.encode())
    try:
        result = site["node"].run(UP)
    finally:
        site["node"].write(state, whole)
    refused(result, ExitCode.STORAGE, *words)


@pytest.mark.parametrize(
    ("path", "content", "code", "words"),
    [
        ("/run/lab/nowhere.json", None, ExitCode.STORAGE, ("nowhere.json", "privacy-router init")),
        ("/run/lab", None, ExitCode.STORAGE, ("directory",)),
        ("/run/lab/bad.json", '{"version": 1,', ExitCode.INVALID_CONFIG, ("bad.json",)),
    ],
    ids=["missing", "directory", "broken"],
)
def test_an_unusable_configuration(
    site: Lab,
    untouched: None,
    path: str,
    content: str | None,
    code: ExitCode,
    words: tuple[str, ...],
) -> None:
    if content is not None:
        site["node"].write(Path(path), content.encode())
    refused(site["node"].run((*UP, "--config", path)), code, *words)


# --- killed, and twice ---------------------------------------------------------------------------


def node_paths(lab: Lab) -> NodePaths:
    node = lab["node"]
    return NodePaths(state=node.file("/var/lib/privacy-router"), run=node.file(RUN))


def kill_after(lab: Lab, argv: tuple[str, ...], delay_s: float, *, holds_lock: bool) -> None:
    """Start the command, and kill it that long after it began its work."""
    with lab["node"].popen(argv, stderr=subprocess.DEVNULL) as process:
        if holds_lock:
            await_(lambda: controller_pid(node_paths(lab)) is not None, "a start")
        else:
            await_(lambda: controller_pid(node_paths(lab)) is None, "the controller's end")
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
    await_(lambda: controller_pid(node_paths(lab)) is None, "the end of a killed command")


def assert_comes_up(lab: Lab) -> None:
    result = lab["node"].run(UP)
    assert result.returncode == 0, result.stderr
    found = status(lab, "--no-probe")
    assert found["pending"] == []
    running = [argv for argv in commands_of(lab["node"]) if "enter" not in argv]
    assert found["controller_pid"] is not None
    assert len(running) == len(found["processes"]) + 1, "each runs once, beside the controller"


def assert_goes_down(lab: Lab) -> None:
    result = lab["node"].run(DOWN)
    assert result.returncode == 0, result.stderr


FOREGROUND = ("privacy-router", "up")


def test_up_is_killed_at_any_moment_and_the_next_one_goes_on(site: Lab, untouched: None) -> None:
    for delay_s in (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.2):
        kill_after(site, FOREGROUND, delay_s, holds_lock=True)
    assert_comes_up(site)
    assert_goes_down(site)


@pytest.mark.parametrize("delay_s", [0.1, 0.3, 0.5, 0.8])
def test_up_is_killed_and_down_leaves_nothing(site: Lab, untouched: None, delay_s: float) -> None:
    kill_after(site, FOREGROUND, delay_s, holds_lock=True)
    assert_goes_down(site)


def test_down_is_killed_at_any_moment(site: Lab, untouched: None) -> None:
    for delay_s in (0.02, 0.2):
        assert_comes_up(site)
        kill_after(site, DOWN, delay_s, holds_lock=False)
    assert_comes_up(site)
    kill_after(site, DOWN, 0.1, holds_lock=False)
    assert_goes_down(site)


def test_two_start_at_once_and_a_third_comes_later(site: Lab, untouched: None) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: site["node"].run(UP), range(2)))
    winner, loser = sorted(both, key=lambda result: result.returncode)
    assert winner.returncode == 0, winner.stderr
    refused(loser, ExitCode.CONFLICT, "up already", "privacy-router down")
    before = status(site, "--no-probe")
    third = site["node"].run(UP)
    refused(third, ExitCode.CONFLICT, str(before["controller_pid"]), "privacy-router status")
    after = status(site, "--no-probe")
    assert (after["controller_pid"], after["processes"]) == (
        before["controller_pid"],
        before["processes"],
    )
    assert after["pending"] == []
    assert_goes_down(site)


BEGUN: dict[str, Callable[[LabHost], object]] = {
    "the first namespace": lambda node: names_in(node.file("/run/netns")),
    "the database": lambda node: node.file(f"{RUN}/ovs/db.sock").exists(),
    "the bridge": lambda node: node.file(f"{RUN}/ovs/ovsbr0.mgmt").exists(),
    "the settings of XRay": lambda node: node.file(f"{RUN}/xray.json").exists(),
}


@pytest.mark.parametrize("moment", BEGUN)
@pytest.mark.parametrize("command", [FOREGROUND, UP], ids=["foreground", "detached"])
def test_ctrl_c_takes_down_what_was_begun(
    site: Lab, untouched: None, command: tuple[str, ...], moment: str
) -> None:
    process = site["node"].popen(command, stderr=subprocess.PIPE)
    await_(lambda: bool(BEGUN[moment](site["node"])), moment)
    pid = controller_pid(node_paths(site))
    assert pid is not None
    at_terminal = pid if command == FOREGROUND else parent_of(site["node"], pid)
    site["node"].run(("kill", "-INT", str(at_terminal)))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in errors


def parent_of(host: LabHost, pid: int) -> int:
    lines = host.file(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def test_the_controller_goes_on_when_who_waits_for_it_is_killed(site: Lab, untouched: None) -> None:
    with site["node"].popen(UP, stderr=subprocess.DEVNULL) as process:
        await_(lambda: bool(names_in(site["node"].file("/run/netns"))), "a namespace")
        process.kill()
    log = site["node"].file(RUN) / "log/controller.log"
    await_(log.exists, "the word that the node is up")
    found = status(site, "--no-probe")
    assert found["controller_pid"] is not None
    assert found["pending"] == []
    assert_goes_down(site)


# --- a VPS that does not answer ------------------------------------------------------------------


def test_without_an_answering_vps_the_node_stays_up_and_closed(site: Lab) -> None:
    assert site["vps"].run(("pkill", "-KILL", "-f", "hops.xray.runner")).returncode == 0
    token = new_token()
    traffic = ("python", "-P", "-m", "privacy_router.lab.traffic", token, "7", "50")
    with Captures(site.hosts, rules_for(site.config, token)) as captures:
        result = site["node"].run(("privacy-router", "up", "--detach", "--wait", "1"))
        refused(result, ExitCode.REMOTE, "stays as it is and closed", "privacy-router vps export")
        stage.connect_client(site)
        before = status(site, "--no-probe")
        with site["client"].popen(traffic, stdout=subprocess.PIPE) as sender:
            with pytest.raises(subprocess.TimeoutExpired):
                sender.wait(2.0)
            stage.start_vps(site)
            output, _ = sender.communicate(timeout=20)
    lines = [json.loads(line) for line in output.decode().splitlines()]
    first_s = min(line["t_sent"] for line in lines)
    assert not any(line["ok"] for line in lines if line["t_sent"] < first_s + 0.7)
    assert lines[-1]["ok"], "the chain works once the VPS answers"
    assert captures.dropped == 0
    assert captures.cleartext_packets == 0, captures.examples
    assert captures.foreign_packets == 0, captures.examples
    assert status(site, "--no-probe")["processes"] == before["processes"]
    assert_goes_down(site)


def test_the_warp_api_is_silent(site: Lab, attempts: Attempts) -> None:
    assert_registration_refused(site, attempts, 8999, "does not answer")
