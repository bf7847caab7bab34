"""No command ends in an error because of a character that the terminal cannot encode."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "machine.json"
POOR = ("latin-1", "ascii", "cp1252", "utf-8")
COMMAND = (sys.executable, "-P", "-m", "privacy_router.cli.start")
SAY = "from privacy_router.cli import encoding, output; encoding.write_what_can_be_encoded(); "


def run(encoding: str, *argv: str) -> str:
    environment = {"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    done = subprocess.run(argv, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert b"Traceback" not in done.stderr
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize(
    "command",
    [
        ("check", "--only-file", str(EXAMPLE)),
        ("check", "--only-file", str(EXAMPLE), "--json"),
        ("schema",),
        ("--help",),
        ("lab", "demo", "--help"),
    ],
    ids=" ".join,
)
def test_commands_that_need_no_node(encoding: str, command: tuple[str, ...]) -> None:
    assert run(encoding, *COMMAND, *command)


def test_symbols_are_replaced_by_one_plain_character_each() -> None:
    text = "✓ clients → gateway │ « 12 ▁▄█ … »"
    assert run("ascii", sys.executable, "-c", SAY + f"output.out.print({text!r})") == (
        "+ clients > gateway | < 12 .:# . >\n"
    )
    assert "«" in run("latin-1", sys.executable, "-c", SAY + f"output.out.print({text!r})")
    assert run("utf-8", sys.executable, "-c", SAY + f"output.out.print({text!r})") == f"{text}\n"


@pytest.mark.parametrize("encoding", POOR)
def test_json_stays_json(encoding: str) -> None:
    """Also what Python would write as \\xe9 or \\U0001f600, which JSON does not know."""
    value = {"name": "é ✓ 😀 \udcff"}
    for call in (f"print_json({value!r})", f"print_json_lines([{value!r}])"):
        assert json.loads(run(encoding, sys.executable, "-c", SAY + f"output.{call}")) == value


def test_a_qr_code_has_a_form_that_every_terminal_takes() -> None:
    show = "from privacy_router.cli import clients; clients._show_qr('PrivateKey = …')"
    assert "▀" in run("utf-8", sys.executable, "-c", show)
    poor = run("latin-1", sys.executable, "-c", show)
    assert "\x1b[7m  " in poor
    assert poor.count("\n") > 20


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A file's name may have any bytes (PEP 383)."""
    name = bytes(tmp_path / "node") + b"\xff.json"
    Path(name.decode(errors="surrogateescape")).write_bytes(EXAMPLE.read_bytes())
    shown = subprocess.run(
        (*COMMAND, "check", "--only-file", name),
        env={"PATH": "/usr/bin"},
        capture_output=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert b"is a valid configuration" in shown.stdout
