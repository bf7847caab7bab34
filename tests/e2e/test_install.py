"""packaging/install with real packages: what it needs at run time is what the lock gives it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
OFFLINE = ("NewConnectionError", "Temporary failure in name resolution", "Network is unreachable")
LOAD_ALL = """
import importlib, pkgutil, privacy_router
for module in pkgutil.walk_packages(privacy_router.__path__, "privacy_router."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def install(prefix: Path, destdir: Path) -> str:
    command = (ROOT / "packaging/install", "--prefix", prefix, "--destdir", destdir)
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if done.returncode != 0 and any(words in done.stderr for words in OFFLINE):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_package_of_it_runs_where_it_is_unpacked(tmp_path: Path) -> None:
    prefix, destdir = tmp_path / "opt" / "router", tmp_path / "package"
    assert "hashes checked" in install(prefix, destdir)
    assert "Installing" not in install(prefix, destdir), "what is the same stays"
    unit = destdir / "usr/lib/systemd/system/op-dbus.service"
    assert f"ExecStart={prefix}/bin/op-dbus run\n" in unit.read_text()
    assert (destdir / "usr/local/bin/op-dbus").readlink() == prefix / "bin/op-dbus"
    prefix.parent.mkdir()
    Path(f"{destdir}{prefix}").rename(prefix)
    version = run(prefix / "bin/op-dbus", "--version").strip()
    assert run(prefix / "bin/privacy-router", "--version") == f"privacy-router {version}\n"
    run(prefix / "bin/privacy-router", "check", "--only-file", ROOT / "examples/machine.json")
    run(prefix / "bin/python", "-P", "-c", LOAD_ALL)


def files_only(destdir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = (str(ROOT / "packaging/install"), "--destdir", str(destdir), "--files-only", *more)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_another_programs_unit_of_that_name_is_left(tmp_path: Path) -> None:
    """It is neither overwritten nor taken away; our own files go."""
    unit = tmp_path / "usr/lib/systemd/system/op-dbus.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/bin/another-op-dbus\n")
    refusal = files_only(tmp_path)
    assert refusal.returncode == 1
    assert f"{unit} is another program's; nothing was installed" in refusal.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [unit]
    text = unit.read_text()
    unit.unlink()
    assert files_only(tmp_path).returncode == 0
    unit.write_text(text)
    assert files_only(tmp_path, "--uninstall").returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [unit]
