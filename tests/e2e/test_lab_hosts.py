"""The lab itself: hosts that are apart, that end when told, and that leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import ConflictError, ExitCode
from privacy_router.lab import internet, network, register, stage
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for, run_check
from privacy_router.lab.hosts import LabError, LabHost, create_hosts, end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PROBE = ("python", "-P", "-m", "privacy_router.lab.probe")
MTU = "1420"
FURNISHED = {"/proc", "/sys", "/run", "/var/lib", "/etc/hosts", "/etc/resolv.conf"}
CLI = (sys.executable, "-P", "-m", "privacy_router.cli.main", "lab")


def own_name(test: str) -> str:
    return f"t{os.getpid()}-{test}"


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, LabHost]]:
    """Hosts and links only."""
    born: dict[str, LabHost] = {}
    try:
        born = create_hosts(internet.HOSTS, note=lambda _: None)
        network.wire(born)
        yield born
    finally:
        end(born.values())


def mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def traces() -> dict[str, object]:
    """What a lab might leave on the machine."""
    links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    return {
        "links": sorted(link["ifname"] for link in links),
        "mounts": sorted(point for point in mount_points() if point in FURNISHED),
        "wireguard": sorted(Path("/run/wireguard").glob("*")),
        "state": sorted(Path("/var/lib").glob("privacy-router*")),
        "run": sorted(
            path for path in Path("/run").glob("privacy-router*") if path != register.ROOT
        ),
    }


def cli(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*CLI, *arguments), capture_output=True, text=True, timeout=timeout_s, check=False
    )


# --- hosts ----------------------------------------------------------------------------------------


def test_each_host_has_its_own_everything(hosts: dict[str, LabHost]) -> None:
    kinds = ("net", "mnt", "pid", "uts")
    seen = [
        [Path(f"/proc/{pid}/ns/{kind}").readlink() for kind in kinds]
        for pid in ("self", *(host.pid for host in hosts.values()))
    ]
    for column in zip(*seen, strict=True):
        assert len(set(column)) == len(seen)


def test_a_hosts_files_are_not_the_machines(hosts: dict[str, LabHost]) -> None:
    script = "hostname; ls /run /var/lib; cat /etc/hosts; ls /sys/class/net; touch /run/mine"
    shown = hosts["vps"].run(("sh", "-c", script)).stdout.split()
    assert shown[0] == "vps"
    assert {internet.API_NAME, "to-cloudflare", "to-web", "lo", "lab"} <= set(shown)
    assert "dpkg" not in shown
    assert hosts["vps"].file("/run/mine").exists()
    assert not Path("/run/mine").exists()
    assert not hosts["web"].file("/run/mine").exists()


def test_no_host_reaches_the_machine_or_its_network(hosts: dict[str, LabHost]) -> None:
    network.verify_isolation(hosts)
    found = subprocess.run(["ip", "-j", "addr"], check=True, capture_output=True, text=True).stdout
    own = [
        address["local"]
        for link in json.loads(found)
        for address in link["addr_info"]
        if address["scope"] == "global"
    ]
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
        "s.settimeout(0.3)\n"
        "sys.exit(0 if s.connect_ex((sys.argv[1], 22)) in (101, 113, 11) else 1)\n"
    )
    for address in own:
        for host in ("client", "isp", "web"):
            assert hosts[host].run(("python", "-c", script, address)).returncode == 0


@pytest.mark.parametrize("version", ["-4", "-6"])
@pytest.mark.parametrize("host", ["client", "node", "vps"])
def test_the_web_is_reached_at_once(hosts: dict[str, LabHost], host: str, version: str) -> None:
    result = hosts[host].run(("ping", version, "-c1", "-W1", internet.WEB_NAME))
    assert result.returncode == 0, result.stdout


def test_hosts_say_nothing_unasked(hosts: dict[str, LabHost]) -> None:
    node = {name: host.run(("cat", "/proc/net/dev")).stdout for name, host in hosts.items()}
    assert all("to-" in text for text in node.values())
    settings = hosts["node"].run(("cat", "/proc/sys/net/ipv6/conf/to-isp/router_solicitations"))
    assert settings.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("no-such-program",), 127),
        (("/etc/hosts",), 126),
    ],
)
def test_a_command_ends_with_its_own_exit_code(
    hosts: dict[str, LabHost], argv: tuple[str, ...], code: int
) -> None:
    assert hosts["client"].run(argv).returncode == code


def test_a_command_that_takes_too_long_is_ended(
    hosts: dict[str, LabHost],
) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        hosts["client"].run(("sleep", "1000"), 0.3)
    assert "sleep 1000" not in hosts["client"].run(("ps", "ax", "-o", "args")).stdout


def test_a_command_is_gone_when_its_killing_was_waited_for(hosts: dict[str, LabHost]) -> None:
    """However busy the machine is: what a test looks at next has no trace of it."""
    script = "trap '' TERM; echo begun; while true; do sleep 1; done"
    for _ in range(20):
        process = hosts["client"].popen(("sh", "-c", script), stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            process.kill()
        assert "echo begun" not in hosts["client"].run(("ps", "ax", "-o", "args")).stdout


def test_orphans_are_collected(hosts: dict[str, LabHost]) -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0 &); done; sleep 0.2"
    hosts["web"].run(("sh", "-c", script))
    assert "defunct" not in hosts["web"].run(("ps", "ax")).stdout


def test_killing_a_hosts_pid_1_ends_everything_in_it() -> None:
    born = create_hosts(("client", "isp"), note=lambda _: None)
    try:
        service = born["client"].spawn("sleeper", ("sleep", "1000"))
        assert service.alive
        os.kill(born["client"].pid, signal.SIGKILL)
        end(born.values())
        assert [one.alive for one in (service, born["client"])] == [False, False]
        late = born["client"].run(("true",))
        assert late.returncode == 125
        assert "lab up" in late.stderr
    finally:
        end(born.values())


def test_hosts_die_with_their_builder_before_it_has_noted_them() -> None:
    noted: list[LabHost] = []

    def fail(born: list[LabHost]) -> None:
        noted.extend(born)
        raise RuntimeError("the builder breaks here")

    with pytest.raises(RuntimeError, match="breaks here"):
        create_hosts(("client",), note=fail)
    end(noted)
    assert not any(host.alive for host in noted)


def test_a_small_disk_is_small() -> None:
    born = create_hosts(("node",), note=lambda _: None, state_size_bytes=64 * 1024)
    try:
        result = born["node"].run(("dd", "if=/dev/zero", "of=/var/lib/big", "bs=100k", "count=1"))
        assert "No space left" in result.stderr
    finally:
        end(born.values())


# --- captures, without a node: what is in clear is seen ------------------------------------------


@pytest.mark.parametrize("name", [internet.TRACE_NAME, internet.OTHER_TRACE_NAME])
def test_the_trace_page_is_served_by_both_names(bare_lab: Lab, name: str) -> None:
    """wgcf asks for it without `www.`, over TLS 1.2; the name and the certificate have to fit."""
    page = ("curl", "-sf", "--tls-max", "1.2", f"https://{name}/cdn-cgi/trace")
    found = bare_lab["node"].run(page)
    assert found.returncode == 0, found.stderr
    assert f"h={name}" in found.stdout
    assert "warp=off" in found.stdout


def test_the_captures_see_cleartext_where_there_is_no_tunnel(bare_lab: Lab) -> None:
    token = new_token()
    rules = rules_for(bare_lab.config, token)
    with Captures(bare_lab.hosts, rules) as captures:
        probes = json.loads(bare_lab["client"].run((*PROBE, token, MTU)).stdout)
        assert all(probe["ok"] for probe in probes), probes
        bare_lab["node"].run((*PROBE, token, MTU))
    assert captures.dropped == 0
    seen = captures.evidence
    for link in ("client-isp", "web-isp", "node-isp"):
        assert seen[link].cleartext_packets > 20, captures.examples
    assert seen["node-isp"].foreign_packets > 20
    assert seen["client-isp"].foreign_packets == 0
    assert seen["web-vps"].payload_packets == 0


def test_a_check_without_a_tunnel_fails_and_says_why(bare_lab: Lab, tmp_path: Path) -> None:
    report = run_check(bare_lab, tmp_path)
    assert not report.ok
    assert report.cleartext_packets > 0
    assert (report.exit_is_vps, report.vps_sees_warp, report.payload_seen_at_web) == (False,) * 3
    assert (report.tcp, report.udp, report.dns, report.ipv6) == (True,) * 4
    assert any("plain DNS query" in problem for problem in report.problems)
    read = subprocess.run(
        ["tcpdump", "-nnr", str(tmp_path / "client-isp.pcap"), "port", "53"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{internet.address_of('client')}." in read.stdout


# --- the whole lab, by its commands --------------------------------------------------------------


def test_a_second_lab_lives_beside_the_first_and_a_second_up_is_refused(bare_lab: Lab) -> None:
    other = own_name("beside")
    try:
        second = stage.up(other, with_node=False)
        assert {bare_lab.name, other} <= set(register.names())
        pids = {host.pid for lab in (bare_lab, second) for host in lab.hosts.values()}
        assert len(pids) == 2 * len(internet.HOSTS)
        with pytest.raises(ConflictError, match="up already"):
            stage.up(other, with_node=False)
    finally:
        stage.down(other)
    assert stage.find(bare_lab.name)
    with pytest.raises(ConflictError, match="not up"):
        stage.find(other)


def test_up_clears_away_what_a_crash_left() -> None:
    name = own_name("crash")
    before = traces()
    try:
        first = stage.up(name, with_node=False)
        os.kill(first["vps"].pid, signal.SIGKILL)
        end([first["vps"]])
        with pytest.raises(ConflictError, match="vps have ended"):
            stage.find(name)
        second = stage.up(name, with_node=False)
        assert not any(host.alive for host in first.hosts.values())
        assert all(host.alive for host in second.hosts.values())
    finally:
        stage.down(name)
    assert traces() == before


def test_a_lab_whose_node_has_no_room_for_its_keys_says_so_and_is_gone() -> None:
    name = own_name("full")
    before = traces()
    with pytest.raises(LabError, match="free some space") as caught:
        stage.up(name, state_size_bytes=4096)
    assert caught.value.exit_code == ExitCode.STORAGE
    assert name not in register.names()
    assert traces() == before


def test_the_commands_build_check_enter_and_end_a_lab(tmp_path: Path) -> None:
    name = own_name("cli")
    before = traces()
    try:
        built = cli("up", "--name", name, "--json")
        assert built.returncode == 0, built.stderr
        assert set(json.loads(built.stdout)["hosts"]) == set(internet.HOSTS)
        again = cli("up", "--name", name)
        assert (again.returncode, "up already" in again.stderr) == (5, True)

        checked = cli("check", "--name", name, "--json", "--pcap", str(tmp_path))
        report = json.loads(checked.stdout)
        assert checked.returncode == 0, report
        assert report["ok"]
        assert report["exit_ip"] == str(internet.VPS[0])
        assert (report["cleartext_packets"], report["foreign_packets"]) == (0, 0)
        assert [hop["name"] for hop in report["hops"]] == ["gateway", "warp", "xray"]
        assert all(hop["rx_bytes"] and hop["tx_bytes"] and hop["flows"] for hop in report["hops"])
        assert len(list(tmp_path.glob("*.pcap"))) == len(internet.CABLES)

        asked = cli(
            "exec", "--name", name, "client", "--", "curl", "-s", "http://web.example.net/ip"
        )
        assert asked.stdout.strip() in map(str, internet.VPS)
        assert cli("exec", "--name", name, "vps", "--", "sh", "-c", "exit 9").returncode == 9
        assert cli("exec", "--name", name, "moon", "--", "true").returncode == 5
    finally:
        ended = cli("down", "--name", name)
    assert ended.returncode == 0
    assert cli("status", "--name", name).returncode == 5
    assert traces() == before


def test_the_demonstration_ends_with_the_proof_and_leaves_nothing(tmp_path: Path) -> None:
    before = traces()
    picture = tmp_path / "demo.svg"
    shown = cli("demo", "--seconds", "2", "--svg", str(picture))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "every promise holds" in shown.stdout
    assert "✗" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert "<svg" in picture.read_text()
    assert traces() == before
