"""The files around the code say what is true: lock, README, Makefile, dependency notes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements: list[str]) -> set[str]:
    return {normalised(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}


RUNTIME = names_of(PROJECT["dependencies"])
DEVELOPMENT = names_of(PROJECT["optional-dependencies"]["dev"])
LOCKED = {normalised(name) for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
INSTALLED = {normalised(distribution.name) for distribution in distributions()}


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def third_party(folder: Path, local: set[str]) -> set[str]:
    """The distributions that the Python files under `folder` import; `local` are our modules."""
    found = set()
    for path in folder.rglob("*.py"):
        found |= {name.split(".")[0] for name in imported_modules(ast.parse(path.read_bytes()))}
    owners = packages_distributions()
    outside = found - local - sys.stdlib_module_names
    return {normalised(owners.get(module, [module])[0]) for module in outside}


def test_the_lock_names_no_registry_and_no_path() -> None:
    options = re.findall(r"^\s*--(?!hash=)\S+", LOCK, re.MULTILINE)
    assert options == []
    assert not re.search(r"://|^[^#]* @ |\bfile:\S|(^|\s)[./~]*/", LOCK, re.MULTILINE)


def test_every_locked_package_has_an_exact_version_and_hashes() -> None:
    entries = re.findall(r"^[^\s#].*(?:\n[ ]{4}--hash.*)*", LOCK, re.MULTILINE)
    assert len(entries) == len(LOCKED)
    for entry in entries:
        exact = r'[\w.-]+==[\w.]+(?: ; python_version == "3\.1\d")?'
        assert re.fullmatch(exact + r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+", entry)


def test_the_lock_covers_runtime_development_and_the_build() -> None:
    assert RUNTIME | DEVELOPMENT | {"hatchling", "editables", "setuptools"} <= LOCKED


def required_of_python(version: str) -> set[str]:
    """What the locked packages require, without an extra, where Python is of that version."""
    environment = {"extra": "", "python_version": version, "python_full_version": f"{version}.0"}
    found = [Requirement(text) for name in LOCKED & INSTALLED for text in requires(name) or ()]
    return {
        normalised(one.name)
        for one in found
        if one.marker is None or one.marker.evaluate(environment)
    }


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_lock_is_whole_for_every_python(version: str) -> None:
    """The Python that writes the lock leaves out what only another one needs."""
    assert required_of_python(version) <= LOCKED


def required_by(name: str) -> set[str]:
    """What that distribution requires without an extra, of what the lock has at all."""
    needed = names_of([text for text in requires(name) or () if "extra ==" not in text])
    return needed & LOCKED


@pytest.mark.parametrize(
    ("part", "names"),
    [("programs", RUNTIME), ("tools", {"pip", "setuptools", "hatchling", "packaging"})],
)
def test_a_node_gets_what_its_programs_need_and_no_more(part: str, names: set[str]) -> None:
    printed = run("packaging/locked", part).stdout
    entries = re.split(r"(?<=\n)(?=\w)", printed)
    assert all(f"\n{entry}" in LOCK for entry in entries)
    found = {normalised(entry.split("==")[0]) for entry in entries}
    assert names <= found
    assert set().union(*(required_by(name) for name in found)) <= found
    assert not found & (DEVELOPMENT - RUNTIME - names)


def test_what_the_package_imports_is_declared_and_nothing_else() -> None:
    assert third_party(ROOT / "src", {"privacy_router"}) == RUNTIME


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_what_tests_and_benchmarks_import_is_declared(folder: str) -> None:
    siblings = {path.stem for path in (ROOT / folder).rglob("*.py")}
    local = {"privacy_router", "bench", "tests"} | siblings
    assert third_party(ROOT / folder, local) <= RUNTIME | DEVELOPMENT


def test_every_declared_dependency_is_explained() -> None:
    notes = (ROOT / "docs" / "dependencies.md").read_text()
    first_cells = re.findall(r"^\| ([^|]+) \|", notes, re.MULTILINE)
    explained = names_of([name for cell in first_cells for name in cell.split(", ")])
    assert explained >= RUNTIME | DEVELOPMENT


def test_the_readme_and_the_ci_agree_on_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_help_lists_every_target() -> None:
    listed = run("make", "--no-print-directory", "help").stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert re.findall(r"^  make (\S+)", listed, re.MULTILINE) == phony[1].split()


def run(*command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `command` at the root, with the programs in `path` before the system's."""
    search = "/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": f"{path}:{search}" if path else search},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def unprivileged(tmp_path: Path) -> Path:
    """A folder whose `id` says that another user than root is calling."""
    fake = tmp_path / "id"
    fake.write_text("#!/bin/sh\necho 1000\n")
    fake.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("target", ["demo", "test", "test-e2e", "test-machine", "install", "bench"])
def test_a_user_who_is_not_root_is_told_what_to_do(target: str, unprivileged: Path) -> None:
    result = run("packaging/bootstrap", target, path=unprivileged)
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"Run: sudo make {target}" in result.stderr


def test_an_unknown_target_changes_nothing() -> None:
    result = run("packaging/bootstrap", "dmeo")
    assert result.returncode == 1
    assert "unknown target 'dmeo'" in result.stderr
