"""Commands that need neither root nor a network: init, check, schema, and every --help."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from privacy_router.cli.deferred import DeferredCommand
from privacy_router.cli.main import app
from privacy_router.cli.resource_view import _line, flat, summary
from privacy_router.client.rows import ChangeRow
from privacy_router.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator


SEED = Path(__file__).parents[2] / "examples/seed.json"
FAULTY = {
    "version": 1,
    "plugins": {
        "privacy_router": {
            "wireguard": {"listen_prot": 51820},
            "warp": {"mtu": "large"},
            "xray": {"vps_address": "not an address"},
        }
    },
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own and without a terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "privacy_router.cli.main", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FAULTY))
    return str(path)


@pytest.mark.parametrize("example", sorted(SEED.parent.glob("*.json")), ids=lambda path: path.stem)
def test_every_example_is_valid(example: Path) -> None:
    result = run("check", "--only-file", str(example))
    assert result.returncode == 0, result.stderr
    assert "valid" in result.stdout


def test_check_names_every_problem_at_once(faulty: str) -> None:
    result = run("check", faulty)
    assert result.returncode == ExitCode.INVALID_CONFIG
    for word in ("listen_prot", "listen_port", "mtu", "vps_address", faulty):
        assert word in result.stderr


def test_check_names_every_problem_for_scripts(faulty: str) -> None:
    result = run("check", faulty, "--json")
    assert result.returncode == ExitCode.INVALID_CONFIG
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert not report["ok"]
    places = json.dumps(report["problems"])
    assert len(report["problems"]) == 3
    assert all(word in places for word in ("listen_prot", "mtu", "vps_address"))


def test_check_of_a_good_file_for_scripts() -> None:
    report = json.loads(run("check", "--only-file", str(SEED), "--json").stdout)
    assert report["ok"]
    assert report["obstacles"] == []
    assert report["problems"] == []
    assert all(isinstance(note, str) for note in report["notes"])


def test_check_names_all_that_would_stop_up(tmp_path: Path) -> None:
    """The file is valid, and cannot work here."""
    (tmp_path / "gateway.key").write_text("no key\n")
    (tmp_path / "state").mkdir()
    section = {
        "wireguard": {"zero_config": False, "private_key_file": f"{tmp_path}/gateway.key"},
        "warp": {"wgcf_config": f"{tmp_path}/wgcf.conf"},
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": section}}))
    places = {"PRIVACY_ROUTER_STATE": str(tmp_path / "state")}
    result = run("check", str(file), "--json", **places)
    assert result.returncode == ExitCode.CHECK_FAILED
    report = json.loads(result.stdout)
    found = {one["key"]: one for one in report["obstacles"]}
    assert (report["ok"], report["problems"]) == (False, [])
    assert {"wireguard.private_key_file", "warp.wgcf_config"} <= found.keys()
    assert "wgcf.conf: No such file" in found["warp.wgcf_config"]["reason"]
    assert all(one["remedy"] for one in found.values())
    for word in ("warp.wgcf_config", "wireguard.private_key_file", "remedy:"):
        assert word in run("check", str(file), **places).stderr
    assert run("check", str(file), "--only-file", **places).returncode == 0


def test_check_says_that_the_terms_are_not_accepted(tmp_path: Path) -> None:
    places = {"PRIVACY_ROUTER_STATE": str(tmp_path / "state")}
    path = str(tmp_path / "config.json")
    run("init", path)
    result = run("check", path, **places)
    assert result.returncode == ExitCode.CHECK_FAILED
    assert "warp.accept_terms" in result.stderr
    assert "set warp.accept_terms to true" in result.stderr


FORBIDDEN_FLOW = {
    "match_fields": {"in_port": "internal_100"},
    "actions": ["output:internal_101"],
}


def test_check_refuses_a_flow_that_bypasses_a_hop(tmp_path: Path) -> None:
    openflow = {"privacy_flows": [FORBIDDEN_FLOW]}
    section = {"xray": {"vps_address": "192.0.2.9"}, "openflow": openflow}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": section}}))
    result = run("check", str(file), "--json")
    assert result.returncode == ExitCode.INVALID_CONFIG
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["path"] == "plugins.privacy_router.openflow.privacy_flows[0]"
    assert "off the chain" in problem["found"]
    assert "warp0" in problem["expected"]


def test_check_compiles_the_flows_of_other_bridges(tmp_path: Path) -> None:
    flow = {"match_fields": {"tcp_dst": 25}, "actions": ["outptu:eth1"]}
    bridges = {"vmbr0": {"flows": [flow]}}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"version": 1, "plugins": {"openflow": {"bridges": bridges}}}))
    result = run("check", str(file), "--json")
    assert result.returncode == ExitCode.INVALID_CONFIG
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["path"] == "plugins.openflow.bridges.vmbr0.flows[0].actions[0]"
    assert "no such action" in problem["found"]


def checked_with_profile(tmp_path: Path, text: str | None) -> list[str]:
    """The notes on a configuration that imports a profile of that text; None: it is not there."""
    profile = tmp_path / "wgcf-profile.conf"
    if text is not None:
        profile.write_text(text)
    file, section = tmp_path / "config.json", {"warp": {"wgcf_config": str(profile)}}
    file.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": section}}))
    result = run("check", "--only-file", str(file), "--json")
    assert result.returncode == 0, result.stderr
    notes: list[str] = json.loads(result.stdout)["notes"]
    return [note for note in notes if note.startswith("warp.wgcf_config")]


KEY = "c2VjcmV0IGtleSBtYXRlcmlhbCBvZiB0aGlzIHRlc3Q="
PROFILE = f"""[Interface]
PrivateKey = {KEY}
Address = 172.16.0.2/32
ListenPort = 51820
Table = off
[Peer]
PublicKey = {KEY}
AllowedIPs = 10.0.0.0/8
Endpoint = 192.0.2.1:2408
PersistentKeepalive = 15
"""


def test_check_names_what_of_a_profile_is_not_in_force(tmp_path: Path) -> None:
    notes = checked_with_profile(tmp_path, PROFILE)
    assert [note.partition(": ")[0] for note in notes] == [
        f"warp.wgcf_config, {key}" for key in ("ListenPort", "Table", "AllowedIPs")
    ]
    assert KEY not in str(notes)
    file = tmp_path / "config.json"
    assert "ListenPort: not in force; " in run("check", str(file), "--only-file").stderr


@pytest.mark.parametrize("text", [None, "[Interface]"])
def test_check_says_once_that_a_profile_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    (note,) = checked_with_profile(tmp_path, text)
    assert "wgcf-profile.conf" in note
    result = run("check", str(tmp_path / "config.json"), "--json")
    assert result.returncode == ExitCode.CHECK_FAILED
    found = json.loads(result.stdout)
    assert json.dumps(found["obstacles"]).count("wgcf-profile.conf") == 1
    assert "wgcf-profile.conf" not in json.dumps(found["notes"])


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_check_of_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    result = run("check", str(tmp_path / name))
    assert result.returncode == ExitCode.STORAGE
    assert "remedy:" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_schema_is_json_and_knows_the_sections() -> None:
    result = run("schema")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert document["$schema"].startswith("https://json-schema.org/")
    assert all(word in result.stdout for word in ("wireguard", "warp", "xray"))


def test_init_writes_what_check_accepts_and_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    options = ("--vps", "vps.example.com", "--accept-warp-terms")
    written = run("init", str(path), *options)
    assert written.returncode == 0, written.stderr
    assert run("check", "--only-file", str(path)).returncode == 0
    before = path.read_bytes()
    again = run("init", str(path))
    assert again.returncode == ExitCode.CONFLICT
    assert "--force" in again.stderr
    assert path.read_bytes() == before
    assert run("init", str(path), "--force").returncode == 0
    assert path.read_bytes() != before


def test_init_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("init", str(tmp_path / "file" / "config.json"))
    assert result.returncode == ExitCode.STORAGE
    assert "remedy:" in result.stderr
    assert "Traceback" not in result.stderr


def every_command() -> Iterator[tuple[str, ...]]:
    root: Any = typer.main.get_command(app)

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        loaded = command.load() if isinstance(command, DeferredCommand) else command
        for name, child in getattr(loaded, "commands", {}).items():
            yield from walk(child, (*path, name))

    yield from walk(root, ())


def test_every_command_explains_itself() -> None:
    from typer.testing import CliRunner

    runner = CliRunner()
    commands = list(every_command())
    assert len(commands) > 40
    for command in commands:
        result = runner.invoke(app, [*command, "--help"])
        assert result.exit_code == 0, command
        usage, _, rest = result.stdout.partition("\n\n")
        assert "Usage:" in result.stdout, command
        assert len((usage + rest).split()) > 8, f"{command} says next to nothing"


def test_a_command_that_is_not_there_is_a_matter_of_usage() -> None:
    result = run("frobnicate")
    assert result.returncode == ExitCode.INVALID_CONFIG
    assert "frobnicate" in result.stderr


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1", "TERM": "xterm-256color"}])
def test_no_escape_codes_without_a_terminal(faulty: str, environment: dict[str, str]) -> None:
    for arguments in (("check", str(SEED)), ("check", faulty), ("--help",), ("--version",)):
        result = run(*arguments, **environment)
        assert "\x1b" not in result.stdout + result.stderr, arguments


def test_what_the_machine_says_is_one_line_and_no_command_of_the_terminal() -> None:
    shown = flat({"content": "one\ntwo \x1b[31mred\x07", "mode": "0644"})
    assert shown == r"content=one\ntwo \u001b[31mred\u0007 mode=0644"


def test_a_flow_says_its_match_once() -> None:
    flow = {"match": "ip,nw_src=169.254.0.0/16", "actions": "drop"}
    name = f"ovsbr0/002 00180 {flow['match']}"
    row = ChangeRow("add", "openflow", "flow", name, None, flow, "enforce", "")
    assert _line(row).plain.endswith("ovsbr0/002 00180 ip,nw_src=169.254.0.0/16 → drop")
    named = {"match": "ip,in_port=internal_100,dl_src=02:00:00:00:00:01", "actions": "output:warp0"}
    name = "ovsbr0/005 00180 ip,in_port=2,dl_src=02:00:00:00:00:01"
    for row in (
        ChangeRow("add", "openflow", "flow", name, None, named, "enforce", ""),
        ChangeRow("remove", "openflow", "flow", name, named, None, "enforce", ""),
    ):
        assert _line(row).plain.endswith(f"/005 00180 {named['match']} → output:warp0")
        assert "in_port=2" not in _line(row).plain


def test_many_changes_of_the_node_are_a_line_for_each_hop() -> None:
    rows = [
        ChangeRow(
            "add", "net", kind, f"{place}/{number}", None, {}, "enforce", "privacy_router", note
        )
        for place, note in (("pr-gateway", ""), ("pr-warp", "not known: the account"))
        for kind, count in (("address", 4), ("route", 7))
        for number in range(count)
    ]
    rows.append(
        ChangeRow("change", "net", "route", "pr-warp/1", "a", "b", "enforce", "privacy_router")
    )
    assert [line.plain.split() for line in summary(rows)] == [
        ["pr-gateway", "+", "4", "address,", "7", "route"],
        [
            "pr-warp",
            "+",
            "4",
            "address,",
            "7",
            "route",
            "~",
            "1",
            "route",
            "not",
            "known:",
            "the",
            "account",
        ],
    ]


def test_the_exit_codes_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    for code in ExitCode:
        assert f"\n| {int(code)} |" in text, code.name


FAILING_DETACHED = """
import sys
from pathlib import Path
from privacy_router.cli.output import complaints
from privacy_router.daemon.local import lifetime
from privacy_router.errors import ConflictError

def serve(lock, controller, on_ready):
    if sys.argv[1] == "later":
        on_ready()
    raise {"known": ConflictError("that is taken")}.get(sys.argv[1], RuntimeError("bang"))

lifetime.serve = serve
lifetime._detach(None, None, Path(sys.argv[2]), complaints)
"""


@pytest.mark.parametrize(
    ("when", "code", "word"),
    [("known", ExitCode.CONFLICT, "that is taken"), ("unknown", ExitCode.FAILURE, "bang")],
)
def test_what_fails_in_the_background_is_told_in_the_foreground(
    tmp_path: Path, when: str, code: ExitCode, word: str
) -> None:
    argv = [sys.executable, "-c", FAILING_DETACHED, when, str(tmp_path / "log")]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == code
    assert word in result.stderr


def test_what_fails_in_the_background_later_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "controller.log"
    argv = [sys.executable, "-c", FAILING_DETACHED, "later", str(log)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0
    deadline, pause = time.monotonic() + 30, threading.Event()
    while "RuntimeError: bang" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline, "the log says nothing"
        pause.wait(0.01)
    assert log.stat().st_mode & 0o777 == 0o600
