"""`flows` without a node: what can be said from the configuration alone, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy_router.cli.main import app
from privacy_router.errors import ExitCode
from privacy_router.report.flows import Explained, FlowText, NoSuchFlowError, choose

SEED = Path(__file__).parents[2] / "examples/seed.json"


def flows(*arguments: str, config: Path = SEED) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own and without a terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "privacy_router.cli.main", "flows", *arguments],
        env={"PATH": "/usr/bin:/bin", "PRIVACY_ROUTER_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_flow_is_explained_without_a_node() -> None:
    told = flows("explain")
    assert told.returncode == 0, told.stderr
    for words in (
        "IPv4 packets from warp0 to 10.101.0.0/24 leave by internal_100.",
        "plugins.privacy_router.openflow.privacy_flows[0] asks for it: WireGuard gateway",
        "get TTL 64 and go on to the table privacy.",
        "IPv4 packets that are fragments are dropped.",
    ):
        assert words in told.stdout
    assert "the node is down" in told.stderr
    assert "\x1b" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("wanted", "there", "not_there"),
    [
        ("privacy", "leave by warp0", "TTL"),
        ("internal_200", "function vector_db", "bucket_storage"),
        ("function_routing[1]", "bucket_storage", "vector_db"),
    ],
    ids=["a table", "a port", "a key"],
)
def test_only_what_was_asked_for_is_explained(wanted: str, there: str, not_there: str) -> None:
    told = flows("explain", wanted)
    assert told.returncode == 0, told.stderr
    assert there in told.stdout
    assert not_there not in told.stdout


def test_explain_for_scripts() -> None:
    rows = json.loads(flows("explain", "privacy", "--json").stdout)
    assert {row["table"] for row in rows} == {"privacy"}
    assert [row["priority"] for row in rows] == sorted(
        (row["priority"] for row in rows), reverse=True
    )
    first = rows[0]
    assert first["match"].startswith("ip,in_port=warp0")
    assert first["actions"] == "output:internal_100"
    assert first["port"] == "warp0"
    assert first["words"].startswith("IPv4 packets from warp0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain", "nonsense"), ("nonsense", "remedy:", "neighbours", "internal_201")),
        (("dump", "--table", "nonsense"), ("nonsense", "privacy")),
        (("watch", "--count", "0"), ("--count",)),
        (("watch", "--seconds", "-1"), ("--seconds",)),
    ],
    ids=lambda value: " ".join(value[:2]) if "nonsense" not in value[:1] else "",
)
def test_what_is_not_there_is_a_matter_of_usage(
    arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    told = flows(*arguments)
    assert told.returncode == ExitCode.INVALID_CONFIG
    assert all(word in told.stderr for word in words), told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("command", ["dump", "diff", "explain", "trace", "watch"])
def test_every_command_takes_a_configuration_and_speaks_json(command: str) -> None:
    told = CliRunner().invoke(app, ["flows", command, "--help"])
    assert told.exit_code == 0
    assert "--json" in told.stdout
    assert "--config" in told.stdout


def test_a_bad_configuration_is_told_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"version": 1, "plugins": {"privacy_router": 7}}')
    told = flows("explain", config=path)
    assert told.returncode == ExitCode.INVALID_CONFIG
    assert str(path) in told.stderr


# --- choosing ------------------------------------------------------------------------------------


def row(match: str, port: str | None = None, table: str = "rates", reason: str = "") -> Explained:
    return Explained(FlowText(table, 1, match, "drop", "", reason), port, "")


NAMES = {1: "internal_20", 2: "internal_200", 3: "ttl"}


def test_a_ports_name_is_no_part_of_another() -> None:
    rows = [row("in_port=internal_20"), row("in_port=internal_200", "internal_200"), row("ip")]
    assert choose(rows, "internal_20", NAMES) == rows[:1]
    assert choose(rows, "internal_200", NAMES) == rows[1:2]
    assert choose(rows, "internal_2", NAMES) == rows[:2]


def test_any_text_will_do_in_any_case() -> None:
    rows = [row("tcp", reason="Xmas scan"), row("udp")]
    assert choose(rows, "XMAS", NAMES) == rows[:1]


def test_a_table_comes_before_a_port_of_that_name() -> None:
    rows = [row("", "ttl"), row("", table="ttl")]
    assert choose(rows, "ttl", NAMES) == rows[1:]


def test_nothing_found_is_told_with_what_there_is() -> None:
    with pytest.raises(NoSuchFlowError, match="'nobody'") as caught:
        choose([row("")], "nobody", NAMES)
    assert "internal_200" in caught.value.remedy
